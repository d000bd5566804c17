"""The report of an experiment: `report.md`, pictures of every domain, and accuracy by target and method."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from sib_tf import templates
from sib_tf.datasets.domains import DomainDataset
from sib_tf.reports.figures import ADAPTED, BASELINE, panels
from sib_tf.storage import atomic

_COLORS = {"source_only": "#9a9a9a", "rot": BASELINE, "k0": "#7fbf9f", "sib_rot": ADAPTED}
_COLORS |= {"prototypes": "#d0d0d0", "shipped_head": "#c49ad6"}
_LABELS = {"prototypes": "prototypes", "shipped_head": "shipped head"}
_LABELS |= {"source_only": "source only", "rot": "rotation loss", "k0": "K = 0", "sib_rot": "SIB-Rot"}


def write(folder: Path, dataset: DomainDataset, metrics: dict) -> None:
    """Writes the page and its figures into `folder`; `metrics` are those of `metrics.json`."""
    _pictures_figure(dataset, folder / "domains.png")
    _accuracy_figure(metrics["rows"], folder / "accuracy.png")
    pictures = {domain: len(split.labels) for domain, split in dataset.domains.items()}
    atomic.write_text(folder / "report.md", templates.render("report.md", __package__, pictures=pictures, **metrics))


def _pictures_figure(dataset: DomainDataset, path: Path) -> None:
    """Draws the first picture of every class in every domain."""
    names, domains = dataset.class_names, dataset.domains
    shape = (len(domains), len(names))
    with panels(path, *shape, figsize=(0.8 * shape[1] + 1, 0.85 * shape[0] + 0.3), squeeze=False) as axes:
        for row, (domain, pictures) in zip(axes, domains.items(), strict=True):
            for label, axis in enumerate(row):
                axis.imshow(pictures.images[np.flatnonzero(pictures.labels == label)[0]])
                axis.set(xticks=[], yticks=[])
            row[0].set_ylabel(domain, rotation=0, ha="right", va="center")
        for axis, name in zip(axes[0], names, strict=True):
            axis.set_title(name, fontsize=9)


def _accuracy_figure(rows: list[dict], path: Path) -> None:
    """Draws every method's accuracy by target, and the paired differences, with 95 % bars over minibatches."""
    methods, pairs = ([row for row in rows if row["paired"] == paired] for paired in (False, True))
    columns = 1 + bool(pairs)
    # Below the axes there are up to two or three lines of names.
    size = ((5 if len(methods) <= 4 else 7) * columns, 3.6 if len(methods) <= 4 else 4.2)
    with panels(path, 1, columns, figsize=size, squeeze=False) as ((left, *right),):
        labels, colors = ([names[row["name"]] for row in methods] for names in (_LABELS, _COLORS))
        _bars(left, methods, labels, colors)
        left.set(ylabel="accuracy in %", title="Target pictures, no label of which was seen")
        for axis in right:
            _bars(axis, pairs, [row["name"] for row in pairs], plt.get_cmap("Set2").colors)
            axis.axhline(0, color="black", lw=0.8)
            axis.set(ylabel="points", title="Paired differences, the same minibatches")


def _bars(axis, rows: list[dict], labels: list[str], colors) -> None:
    width = 0.8 / len(rows)
    places = np.arange(len(rows[0]["targets"]))
    for i, (row, label) in enumerate(zip(rows, labels, strict=True)):
        mean, half = (100 * np.array([figure[key] for figure in row["targets"].values()]) for key in ("mean", "ci95"))
        shift = (i - (len(rows) - 1) / 2) * width
        axis.bar(places + shift, mean, width, yerr=half, color=colors[i], label=label, error_kw={"lw": 1})
    axis.set_xticks(places, rows[0]["targets"])
    axis.legend(frameon=False, fontsize=8, ncols=min(len(rows), 4), loc="upper center", bbox_to_anchor=(0.5, -0.08))
