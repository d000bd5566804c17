"""The tables of RESULTS.md (templates/results.md), from what was measured."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.records import GROUPS, PEER_NAMES, SweepRecords, points

Rows = list[tuple[str, ...]]


def metrics_rows(metrics: Iterable[dict]) -> Rows:
    """A row for each `metrics.json` of train.evaluate."""
    return [
        (
            *_episodes_and_model(m),
            points(m["baseline_accuracy"], m["baseline_ci95"]),
            points(m["accuracy"], m["ci95"]),
            points(m["difference"], m["difference_ci95"], "+"),
            f"{m['episodes']}, seed {m['seed']}, `{m['episode_hash'][:12]}`",
        )
        for m in metrics
    ]


def confidence_rows(metrics: Iterable[dict]) -> Rows:
    """Calibration, and how well pictures of other classes are told, where they were measured."""
    rows = []
    for m in metrics:
        if "confidence" not in m:
            continue
        before, unknown = m["confidence"]["uncalibrated"], m.get("open_set")
        after = m["confidence"].get("calibrated", before)
        cells = [f"{100 * before['ece']:.2f} -> {100 * after['ece']:.2f}", f"{before['nll']:.3f} -> {after['nll']:.3f}"]
        for name in ("auroc", "baseline_auroc"):
            cells.append(points(unknown[name], unknown[f"{name}_ci95"]) if unknown else "")
        rows.append((*_episodes_and_model(m), *cells))
    return rows


def _episodes_and_model(metrics: dict) -> tuple[str, str]:
    model = metrics["model"]
    kind = f"{model['gradient_network']}, K = {model['num_steps']}"
    kind += ", a network a step" if model.get("separate_steps") else ""
    kind += ", support gradient" if model.get("support_gradient") else ""
    name = f"{metrics['model_name']}: {kind}" if "model_name" in metrics else kind
    return f"{metrics['dataset']['name']}, {metrics['episode_spec']}", name


def sweep(records: SweepRecords, figures: dict[str, Path], base: Path) -> dict:
    """What the page says of a data set; `figures` are by group, `base` is the page's folder, for links."""
    first = records.settings[0]
    models = dict.fromkeys(label for setting in records.settings for label in _models(setting))
    return {
        **first,
        "dataset": records.dataset,
        "command": _command(records),
        "slow_episodes": min(first["slow_episodes"], first["episodes"]),
        "hardware": sorted({setting["hardware"] for setting in records.settings}),
        "models": list(models),
        "against": [_against(s, list(models)) for s in records.settings if s.get("against_best_peer")],
        "groups": [
            {
                "title": title,
                "figure": os.path.relpath(figures[group], base) if group in figures else None,
                "tables": [
                    (shot, ["method", *map(_column, settings), "ms an episode, at most"], _methods(settings))
                    for shot, settings in records.panels(group)
                ],
            }
            for group, title in GROUPS.items()
            if records.group(group)
        ],
        "constants": _constants(records),
        "lists": [
            (s["setting"], s["episode_spec"], str(s["episodes"]), f"`{s['episode_hash'][:16]}`")
            for s in records.settings
        ],
    }


def _command(records: SweepRecords) -> str:
    first, methods = records.settings[0], [f for s in records.settings for f in s["methods"].values()]
    models = dict.fromkeys((f["name"], f["config"]["folder"]) for s in records.settings for f in _models(s).values())
    names = ",".join(f"{name}=RUN/{folder}" for name, folder in models)
    command = "python -m benchmarks.sweeps --features_dir=RUN/features"
    command += " --tuned=RUN/sweeps/tuned.json" if any(f["constants"].startswith("tuned") for f in methods) else ""
    command += f" --models={names}" if names else ""
    command += f" --episodes={first['episodes']} --slow_episodes={first['slow_episodes']} --seed={first['seed']}"
    return f"{command} --output_dir=RUN/sweeps"


def _models(setting: dict) -> dict:
    return {label: f for label, f in setting["methods"].items() if f["constants"] == "meta-trained"}


def _against(setting: dict, models: Sequence[str]) -> tuple[str, ...]:
    """Meta-trained models against the best peer of a setting, whatever its constants."""
    against = setting["against_best_peer"]
    best = next(iter(against.values()))["peer"]
    cells = [points(a["difference"], a["difference_ci95"], "+") if (a := against.get(m)) else "" for m in models]
    return setting["episode_spec"], _in_words(setting["methods"][best]), *cells


def _methods(settings: Sequence[dict]) -> Rows:
    """A row for each method, a column for each setting; bold: the most above nearest prototypes."""
    entries: dict[str, list[dict | None]] = {}
    for i, setting in enumerate(settings):
        for label, figures in setting["methods"].items():
            entries.setdefault(label, [None] * len(settings))[i] = figures
    best = [max(f["difference"] for f in s["methods"].values()) for s in settings]
    rows = []
    for _, own in sorted(entries.items(), key=lambda item: _place(*item)):
        cells = []
        for figures, top in zip(own, best, strict=True):
            mark = "**" if figures and figures["difference"] == top else ""
            cells.append(f"{mark}{points(figures['accuracy'], figures['ci95'])}{mark}" if figures else "")
        there = [figures for figures in own if figures]
        milliseconds = 1e3 * max(figures["seconds_per_episode"] for figures in there)
        rows.append((_in_words(there[0]), *cells, f"{milliseconds:.2g}"))
    return rows


def _place(label: str, entries: Sequence[dict | None]) -> tuple:
    """Peers in the order of their papers, then models."""
    figures, names = next(filter(None, entries)), [*PEER_NAMES]
    place = names.index(figures["name"]) if figures["name"] in names else len(names)
    return place, ("authors", "tuned", "tuned to setting", "meta-trained").index(figures["constants"]), label


def _column(setting: dict) -> str:
    value = f"{setting['value']}".removesuffix(".0")
    if value == "balanced":
        return value
    words = {
        "imbalance": "Dirichlet({})",
        "total_query": "{} in all",
        "way": "{} way",
        "missing_classes": "from {} of 5",
    }
    return words[setting["group"]].format(value)


def _in_words(figures: dict) -> str:
    name = PEER_NAMES.get(figures["name"])
    if name is None:
        return f"SIB, {figures['name']}"
    # What has no constants has no authors' ones.
    return f"{name}, {figures['constants']}" if figures["config"] else name


def _constants(records: SweepRecords) -> Rows:
    """The tuned constants at 1 and at 5 shots, where they differ from the authors'."""
    rows = set()
    for setting in records.group("imbalance"):
        methods = setting["methods"] if setting["shot"] in (1, 5) else {}
        for figures in methods.values():
            own = methods.get(f"{figures['name']}, authors")
            if not figures["constants"].startswith("tuned") or own is None:
                continue
            changed = {k: v for k, v in figures["config"].items() if own["config"].get(k) != v}
            text = ", ".join(f"{name} = {value}" for name, value in changed.items()) or "the authors'"
            kind = "balanced" if setting["value"] == "balanced" else "Dirichlet(2)"
            kind = "the mixture" if figures["constants"] == "tuned" else kind
            rows.add((PEER_NAMES[figures["name"]], str(setting["shot"]), kind, text))
    return sorted(rows)
