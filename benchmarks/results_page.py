"""The tables of RESULTS.md (templates/results.md), from what was measured."""

import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.records import GROUPS, PEER_NAMES, SweepRecords, points
from benchmarks.tuning import GRIDS


def model_in_words(metrics: dict) -> str:
    """Name and kind of the model that a `metrics.json` of train.evaluate is of."""
    model = metrics["model"]
    kind = f"{model['gradient_network']}, K = {model['num_steps']}"
    kind += ", a network a step" if model.get("separate_steps") else ""
    kind += ", support gradient" if model.get("support_gradient") else ""
    return f"{metrics['model_name']}: {kind}" if "model_name" in metrics else kind


def sweep(records: SweepRecords, figures: dict[str, Path], base: Path) -> dict:
    """What the page says of a data set; `figures` are by group, `base` is the page's folder, for links."""
    first, methods = records.settings[0], [f for s in records.settings for f in s["methods"].values()]
    folders = {label: f["config"]["folder"] for s in records.settings for label, f in _models(s).items()}
    tuned = {f["name"] for f in methods if f["constants"].startswith("tuned")}
    return {
        **first,
        "dataset": records.dataset,
        "folders": folders,
        "tuned": tuned,
        "untuned": [PEER_NAMES[f] for f in GRIDS if f not in tuned and f in {each["name"] for each in methods}],
        "hardware": sorted({setting["hardware"] for setting in records.settings}),
        "against": [_against(s, list(folders)) for s in records.settings if s.get("against_best_peer")],
        "groups": [
            {
                "title": group.title,
                "figure": os.path.relpath(figures[name], base) if name in figures else None,
                "tables": [
                    (shot, ["method", *map(_column, settings), "ms an episode, at most"], _methods(settings))
                    for shot, settings in records.panels(name)
                ],
            }
            for name, group in GROUPS.items()
            if records.group(name)
        ],
        "constants": _constants(records),
        "settings": records.settings,
    }


def _models(setting: dict) -> dict:
    return {label: f for label, f in setting["methods"].items() if f["constants"] == "meta-trained"}


def _against(setting: dict, models: Sequence[str]) -> tuple[str, ...]:
    """Meta-trained models against the best peer of a setting, whatever its constants."""
    against = setting["against_best_peer"]
    best = next(iter(against.values()))["peer"]
    cells = [points(a["difference"], a["difference_ci95"], "+") if (a := against.get(m)) else "" for m in models]
    return setting["episode_spec"], _in_words(setting["methods"][best]), *cells


def _methods(settings: Sequence[dict]) -> list[tuple[str, ...]]:
    """A row for each method, a column for each setting; bold: the most above nearest prototypes."""
    found = {label: figures for setting in settings for label, figures in setting["methods"].items()}
    best = [max(f["difference"] for f in s["methods"].values()) for s in settings]
    rows = []
    for label, some in sorted(found.items(), key=_place):
        own, cells = [setting["methods"].get(label) for setting in settings], []
        for figures, top in zip(own, best, strict=True):
            mark = "**" if figures and figures["difference"] == top else ""
            cells.append(f"{mark}{points(figures['accuracy'], figures['ci95'])}{mark}" if figures else "")
        milliseconds = 1e3 * max(figures["seconds_per_episode"] for figures in own if figures)
        rows.append((_in_words(some), *cells, f"{milliseconds:.2g}"))
    return rows


def _place(item: tuple[str, dict]) -> tuple:
    """Of a label and its figures: peers in the order of their papers, then models."""
    (label, figures), names = item, [*PEER_NAMES]
    place = names.index(figures["name"]) if figures["name"] in names else len(names)
    return place, ("authors", "tuned", "tuned to setting", "meta-trained").index(figures["constants"]), label


def _column(setting: dict) -> str:
    value = f"{setting['value']}".removesuffix(".0")
    return value if value == "balanced" else GROUPS[setting["group"]].column.format(value)


def _in_words(figures: dict) -> str:
    name = PEER_NAMES.get(figures["name"])
    if name is None:
        return f"SIB, {figures['name']}"
    # What has no constants has no authors' ones.
    return f"{name}, {figures['constants']}" if figures["config"] else name


def _constants(records: SweepRecords) -> list[tuple[str, ...]]:
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
