"""Reports: pages of Markdown, from the metrics of a run."""

import os
from pathlib import Path

from sib_tf.errors import InputError
from sib_tf.storage import atomic


def write(folder: str | os.PathLike, metrics: dict, figures: dict[str, str]) -> Path:
    """Writes `report.md` into `folder`; the figures, by caption, lie there already. Returns its path."""
    spec = metrics["episode_spec"]
    lines = [
        f"# SIB on {metrics['dataset']['name']}",
        "",
        f"{metrics['summary']}",
        "",
        "| | accuracy | 95 % interval |",
        "|---|---|---|",
        _row("nearest prototypes (K = 0)", metrics["baseline_accuracy"], metrics["baseline_ci95"]),
        *(
            _row(f"SIB after k = {k}", mean, half)
            for k, (mean, half) in enumerate(zip(metrics["accuracy_by_step"], metrics["ci95_by_step"], strict=True))
        ),
        _row("difference to prototypes, same episodes", metrics["difference"], metrics["difference_ci95"]),
        "",
        f"Episodes: {metrics['episodes']} of the {metrics['split']} split, {spec}; seed {metrics['seed']}, "
        f"hash `{metrics['episode_hash'][:16]}`.",
        f"Model: {metrics['model']['gradient_network']}, K = {metrics['model']['num_steps']}, "
        f"eta = {metrics['model']['inner_learning_rate']:g}.",
        _calibration_line(metrics["confidence"]),
        *_bound_lines(metrics.get("evidence_bound")),
        *_open_set_lines(metrics.get("open_set")),
        f"Time: {metrics['seconds']:.1f} s on {metrics['hardware']}.",
        "",
    ]
    for caption, name in figures.items():
        lines += [f"![{caption}]({name})", "", f"*{caption}*", ""]
    path = Path(folder) / "report.md"
    atomic.write_text(path, "\n".join(lines))
    return path


def _calibration_line(confidence: dict) -> str:
    errors = ", ".join(f"{100 * quality['ece']:.2f} % {name}" for name, quality in confidence.items())
    return f"Expected calibration error: {errors}."


def _bound_lines(bound: dict | None) -> list[str]:
    if bound is None:
        return []
    return [f"Evidence lower bound of an episode's query labels: {bound['mean']:.2f} +-{bound['ci95']:.2f} nats."]


def _open_set_lines(measured: dict | None) -> list[str]:
    if measured is None:
        return []

    def percent(name: str, sign: str = "") -> str:
        return f"{100 * measured[name]:{sign}.2f} +-{100 * measured[f'{name}_ci95']:.2f}"

    text = (
        f"None of these: with queries of {measured['unknown_classes']} more classes that have no support, the score "
        f"tells known from unknown with AUROC {percent('auroc')} % (largest probability under theta^0: "
        f"{percent('baseline_auroc')} %, paired difference {percent('difference', '+')} points)"
    )
    if "accepted_known" in measured:
        accepted = [f"{100 * measured[f'accepted_{kind}']:.1f} % of the {kind}" for kind in ("known", "unknown")]
        text += f"; at probability 0.5 it accepts {' and '.join(accepted)} pictures"
    return [f"{text}."]


def set_section(path: str | os.PathLike, title: str, text: str) -> None:
    """Puts `text` (Markdown) under the heading `title` into the page at `path`, in place of what stood there."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no report {path}; train.evaluate --report=FOLDER writes one.")
    heading = f"## {title}"
    try:
        text_there = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"Report {path} is no text ({error}); write it again with train.evaluate.") from error
    before, _, rest = text_there.partition(f"{heading}\n")
    _, *after = rest.split("\n## ", 1)
    sections = [before.rstrip(), f"{heading}\n\n{text.strip()}", *(f"## {other}".rstrip() for other in after)]
    atomic.write_text(path, "\n\n".join(sections) + "\n")


def _row(name: str, mean: float, half: float) -> str:
    return f"| {name} | {100 * mean:.2f} % | +-{100 * half:.2f} |"
