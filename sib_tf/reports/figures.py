"""Figures of reports, as PNG, from the metrics of a run."""

import contextlib
import os
from collections.abc import Iterator

import matplotlib

matplotlib.use("Agg")  # Figures go to files; no screen is needed.
import matplotlib.pyplot as plt
import numpy as np

from sib_tf.storage import atomic

ADAPTED, BASELINE = "#0b6e4f", "#b3541e"


@contextlib.contextmanager
def panels(path: str | os.PathLike, rows: int = 1, columns: int = 1, **frame) -> Iterator:
    """Yields the axes of a figure that is written to `path` as PNG, in one move, when the block ends well.

    `frame` is more of what `plt.subplots` takes.
    """
    figure, axes = plt.subplots(rows, columns, layout="constrained", **frame)
    try:
        yield axes
        save(figure, path)
    finally:
        plt.close(figure)


def accuracy_figure(metrics: dict, accuracy: np.ndarray, baseline: np.ndarray, path: str | os.PathLike) -> None:
    """Draws accuracy after every step with its band, and the paired differences over episodes.

    `metrics` are those of `metrics.json`; `accuracy` is `[K + 1, episodes]` in [0, 1], and that of nearest prototypes
    on the same episodes, `baseline`, `[episodes]`.
    """
    with panels(path, 1, 2, figsize=(9, 3.4)) as (left, right):
        steps = np.arange(len(accuracy))
        mean, half = (100 * np.array(metrics[name]) for name in ("accuracy_by_step", "ci95_by_step"))
        left.fill_between(steps, mean - half, mean + half, color=ADAPTED, alpha=0.25, lw=0)
        left.plot(steps, mean, "o-", color=ADAPTED, label="SIB after k steps")
        level, half = 100 * metrics["baseline_accuracy"], 100 * metrics["baseline_ci95"]
        left.axhline(level, color=BASELINE, ls="--", label="nearest prototypes")
        left.axhspan(level - half, level + half, color=BASELINE, alpha=0.15)
        left.set(xlabel="synthetic-gradient steps k", ylabel="accuracy in %", xticks=steps)
        left.set_title("Accuracy, 95 % bands")
        _end_at_100(left)
        left.legend(frameon=False)
        difference = 100 * (accuracy[-1] - baseline)
        right.hist(difference, bins=_bin_edges(difference), color=ADAPTED, alpha=0.8)
        right.axvline(0, color="black", lw=0.8)
        right.axvline(100 * metrics["difference"], color=BASELINE, ls="--")
        right.set(xlabel="difference to prototypes in points", ylabel="episodes", title="The same episodes, paired")


def reliability_figure(confidence: dict, path: str | os.PathLike) -> None:
    """Draws accuracy against `confidence` (of `metrics.json`); the area of a point is the share of the queries."""
    with panels(path, figsize=(4.4, 3.8)) as axis:
        axis.plot([0, 100], [0, 100], color="black", lw=0.8)
        for (name, quality), color in zip(confidence.items(), (BASELINE, ADAPTED), strict=False):
            mean, right, share = 100 * np.array(quality["bins"]).T
            label = f"{name}: error {100 * quality['ece']:.1f} %"
            axis.plot(mean, right, "-", color=color, lw=1)
            axis.scatter(mean, right, s=8 + 6 * share, color=color, alpha=0.7, label=label)
        axis.set(xlabel="confidence in %", ylabel="right answers in %", xlim=(0, 101), ylim=(0, 101))
        axis.set_title("Reliability")
        axis.legend(frameon=False, loc="upper left")


def training_figure(pretraining: list[dict], meta_training: list[dict], path: str | os.PathLike) -> None:
    """Draws the curves of both stages from their histories (rows of `history.csv`; either may be empty)."""
    curves = (
        (pretraining, "epoch", 1, "val_prototype_accuracy", "Backbone: prototypes, validation classes"),
        (meta_training, "step", 0, "validation_accuracy", "SIB: validation episodes"),
    )
    with panels(path, 1, 2, figsize=(9, 3.2)) as axes:
        for axis, (rows, counter, first, name, title) in zip(axes, curves, strict=True):
            if not rows:
                axis.text(0.5, 0.5, "no history here", ha="center", transform=axis.transAxes)
            axis.plot([row[counter] + first for row in rows], [100 * row[name] for row in rows], color=ADAPTED)
            axis.set(xlabel=counter if first else "outer step", ylabel="accuracy in %", title=title)


def curves_figure(curves: dict, path: str | os.PathLike) -> None:
    """Draws accuracy against imbalance and against the number of queries, with 95 % bands.

    At least one of the `curves`, as `query_sets.measure` returns them, is not empty.
    """
    labels = {"dirichlet_alpha": "Dirichlet's alpha (imbalance grows to the left)", "total_query": "queries in all"}
    names = [name for name in labels if curves[name]]
    if curves["dirichlet_alpha"]:
        labels["dirichlet_alpha"] += f", {curves['dirichlet_alpha'][0]['queries']} queries"
    with panels(path, 1, len(names), figsize=(4.5 * len(names), 3.4), squeeze=False) as axes:
        for axis, name in zip(axes[0], names, strict=True):
            points = curves[name]
            places = np.arange(len(points))
            for key, color, label in (("", ADAPTED, "SIB"), ("baseline_", BASELINE, "nearest prototypes")):
                mean, half = (100 * np.array([point[key + part] for point in points]) for part in ("accuracy", "ci95"))
                axis.fill_between(places, mean - half, mean + half, color=color, alpha=0.2, lw=0)
                axis.plot(places, mean, "o-", color=color, label=label)
            ticks = [value if isinstance(value := point["value"], str) else f"{value:g}" for point in points]
            axis.set_xticks(places, ticks)
            axis.set(xlabel=labels[name], ylabel="accuracy in %")
            _end_at_100(axis)
            axis.legend(frameon=False)


def _end_at_100(axis) -> None:
    """Cuts an axis of percentages above 100, where bands may reach and accuracies do not; points there stay whole."""
    low, high = axis.get_ylim()
    axis.set_ylim(low, min(high, 100 + 0.03 * (100 - low)))


def open_set_figure(measured: dict, path: str | os.PathLike) -> None:
    """Draws how probable known and unknown pictures are to be known: `open_set` of `metrics.json`, with histograms."""
    with panels(path, figsize=(5, 3.4)) as axis:
        for name, color in (("known", ADAPTED), ("unknown", BASELINE)):
            shares = 100 * np.array(measured[f"{name}_histogram"])
            places = (np.arange(len(shares)) + 0.5) / len(shares)
            axis.bar(places, shares, 1 / len(shares), color=color, alpha=0.5, label=f"{name} classes")
        axis.set(xlabel="probability of one of the episode's classes", ylabel="% of the pictures")
        axis.set_title(f"None of these: AUROC {100 * measured['auroc']:.1f} %")
        axis.legend(frameon=False)


def save(figure, path: str | os.PathLike) -> None:
    """Writes a matplotlib figure as PNG, in one move, and closes it."""
    try:
        with atomic.new_file(path) as partial:
            figure.savefig(partial, dpi=130, format="png")
    finally:
        plt.close(figure)


def _bin_edges(values: np.ndarray) -> np.ndarray:
    """Edges of at most 40 bins that all hold equally many of the values possible: accuracies are multiples of 1/n."""
    possible = np.unique(values.round(6))
    spacing = np.diff(possible).min() if len(possible) > 1 else 1.0
    places = round((possible[-1] - possible[0]) / spacing) + 1
    width = -(-places // 40)
    return possible[0] + spacing * (width * np.arange(-(-places // width) + 1) - 0.5)
