"""RESULTS.md: tables of methods and settings from what was measured."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks import bayes_table
from benchmarks.records import PEER_NAMES, SweepRecords
from sib_tf.storage import atomic

_TITLES = {
    "imbalance": "Imbalanced query sets",
    "total_query": "Few and many queries",
    "way": "Two to twenty classes",
    "missing_classes": "Classes that no query is of",
}
_READING = """Accuracy in %, mean and 95 % interval over the same test episodes for all methods of a column. Bold: the
most above nearest prototypes on the same episodes. *authors*: the constants of the paper. *tuned*: chosen on validation
classes, at 1 shot (for 1 shot) and at 5 (for more), half of the episodes balanced and half Dirichlet(2): one choice for
all query sets, as in use nothing is known of them. *tuned to setting*: chosen on balanced or on Dirichlet(2) episodes,
whichever is the setting's kind: it knows more than a method can know in use. SIB models take part as they were
meta-trained; a joint model where its way fits."""

_PAPER = """The released configuration (joint network), 5-way, 15 queries a class, accuracy in %. Ours: the mean over
the seeds of the meta-training on the same test episodes, with its 95 % interval over episodes; each seed's own
accuracy; the paired difference to nearest prototypes (K = 0). Rows that need data or an accelerator that were not at
hand say "not run"; `train/flagfiles` has their recipes. Command: `python -m benchmarks.paper_rows
--features_dir=RUN/features --output_dir=RUN/rows`."""
_VIEWS = """Features are cached, so that meta-training sees as many views of a training picture as were cached
(`train.extract_features --views`; the first is the picture itself, the others are augmented as in pre-training). The
same configuration on more views: accuracy, and the paired difference to one view on the same episodes, means over
seeds."""
_VIEWS_HEADER = ("data set", "backbone", "shot", "K", "views", "accuracy", "difference to one view")
_PAPER_HEADER = ("data set", "backbone", "shot", "K", "published", "ours", "seeds", "over K = 0")


def write(
    path: str | os.PathLike,
    metrics: Sequence[dict],
    paper_rows: Sequence[tuple[str, ...]],
    views_rows: Sequence[tuple[str, ...]],
    bayes: bayes_table.Table | None,
    sweeps: Sequence[SweepRecords],
    figures: Sequence[dict[str, Path]],
) -> None:
    """Writes the page.

    Args:
        path: where it goes; links to figures are relative to it.
        metrics: `metrics.json` values of train.evaluate.
        paper_rows: from `paper_table.rows`.
        views_rows: from `paper_table.views_rows`.
        bayes: from `bayes_table.load`.
        sweeps: one a data set.
        figures: for each sweep its figures by group.
    """
    lines = ["# Results", "", "Written by `python -m benchmarks.results`; changes by hand are lost.", ""]
    if paper_rows:
        lines += ["## The paper's rows", "", _PAPER, "", *_table(_PAPER_HEADER, paper_rows), ""]
    if views_rows:
        lines += ["### More views of the training pictures", "", _VIEWS, "", *_table(_VIEWS_HEADER, views_rows), ""]
    if metrics:
        lines += ["## SIB and nearest prototypes", "", *_metrics_table(metrics), "", *_confidence(metrics), ""]
    if bayes:
        lines += ["## Prior and posterior", "", bayes.text, "", *_table(bayes_table.HEADER, bayes.rows), ""]
    for sweep, drawn in zip(sweeps, figures, strict=True):
        lines += [f"## Transductive methods on {sweep.dataset}", "", *_how(sweep), "", _READING, ""]
        lines += _against(sweep)
        for group, title in _TITLES.items():
            lines += _group(sweep, group, title, drawn.get(group), Path(path).parent)
        lines += [*_constants(sweep), *_episodes(sweep)]
    atomic.write_text(path, "\n".join(lines).rstrip() + "\n")


def _metrics_table(metrics: Iterable[dict]) -> list[str]:
    rows = [
        (
            f"{m['dataset']['name']}, {m['episode_spec']}",
            _model_name(m),
            _points(m["baseline_accuracy"], m["baseline_ci95"]),
            _points(m["accuracy"], m["ci95"]),
            _signed(m["difference"], m["difference_ci95"]),
            f"{m['episodes']}, seed {m['seed']}, `{m['episode_hash'][:12]}`",
        )
        for m in metrics
    ]
    return _table(["episodes", "SIB model", "nearest prototypes", "SIB", "paired difference", "number, hash"], rows)


def _confidence(metrics: Iterable[dict]) -> list[str]:
    """Calibration, and how well pictures of other classes are told, where they were measured."""
    rows = []
    for m in metrics:
        before, after = (m.get("confidence", {}).get(name) for name in ("uncalibrated", "calibrated"))
        if before is None:
            continue
        after, unknown = after or before, m.get("open_set")
        cells = [f"{100 * before['ece']:.2f} -> {100 * after['ece']:.2f}", f"{before['nll']:.3f} -> {after['nll']:.3f}"]
        if unknown:
            cells += [_points(unknown[name], unknown[f"{name}_ci95"]) for name in ("auroc", "baseline_auroc")]
        else:
            cells += ["", ""]
        rows.append((f"{m['dataset']['name']}, {m['episode_spec']}", _model_name(m), *cells))
    if not rows:
        return []
    text = (
        "Confidence on the same episodes: expected calibration error in % and negative log-likelihood, before and "
        "after `train.calibrate` (on validation classes). *None of these*: AUROC in % of the score and, beside it, "
        "of the largest probability of nearest prototypes, on episodes with queries of five more classes that have no "
        "support."
    )
    header = ["episodes", "SIB model", "calibration error", "log-likelihood", "none of these", "largest probability"]
    return [text, "", *_table(header, rows)]


def _model_name(metrics: dict) -> str:
    model = metrics["model"]
    extras = {"separate_steps": ", a network a step", "support_gradient": ", support gradient"}
    extras = "".join(text for name, text in extras.items() if model.get(name))
    kind = f"{model['gradient_network']}, K = {model['num_steps']}{extras}"
    return f"{metrics['model_name']}: {kind}" if "model_name" in metrics else kind


def _how(sweep: SweepRecords) -> list[str]:
    models = dict.fromkeys((f["name"], f["config"]["folder"]) for s in sweep.settings for f in _models(s).values())
    names = ",".join(f"{name}=RUN/{folder}" for name, folder in models)
    first = sweep.settings[0]
    hardware = sorted({s["hardware"] for s in sweep.settings})
    tuned = any(f["constants"].startswith("tuned") for s in sweep.settings for f in s["methods"].values())
    command = "python -m benchmarks.sweeps --features_dir=RUN/features"
    command += " --tuned=RUN/sweeps/tuned.json" if tuned else ""
    command += f" --models={names}" if names else ""
    command += f" --episodes={first['episodes']} --slow_episodes={first['slow_episodes']} --seed={first['seed']}"
    return [
        f"    {command} --output_dir=RUN/sweeps",
        "",
        f"{first['episodes']} episodes a setting; TIM-GD and alpha-TIM, of a thousand steps an episode, on the first "
        f"{min(first['slow_episodes'], first['episodes'])} of them. Seed {first['seed']}; features of backbone "
        f"`{first['backbone']['weights'][:12]}` ({first['backbone']['name']}). Hardware: {'; '.join(hardware)}; "
        f"times are medians over compiled batches of {first['batch_episodes']} episodes.",
    ]


def _models(setting: dict) -> dict:
    return {label: f for label, f in setting["methods"].items() if f["constants"] == "meta-trained"}


def _against(sweep: SweepRecords) -> list[str]:
    """Meta-trained models against the best peer of each setting, whatever its constants."""
    settings = [s for s in sweep.settings if s.get("against_best_peer")]
    if not settings:
        return []
    models = list(dict.fromkeys(label for s in settings for label in _models(s)))
    rows = []
    for setting in settings:
        against = setting["against_best_peer"]
        best = next(iter(against.values()))["peer"]
        cells = [_signed(a["difference"], a["difference_ci95"]) if (a := against.get(m)) else "" for m in models]
        rows.append((_setting_name(setting), f"{_in_words(setting['methods'][best])}", *cells))
    return [
        "### SIB against the best peer of each setting",
        "",
        "Paired differences in points. The best peer is picked on these very episodes, among all its constants.",
        "",
        *_table(["setting", "best peer", *models], rows),
        "",
    ]


def _setting_name(setting: dict) -> str:
    return setting["episode_spec"]


def _group(sweep: SweepRecords, group: str, title: str, figure: Path | None, base: Path) -> list[str]:
    settings = sweep.group(group)
    if not settings:
        return []
    lines = [f"### {title}", ""]
    if figure:
        lines += [f"![{title}]({os.path.relpath(figure, base)})", ""]
    if group != "imbalance":
        return [*lines, *_methods_table(settings), ""]
    for shot in sweep.shots():
        lines += [f"5-way {shot}-shot, 75 queries:", "", *_methods_table(sweep.group(group, shot)), ""]
    return lines


def _methods_table(settings: list[dict]) -> list[str]:
    labels = sorted({label for s in settings for label in s["methods"]}, key=lambda label: _order(settings, label))
    best = [max(f["difference"] for f in s["methods"].values()) for s in settings]
    rows = []
    for label in labels:
        entries = [s["methods"].get(label) for s in settings]
        cells = []
        for entry, top in zip(entries, best, strict=True):
            text = _points(entry["accuracy"], entry["ci95"]) if entry else ""
            cells.append(f"**{text}**" if entry and entry["difference"] == top else text)
        shown = next(entry for entry in entries if entry)
        milliseconds = 1e3 * max(entry["seconds_per_episode"] for entry in entries if entry)
        rows.append((_in_words(shown), *cells, f"{milliseconds:.2g}"))
    return _table(["method", *(_column(s) for s in settings), "ms an episode, at most"], rows)


def _order(settings: list[dict], label: str) -> tuple:
    """Peers in the order of their papers, then models."""
    figures = next(s["methods"][label] for s in settings if label in s["methods"])
    names = list(PEER_NAMES)
    place = names.index(figures["name"]) if figures["name"] in names else len(names)
    return place, ("authors", "tuned", "tuned to setting", "meta-trained").index(figures["constants"]), label


def _column(setting: dict) -> str:
    value = f"{setting['value']}".removesuffix(".0")
    if setting["group"] == "imbalance":
        return value if value == "balanced" else f"Dirichlet({value})"
    words = {"total_query": "{} in all", "way": "{} way", "missing_classes": "from {} of 5"}
    return words[setting["group"]].format(value)


def _in_words(figures: dict) -> str:
    name = PEER_NAMES.get(figures["name"])
    if name is None:
        return f"SIB, {figures['name']}"
    # What has no constants has no authors' ones.
    return f"{name}, {figures['constants']}" if figures["config"] else name


def _constants(sweep: SweepRecords) -> list[str]:
    """The tuned constants at 1 and at 5 shots, where they differ from the authors'."""
    rows = []
    for setting in sweep.group("imbalance"):
        if setting["shot"] not in (1, 5):
            continue
        for label, figures in setting["methods"].items():
            own = setting["methods"].get(f"{figures['name']}, authors")
            if not figures["constants"].startswith("tuned") or own is None:
                continue
            changed = {k: v for k, v in figures["config"].items() if own["config"].get(k) != v}
            text = ", ".join(f"{name} = {value}" for name, value in changed.items()) or "the authors'"
            kind = "the mixture" if figures["constants"] == "tuned" else _tuned_kind(setting)
            rows.append((PEER_NAMES.get(figures["name"], label), f"{setting['shot']}", kind, text))
    rows = sorted(dict.fromkeys(rows))
    if not rows:
        return []
    table = _table(["method", "shot", "chosen on", "constants that differ from the authors'"], rows)
    return ["### Tuned constants", "", *table, ""]


def _tuned_kind(setting: dict) -> str:
    return "balanced" if setting["value"] == "balanced" else "Dirichlet(2)"


def _episodes(sweep: SweepRecords) -> list[str]:
    rows = [
        (setting["setting"], setting["episode_spec"], f"{setting['episodes']}", f"`{setting['episode_hash'][:16]}`")
        for setting in sweep.settings
    ]
    return ["### Episode lists", "", *_table(["setting", "episodes", "number", "SHA-256"], rows), ""]


def _points(mean: float, half: float) -> str:
    return f"{100 * mean:.2f} +-{100 * half:.2f}"


def _signed(mean: float, half: float) -> str:
    return f"{100 * mean:+.2f} +-{100 * half:.2f}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [_row(header), _row(["---"] * len(header)), *(_row(row) for row in rows)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
