"""Figures of the spinning lines: the divergence by step, nine tasks, and the same as an animation."""

import os

import matplotlib

matplotlib.use("Agg")  # Figures go to files; no screen is needed.
import matplotlib.pyplot as plt
import numpy as np
from matplotlib import animation

from sib_tf.reports.figures import ADAPTED, BASELINE, save
from sib_tf.storage import atomic
from sib_tf.zero_shot.config import SpinningLinesConfig
from sib_tf.zero_shot.spinning_lines import tasks

_FRAMES_PER_STEP, _PAUSE = 8, 12


def divergence_figure(divergence, true_gradient, metrics: dict, path: str | os.PathLike) -> None:
    """Draws the mean divergence after every step, with the quartiles of the tasks, on a logarithmic scale.

    Args:
        divergence: `[K + 1, tasks]` of SIB.
        true_gradient: the same of descent with the true gradient.
        metrics: of the experiment.
        path: where the PNG goes.
    """
    figure, axis = plt.subplots(figsize=(5.6, 3.8), layout="constrained")
    steps = np.arange(len(divergence))
    for values, color, label in (
        (true_gradient, BASELINE, "true gradient, which knows the targets"),
        (divergence, ADAPTED, "synthetic gradient"),
    ):
        low, high = np.percentile(values, [25, 75], axis=1)
        axis.fill_between(steps, low, high, color=color, alpha=0.15, lw=0)
        axis.plot(steps, values.mean(axis=1), "o-", color=color, label=label)
    axis.axhline(metrics["least_divergence"]["mean"], color="black", ls=":", label="least possible without targets")
    axis.set(xlabel="steps k", ylabel="KL(q || p(w | x, y)) in nats", yscale="log", xticks=steps)
    axis.set_title("Distance to the true posterior; bands: half of the tasks")
    figure.legend(loc="outside lower center", frameon=False)
    save(figure, path)


def loss_figure(losses: np.ndarray, path: str | os.PathLike) -> None:
    """Draws minus the bound over the outer steps, as means of a hundredth of them."""
    size = max(1, len(losses) // 100)
    means = losses[: len(losses) // size * size].reshape(-1, size).mean(axis=1)
    figure, axis = plt.subplots(figsize=(5.6, 3), layout="constrained")
    axis.plot(np.arange(1, len(means) + 1) * size, means, color=ADAPTED)
    axis.set(xlabel="outer steps", ylabel="minus the bound, nats a task", title="Training")
    save(figure, path)


def lines_figure(path, x, y, config: SpinningLinesConfig, file: str | os.PathLike) -> None:
    """Draws tasks with the line after every step.

    Args:
        path: `[K + 1, tasks, 2]`, mean and log-scale of the slope.
        x, y: `[tasks, n]`.
        config: of the tasks.
        file: where the PNG goes.
    """
    figure, panels = _panels(x, y, config)
    steps = len(path) - 1
    for axis, own in zip(panels, path.swapaxes(0, 1), strict=True):
        for k, (mean, _) in enumerate(own):
            # In front of one another, the last in the colour of the result.
            color = plt.get_cmap("viridis")(0.1 + 0.75 * (1 - k / steps)) if k < steps else ADAPTED
            axis.axline((0, 0), slope=mean, color=color, lw=2 if k == steps else 1, label=f"k = {k}")
    figure.suptitle("Lines after every step; shaded: true posterior, two standard deviations", fontsize=10)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    save(figure, file)


def animate(path, x, y, config: SpinningLinesConfig, file: str | os.PathLike) -> None:
    """Writes the lines turning from theta^0 to theta^K, as an animated GIF; arguments as for `lines_figure`."""
    figure, panels = _panels(x, y, config)
    drawn = [axis.axline((0, 0), slope=0, color=ADAPTED, lw=2) for axis in panels]
    title = figure.suptitle("k = 0")
    steps = len(path) - 1
    places = [0.0] * _PAUSE + list(np.linspace(0, steps, steps * _FRAMES_PER_STEP + 1)) + [float(steps)] * _PAUSE

    def show(place: float):
        k = min(int(place), steps - 1)
        slopes = path[k, :, 0] + (place - k) * (path[k + 1, :, 0] - path[k, :, 0])
        for line, slope in zip(drawn, slopes, strict=True):
            line.set_slope(slope)
        title.set_text(f"k = {int(place)}")
        return [*drawn, title]

    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # It is the same in all frames, and takes half of their time.
    moving = animation.FuncAnimation(figure, show, places)
    with atomic.new_file(file) as partial:
        moving.save(partial, animation.PillowWriter(fps=12), dpi=60)
    plt.close(figure)


def _panels(x, y, config: SpinningLinesConfig):
    """Draws points, and the true posterior's line with twice its standard deviation."""
    side = int(np.ceil(np.sqrt(len(x))))
    figure, axes = plt.subplots(side, side, figsize=(2.6 * side + 0.8, 2.4 * side), layout="constrained", squeeze=False)
    means, scales = tasks.exact_posterior(x, y, config.noise)
    for axis, inputs, targets, mean, scale in zip(axes.flat, x, y, means, scales, strict=False):
        axis.scatter(inputs, targets, s=8, color="grey", alpha=0.6)
        width = max(abs(inputs.min()), abs(inputs.max()))
        ends = np.array([-width, width])
        axis.fill_between(ends, (mean - 2 * scale) * ends, (mean + 2 * scale) * ends, color=BASELINE, alpha=0.4, lw=0)
        axis.set(xticks=[], yticks=[])
    for axis in axes.flat[len(x) :]:
        axis.remove()
    return figure, list(axes.flat[: len(x)])
