"""The figure: the gain over K = 0 in every cell, sorted, the head beside the best peers."""

import os
from collections.abc import Sequence

import numpy as np

from benchmarks.unseen import aims
from benchmarks.unseen.names import in_words
from sib_tf.reports import figures

_PEERS = 4
_COLORS = ("#d1495b", "#edae49", "#00798c", "#8d6a9f")


def draw(records: Sequence[dict], path: str | os.PathLike) -> None:
    """Draws the records of all cells into a PNG file."""
    labels = {label for record in records for label in record["methods"]} - {"head", "balanced head", "prototypes"}
    best = sorted(labels, key=lambda label: -aims.mean(records, label, "difference"))[:_PEERS]
    with figures.panels(path, figsize=(9, 4.5)) as axis:
        for label, color in zip(best, _COLORS, strict=False):
            axis.plot(*_sorted(records, label), lw=1, color=color, label=in_words(label))
        axis.plot(*_sorted(records, "head"), lw=2.2, color="#0b6e4f", label=in_words("head"))
        axis.axhline(0, color="black", lw=0.8)
        axis.set(xlabel="cells, each method's own order (% of them)", ylabel="gain over K = 0 in points")
        axis.legend(frameon=False, fontsize=8)
        axis.grid(alpha=0.25, lw=0.5)


def _sorted(records: Sequence[dict], label: str) -> tuple[np.ndarray, np.ndarray]:
    gains = np.sort([100 * r["methods"][label]["difference"] for r in records if label in r["methods"]])
    return np.linspace(0, 100, len(gains)), gains
