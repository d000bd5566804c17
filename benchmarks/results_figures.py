"""Figures of the comparison: one PNG a group of settings."""

import os
from pathlib import Path

import matplotlib

from benchmarks.records import GROUPS, PEER_NAMES, SweepRecords
from sib_tf.reports import figures

_PALETTE = matplotlib.colormaps["tab10"].colors
_MODELS = ("#0b6e4f", "#08415c", "#9d0191", "#a44a00", "#111111", "#6a994e")
_MARKERS = "o^vD*P"


def draw(sweep: SweepRecords, folder: str | os.PathLike) -> dict[str, Path]:
    """Draws every group that has at least two settings; returns the files by group."""
    drawn = {}
    for name, group in GROUPS.items():
        if panels := [settings for _, settings in sweep.panels(name) if len(settings) > 1]:
            drawn[name] = Path(folder) / f"{sweep.dataset}_{name}.png"
            _figure(panels, group.axis, drawn[name])
    return drawn


def shown(methods: dict) -> dict[str, dict]:
    """What a figure shows of each method, by its name: tuned constants if there are any, as tables have all of them."""
    kinds = ("authors", "tuned", "meta-trained")
    return {f["name"]: f for kind in kinds for f in methods.values() if f["constants"] == kind}


def _figure(panels: list[list[dict]], label: str, path: Path) -> None:
    size, models = (3.4 * len(panels) + 3.2, 4.2), _models(panels)
    with figures.panels(path, 1, len(panels), figsize=size, squeeze=False) as ((*axes,),):
        for axis, settings in zip(axes, panels, strict=True):
            _panel(axis, settings, models)
            axis.set(xlabel=label if len(panels) < 3 else "Dirichlet's alpha", title=f"{settings[0]['shot']} shot")
        axes[0].set_ylabel("accuracy in %")
        lines, names = max((axis.get_legend_handles_labels() for axis in axes), key=lambda pair: len(pair[1]))
        axes[0].figure.legend(lines, names, loc="outside right center", frameon=False, fontsize=8)


def _models(panels: list[list[dict]]) -> list[str]:
    """Our models' names in one order: the files of settings may have others, and the legend is one."""
    found = (shown(setting["methods"]) for settings in panels for setting in settings)
    return sorted({name for each in found for name, figures in each.items() if figures["constants"] == "meta-trained"})


def _panel(axis, settings: list[dict], models: list[str]) -> None:
    found = [shown(setting["methods"]) for setting in settings]
    peers = [name for name in PEER_NAMES if any(name in each for each in found)]
    for name in (*peers, *(name for name in models if any(name in each for each in found))):
        own = name in models
        color = _MODELS[models.index(name) % 6] if own else _PALETTE[list(PEER_NAMES).index(name)]
        places = [i for i, each in enumerate(found) if name in each]
        axis.errorbar(
            places,
            [100 * found[i][name]["accuracy"] for i in places],
            [100 * found[i][name]["ci95"] for i in places],
            fmt=f"{_MARKERS[models.index(name) % 6]}-" if own else "s--",
            color=color,
            lw=2 if own else 1,
            ms=4 if own else 3,
            label=f"SIB, {name}" if own else PEER_NAMES[name],
        )
    axis.set_xticks(range(len(settings)), [f"{s['value']}".removesuffix(".0") for s in settings])
    axis.grid(alpha=0.25, lw=0.5)
