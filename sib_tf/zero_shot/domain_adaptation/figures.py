"""Figures of the report: pictures of every domain, and accuracy by target and method."""

import os

import matplotlib

matplotlib.use("Agg")  # Figures go to files; no screen is needed.
import matplotlib.pyplot as plt
import numpy as np

from sib_tf.datasets.domains import DomainDataset
from sib_tf.reports.figures import ADAPTED, BASELINE, save

COLORS = {"source_only": "#9a9a9a", "rot": BASELINE, "k0": "#7fbf9f", "sib_rot": ADAPTED}
LABELS = {"source_only": "source only", "rot": "rotation loss", "k0": "K = 0", "sib_rot": "SIB-Rot"}


def pictures_figure(dataset: DomainDataset, path: str | os.PathLike) -> None:
    """Draws the first picture of every class in every domain."""
    names, domains = dataset.class_names, dataset.domains
    shape = (len(domains), len(names))
    figure, axes = plt.subplots(*shape, figsize=(0.8 * shape[1] + 1, 0.85 * shape[0] + 0.3), squeeze=False)
    for row, (domain, pictures) in zip(axes, domains.items(), strict=True):
        for label, axis in enumerate(row):
            axis.imshow(pictures.images[np.flatnonzero(pictures.labels == label)[0]])
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(domain, rotation=0, ha="right", va="center")
    for axis, name in zip(axes[0], names, strict=True):
        axis.set_title(name, fontsize=9)
    figure.tight_layout(pad=0.3)
    save(figure, path)


def accuracy_figure(metrics: dict, path: str | os.PathLike) -> None:
    """Draws every method's accuracy by target, and the paired differences, with 95 % bars over minibatches.

    Args:
        metrics: as `scoring.summary` makes them.
        path: where the PNG goes.
    """
    methods = [row for row in metrics["rows"] if not row["paired"]]
    pairs = [row for row in metrics["rows"] if row["paired"]]
    panels = 1 + bool(pairs)
    targets = list(methods[0]["targets"])
    figure, axes = plt.subplots(1, panels, figsize=(5 * panels, 3.6), layout="constrained", squeeze=False)
    colors = [COLORS[row["name"]] for row in methods]
    _bars(axes[0, 0], methods, targets, [LABELS[row["name"]] for row in methods], colors)
    axes[0, 0].set(ylabel="accuracy in %", title="Target pictures, no label of which was seen")
    if pairs:
        _bars(axes[0, 1], pairs, targets, [row["name"] for row in pairs], plt.get_cmap("Set2").colors)
        axes[0, 1].axhline(0, color="black", lw=0.8)
        axes[0, 1].set(ylabel="points", title="Paired differences, the same minibatches")
    save(figure, path)


def _bars(axis, rows: list[dict], targets: list[str], labels: list[str], colors) -> None:
    width = 0.8 / len(rows)
    for i, (row, label) in enumerate(zip(rows, labels, strict=True)):
        mean, half = (100 * np.array([row["targets"][t][key] for t in targets]) for key in ("mean", "ci95"))
        places = np.arange(len(targets)) + (i - (len(rows) - 1) / 2) * width
        axis.bar(places, mean, width, yerr=half, color=colors[i], label=label, error_kw={"lw": 1})
    axis.set_xticks(np.arange(len(targets)), targets)
    axis.legend(frameon=False, fontsize=8, ncols=len(rows), loc="upper center", bbox_to_anchor=(0.5, -0.08))
