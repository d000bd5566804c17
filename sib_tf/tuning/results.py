"""What a search found: the page with its figure."""

from collections.abc import Sequence
from pathlib import Path

from sib_tf import templates
from sib_tf.errors import InputError
from sib_tf.reports import figures
from sib_tf.storage import atomic
from sib_tf.tuning.search_space import Search, Searched
from sib_tf.tuning.trials import COMPLETED, TABLE, TrialResult

PAGE, FIGURE = "report.md", "trials.png"
_NO_ACCURACY = "#8a8a8a"


def best_of(results: Sequence[TrialResult]) -> TrialResult | None:
    """Returns the completed trial of the highest accuracy, the first of equals; None where none completed."""
    completed = [result for result in results if result.state == COMPLETED]
    return max(completed, key=lambda result: result.accuracy, default=None)


def write(folder: Path, results: Sequence[TrialResult], search: Search) -> None:
    """Writes the page and its figure; an InputError if no trial completed."""
    if best_of(results) is None:
        raise InputError(
            f"All {len(results)} trials diverged; {folder / TABLE} has their values. Lower the step sizes' ranges."
        )
    _figure(folder / FIGURE, results, search.space)
    page = templates.render(
        "report.md",
        __package__,
        summary=summary(results, search),
        search=search,
        completed=sorted((r for r in results if r.state == COMPLETED), key=lambda r: -r.accuracy),
        others=[r for r in results if r.state != COMPLETED],
    )
    atomic.write_text(folder / PAGE, page)


def summary(results: Sequence[TrialResult], search: Search) -> str:
    """Returns the best trial in one line: accuracy, interval, trials, episodes, steps, seed."""
    best, training = best_of(results), search.training
    return (
        f"Best of {len(results)} trials ({search.tuner}): {100 * best.accuracy:.2f} +-{100 * best.ci95:.2f} % on "
        f"{training.validation_episodes} validation episodes at step {best.step} of {training.steps}; trial "
        f"{best.trial}, seed {training.seed}."
    )


def _figure(path: Path, results: Sequence[TrialResult], space: Sequence[Searched]) -> None:
    columns = min(3, len(space))
    rows = -(-len(space) // columns)
    size = (3.2 * columns, 2.7 * rows)
    with figures.panels(path, rows, columns, figsize=size, sharey=True, squeeze=False) as axes:
        for axis, field in zip(axes.flat, space, strict=False):
            _panel(axis, field, results)
        for axis in axes.flat[len(space) :]:
            axis.remove()
        for row in axes:
            row[0].set_ylabel("accuracy in %")


def _panel(axis, field: Searched, results: Sequence[TrialResult]) -> None:
    """Accuracy against the values of one field: the best stands out, trials without accuracy are crosses below."""
    axis.set(xlabel=field.name, xscale="log" if field.log and not field.choices else "linear")
    if field.choices:
        axis.set_xticks(range(len(field.choices)), map(str, field.choices))
    ends = (0, len(field.choices) - 1) if field.choices else (field.low, field.high)
    axis.plot(ends, (0, 0), "|", color=_NO_ACCURACY, transform=axis.get_xaxis_transform())
    best = best_of(results)
    for result in results:
        if field.name not in result.values:
            continue
        value = result.values[field.name]
        x = field.choices.index(value) if field.choices else value
        if result.state == COMPLETED:
            color = figures.BASELINE if result is best else figures.ADAPTED
            axis.errorbar(x, 100 * result.accuracy, 100 * result.ci95, fmt="o", ms=4, color=color, elinewidth=0.8)
        else:
            axis.plot(x, 0.03, "x", color=_NO_ACCURACY, transform=axis.get_xaxis_transform())
