"""The report of an experiment: `report.md`, the divergence by step, nine tasks, and the same as an animation."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import animation

from sib_tf import templates
from sib_tf.reports.figures import ADAPTED, BASELINE, panels, save
from sib_tf.storage import atomic
from sib_tf.zero_shot.config import SpinningLinesConfig
from sib_tf.zero_shot.spinning_lines import tasks

_FRAMES_PER_STEP, _PAUSE = 8, 12


def write(folder: Path, metrics: dict, divergence: np.ndarray, true_gradient: np.ndarray, losses: np.ndarray) -> None:
    """Writes the page and two of its figures; arguments as from `experiment.measure` and `experiment.train`."""
    least = metrics["least_divergence"]["mean"]
    _divergence_figure(divergence, true_gradient, least, folder / "divergence.png")
    _loss_figure(losses, folder / "training.png")
    atomic.write_text(folder / "report.md", templates.render("report.md", __package__, **metrics))


def draw_lines(folder: Path, path: np.ndarray, x: np.ndarray, y: np.ndarray, config: SpinningLinesConfig) -> None:
    """Draws a square number of tasks with the line after every step, in `lines.png`, and turning, in `lines.gif`.

    `path` is `[K + 1, tasks, 2]`, mean and log-scale of the slope; x and y are `[tasks, n]`.
    """
    _lines_figure(path, *_panels(x, y, config), folder / "lines.png")
    _animate(path, *_panels(x, y, config), folder / "lines.gif")


def _divergence_figure(divergence, true_gradient, least: float, path: Path) -> None:
    """Draws the mean divergence after every step, with the quartiles of the tasks, on a logarithmic scale."""
    steps = np.arange(len(divergence))
    labels = ("true gradient, which knows the targets", "synthetic gradient")
    with panels(path, figsize=(5.6, 3.8)) as axis:
        for values, color, label in zip((true_gradient, divergence), (BASELINE, ADAPTED), labels, strict=True):
            low, high = np.percentile(values, [25, 75], axis=1)
            axis.fill_between(steps, low, high, color=color, alpha=0.15, lw=0)
            axis.plot(steps, values.mean(axis=1), "o-", color=color, label=label)
        axis.axhline(least, color="black", ls=":", label="least possible without targets")
        axis.set(xlabel="steps k", ylabel="KL(q || p(w | x, y)) in nats", yscale="log", xticks=steps)
        axis.set_title("Distance to the true posterior; bands: half of the tasks")
        axis.figure.legend(loc="outside lower center", frameon=False)


def _loss_figure(losses: np.ndarray, path: Path) -> None:
    """Draws minus the bound over the outer steps, as means of a hundredth of them."""
    size = max(1, len(losses) // 100)
    means = losses[: len(losses) // size * size].reshape(-1, size).mean(axis=1)
    with panels(path, figsize=(5.6, 3)) as axis:
        axis.plot(np.arange(1, len(means) + 1) * size, means, color=ADAPTED)
        axis.set(xlabel="outer steps", ylabel="minus the bound, nats a task", title="Training")


def _lines_figure(path: np.ndarray, figure, panels, file: Path) -> None:
    steps = len(path) - 1
    for axis, own in zip(panels, path.swapaxes(0, 1), strict=True):
        for k, (mean, _) in enumerate(own):
            # In front of one another, the last in the colour of the result.
            color = plt.get_cmap("viridis")(0.1 + 0.75 * (1 - k / steps)) if k < steps else ADAPTED
            axis.axline((0, 0), slope=mean, color=color, lw=2 if k == steps else 1, label=f"k = {k}")
    figure.suptitle("Lines after every step; shaded: true posterior, two standard deviations", fontsize=10)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    save(figure, file)


def _animate(path: np.ndarray, figure, panels, file: Path) -> None:
    drawn = [axis.axline((0, 0), slope=0, color=ADAPTED, lw=2) for axis in panels]
    title = figure.suptitle("k = 0")
    steps = len(path) - 1
    places = np.pad(np.linspace(0, steps, steps * _FRAMES_PER_STEP + 1), _PAUSE, "edge")

    def show(place: float) -> None:
        k = min(int(place), steps - 1)
        slopes = path[k, :, 0] + (place - k) * (path[k + 1, :, 0] - path[k, :, 0])
        for line, slope in zip(drawn, slopes, strict=True):
            line.set_slope(slope)
        title.set_text(f"k = {int(place)}")

    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # It is the same in all frames, and takes half of their time.
    moving = animation.FuncAnimation(figure, show, places)
    with atomic.new_file(file) as partial:
        moving.save(partial, animation.PillowWriter(fps=12), dpi=60)
    plt.close(figure)


def _panels(x: np.ndarray, y: np.ndarray, config: SpinningLinesConfig):
    """A figure and its axes, with points, and the true posterior's line with twice its standard deviation."""
    side = int(np.ceil(np.sqrt(len(x))))
    figure, axes = plt.subplots(side, side, figsize=(2.6 * side + 0.8, 2.4 * side), layout="constrained")
    means, scales = tasks.exact_posterior(x, y, config.noise)
    for axis, inputs, targets, mean, scale in zip(axes.flat, x, y, means, scales, strict=True):
        axis.scatter(inputs, targets, s=8, color="grey", alpha=0.6)
        width = max(abs(inputs.min()), abs(inputs.max()))
        ends = np.array([-width, width])
        axis.fill_between(ends, (mean - 2 * scale) * ends, (mean + 2 * scale) * ends, color=BASELINE, alpha=0.4, lw=0)
        axis.set(xticks=[], yticks=[])
    return figure, axes.flat
