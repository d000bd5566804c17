"""Reports: figures as PNG and a page of Markdown, from the metrics of a run."""

import csv
import os
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # Figures go to files; no screen is needed.
import matplotlib.pyplot as plt
import numpy as np

from sib_tf import atomic
from sib_tf.errors import InputError

_ADAPTED, _BASELINE = "#0b6e4f", "#b3541e"


def accuracy_figure(metrics: dict, accuracy: np.ndarray, baseline: np.ndarray, path: str | os.PathLike) -> None:
    """Draws accuracy after every step with its band, and the paired differences over episodes.

    Args:
        metrics: as in `metrics.json`.
        accuracy: `[K + 1, episodes]` in [0, 1].
        baseline: `[episodes]`, nearest prototypes on the same episodes.
        path: where the PNG goes.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    steps = np.arange(len(accuracy))
    mean, half = (100 * np.array(metrics[name]) for name in ("accuracy_by_step", "ci95_by_step"))
    left.fill_between(steps, mean - half, mean + half, color=_ADAPTED, alpha=0.25, lw=0)
    left.plot(steps, mean, "o-", color=_ADAPTED, label="SIB after k steps")
    level = 100 * metrics["baseline_accuracy"]
    left.axhline(level, color=_BASELINE, ls="--", label="nearest prototypes")
    left.axhspan(
        level - 100 * metrics["baseline_ci95"], level + 100 * metrics["baseline_ci95"], color=_BASELINE, alpha=0.15
    )
    left.set(xlabel="synthetic-gradient steps k", ylabel="accuracy in %", xticks=steps, title="Accuracy, 95 % bands")
    left.legend(frameon=False)
    difference = 100 * (accuracy[-1] - baseline)
    right.hist(difference, bins=_bin_edges(difference), color=_ADAPTED, alpha=0.8)
    right.axvline(0, color="black", lw=0.8)
    right.axvline(100 * metrics["difference"], color=_BASELINE, ls="--")
    right.set(xlabel="difference to prototypes in points", ylabel="episodes", title="The same episodes, paired")
    _save(figure, path)


def reliability_figure(confidence: dict, path: str | os.PathLike) -> None:
    """Draws accuracy against confidence; the area of a point is the share of the queries.

    Args:
        confidence: of `metrics.json`: `calibration.quality` by name.
        path: where the PNG goes.
    """
    figure, axis = plt.subplots(figsize=(4.4, 3.8), layout="constrained")
    axis.plot([0, 100], [0, 100], color="black", lw=0.8)
    for (name, quality), color in zip(confidence.items(), (_BASELINE, _ADAPTED), strict=False):
        mean, right, share = 100 * np.array(quality["bins"]).T
        label = f"{name}: error {100 * quality['ece']:.1f} %"
        axis.plot(mean, right, "-", color=color, lw=1)
        axis.scatter(mean, right, s=8 + 6 * share, color=color, alpha=0.7, label=label)
    axis.set(xlabel="confidence in %", ylabel="right answers in %", title="Reliability", xlim=(0, 101), ylim=(0, 101))
    axis.legend(frameon=False, loc="upper left")
    _save(figure, path)


def training_figure(pretraining: list[dict], meta_training: list[dict], path: str | os.PathLike) -> None:
    """Draws the curves of both stages from their histories (rows of `history.csv`; either may be empty)."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    epochs = [epoch + 1 for epoch in _column(pretraining, "epoch")]
    _curve(axes[0], epochs, pretraining, "val_prototype_accuracy", "epoch", "Backbone: prototypes, validation classes")
    steps = _column(meta_training, "step")
    _curve(axes[1], steps, meta_training, "validation_accuracy", "outer step", "SIB: validation episodes")
    _save(figure, path)


def read_history(path: str | os.PathLike) -> list[dict]:
    """Returns the rows of a `history.csv`; an empty list where there is none."""
    path = Path(path)
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


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
        f"Time: {metrics['seconds']:.1f} s on {metrics['hardware']}.",
        "",
    ]
    for caption, name in figures.items():
        lines += [f"![{caption}]({name})", "", f"*{caption}*", ""]
    path = Path(folder) / "report.md"
    atomic.write_text(path, "\n".join(lines))
    return path


def _bin_edges(values: np.ndarray) -> np.ndarray:
    """Edges of at most 40 bins that all hold equally many of the values possible: accuracies are multiples of 1/n."""
    possible = np.unique(values.round(6))
    spacing = np.diff(possible).min() if len(possible) > 1 else 1.0
    places = round((possible[-1] - possible[0]) / spacing) + 1
    width = -(-places // 40)
    return possible[0] + spacing * (width * np.arange(-(-places // width) + 1) - 0.5)


def _calibration_line(confidence: dict) -> str:
    errors = ", ".join(f"{100 * quality['ece']:.2f} % {name}" for name, quality in confidence.items())
    return f"Expected calibration error: {errors}."


def set_section(path: str | os.PathLike, title: str, text: str) -> None:
    """Puts `text` (Markdown) under the heading `title` into the page at `path`, in place of what stood there."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no report {path}; train.evaluate --report=FOLDER writes one.")
    heading = f"## {title}"
    before, _, rest = path.read_text(encoding="utf-8").partition(f"{heading}\n")
    _, *after = rest.split("\n## ", 1)
    sections = [before.rstrip(), f"{heading}\n\n{text.strip()}", *(f"## {other}".rstrip() for other in after)]
    atomic.write_text(path, "\n\n".join(sections) + "\n")


def _row(name: str, mean: float, half: float) -> str:
    return f"| {name} | {100 * mean:.2f} % | +-{100 * half:.2f} |"


def _column(rows: list[dict], name: str) -> list[float]:
    try:
        return [float(row[name]) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"history.csv has a row without a number for {name}; remove the row or the file.") from error


def _curve(axis, x: list[float], rows: list[dict], name: str, label: str, title: str) -> None:
    if not rows:
        axis.text(0.5, 0.5, "no history here", ha="center", transform=axis.transAxes)
    axis.plot(x, [100 * value for value in _column(rows, name)], color=_ADAPTED)
    axis.set(xlabel=label, ylabel="accuracy in %", title=title)


def _save(figure, path: str | os.PathLike) -> None:
    try:
        with atomic.new_file(path) as partial:
            figure.savefig(partial, dpi=130, format="png")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error}).") from error
    finally:
        plt.close(figure)
