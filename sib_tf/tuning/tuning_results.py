"""What a search found: a record of every trial, the table, the page with its figure, and the best as a flagfile."""

import csv
import dataclasses
import io
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # Figures go to files; no screen is needed.
import matplotlib.pyplot as plt

from sib_tf.config import Record
from sib_tf.storage import atomic
from sib_tf.tuning.search_space import Search, Searched

RESULT, TABLE, PAGE, FIGURE, FLAGS = "result.json", "trials.csv", "report.md", "trials.png", "best.flags"
COMPLETED, DIVERGED, FAILED = "completed", "diverged", "failed"
_COLOR, _BEST, _NO_ACCURACY = "#0b6e4f", "#b3541e", "#8a8a8a"


@dataclasses.dataclass(frozen=True)
class TrialResult(Record):
    """How a trial ended.

    Attributes:
        trial: its number, from 0.
        state: "completed"; "diverged": the loss was not finite, the values are too wild; "failed": any other error.
        values: of the searched fields that were in play, by name.
        seconds: wall time, of its last sitting if it was broken off.
        accuracy, ci95: the best of its validations, in [0, 1]; None unless completed.
        step: of that validation, or of the loss that was not finite.
        cause: why it did not complete, in one line.
    """

    trial: int
    state: str
    values: dict
    seconds: float
    accuracy: float | None = None
    ci95: float | None = None
    step: int | None = None
    cause: str = ""

    def text(self) -> str:
        """Returns trial and values in a few words."""
        return f"Trial {self.trial} ({', '.join(f'{name}={value}' for name, value in self.values.items())})"


def read(folder: str | os.PathLike) -> list[TrialResult]:
    """Returns the results of the trials that lie in `folder`, in their order."""
    results = [TrialResult.load(path) for path in Path(folder).glob(f"*/{RESULT}")]
    return sorted(results, key=lambda result: result.trial)


def best_of(results: Sequence[TrialResult]) -> TrialResult | None:
    """Returns the completed trial of the highest accuracy, the first of equals; None where none completed."""
    completed = [result for result in results if result.state == COMPLETED]
    return max(completed, key=lambda result: result.accuracy, default=None)


def write_table(path: str | os.PathLike, results: Sequence[TrialResult], space: Sequence[Searched]) -> None:
    """Writes `results` as CSV, one row a trial."""
    before = ["trial", "state", "accuracy", "ci95", "step", "seconds"]
    text = io.StringIO()
    table = csv.DictWriter(text, [*before, *(field.name for field in space), "cause"], lineterminator="\n")
    table.writeheader()
    for result in results:
        row = dataclasses.asdict(result)
        table.writerow({**row.pop("values"), **row, "seconds": f"{result.seconds:.1f}"})
    atomic.write_text(path, text.getvalue())


def write_flags(path: str | os.PathLike, lines: Sequence[str], summary: str, folders: tuple[str, str]) -> None:
    """Writes a flagfile for train.meta_train, with `summary` and the command on top.

    Args:
        path: of the flagfile.
        lines: the flags, "--name=value".
        summary: one line.
        folders: of the features and, proposed, of the training.
    """
    features, output = map(shlex.quote, folders)
    command = f"python -m train.meta_train --flagfile={shlex.quote(str(path))} --features_dir={features}"
    head = [f"# {summary}", f"# Command:  {command}", f"#           --output_dir={output}"]
    atomic.write_text(path, "\n".join([*head, *lines]) + "\n")


def summary(results: Sequence[TrialResult], search: Search) -> str:
    """Returns the best trial in one line: accuracy, interval, trials, episodes, steps, seed."""
    best, training = best_of(results), search.training
    return (
        f"Best of {len(results)} trials ({search.tuner}): {_percent(best)} % on {training.validation_episodes} "
        f"validation episodes at step {best.step} of {training.steps}; trial {best.trial}, seed {training.seed}."
    )


def write_page(folder: str | os.PathLike, results: Sequence[TrialResult], search: Search) -> Path:
    """Writes `report.md` and its figure into `folder`; returns the page's path."""
    folder = Path(folder)
    _figure(folder / FIGURE, results, search.space)
    names = [field.name for field in search.space]
    completed = sorted((r for r in results if r.state == COMPLETED), key=lambda r: -r.accuracy)
    lines = [
        "# Search for settings of the SIB model",
        "",
        summary(results, search),
        f"It was chosen on the validation episodes, so this accuracy flatters it; `{FLAGS}` trains it in full, and "
        "train.evaluate measures on other classes.",
        "",
        f"Validation episodes: {search.training.validation.describe()}. Trial 0 has the values given as flags, moved "
        "into the ranges.",
        "",
        *_markdown(["field", "range"], [[field.name, field.describe()] for field in search.space]),
        "",
        *_markdown(
            ["trial", "accuracy in %", "step", "seconds", *names],
            [[r.trial, _percent(r), r.step, f"{r.seconds:.0f}", *_values(r, names)] for r in completed],
        ),
        "",
        f"![Accuracy against each searched value]({FIGURE})",
        "",
    ]
    if others := [result for result in results if result.state != COMPLETED]:
        lines += ["Trials without an accuracy:", ""]
        rows = [[r.trial, r.state, *_values(r, names), r.cause.replace("|", "\\|")] for r in others]
        lines += [*_markdown(["trial", "state", *names, "cause"], rows), ""]
    atomic.write_text(folder / PAGE, "\n".join(lines))
    return folder / PAGE


def _percent(result: TrialResult) -> str:
    return f"{100 * result.accuracy:.2f} +-{100 * result.ci95:.2f}"


def _values(result: TrialResult, names: Sequence[str]) -> list[str]:
    return [str(result.values.get(name, "")) for name in names]


def _markdown(head: Sequence[str], rows: Sequence[Sequence]) -> list[str]:
    return [f"| {' | '.join(map(str, row))} |" for row in (head, ["---"] * len(head), *rows)]


def _figure(path: str | os.PathLike, results: Sequence[TrialResult], space: Sequence[Searched]) -> None:
    columns = min(3, len(space))
    rows = -(-len(space) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.2 * columns, 2.7 * rows), layout="constrained", sharey=True, squeeze=False
    )
    for axis, field in zip(axes.flat, space, strict=False):
        _panel(axis, field, results)
    for axis in axes.flat[len(space) :]:
        axis.remove()
    for row in axes:
        row[0].set_ylabel("accuracy in %")
    try:
        with atomic.new_file(path) as partial:
            figure.savefig(partial, dpi=130, format="png")
    finally:
        plt.close(figure)


def _panel(axis, field: Searched, results: Sequence[TrialResult]) -> None:
    """Accuracy against the values of one field: the best stands out, trials without accuracy are crosses below."""
    _scale(axis, field)
    best = best_of(results)
    for result in results:
        if field.name not in result.values:
            continue
        value = result.values[field.name]
        x = field.choices.index(value) if field.choices else value
        if result.state == COMPLETED:
            color = _BEST if result is best else _COLOR
            axis.errorbar(x, 100 * result.accuracy, 100 * result.ci95, fmt="o", ms=4, color=color, elinewidth=0.8)
        else:
            axis.plot(x, 0.03, "x", color=_NO_ACCURACY, transform=axis.get_xaxis_transform())


def _scale(axis, field: Searched) -> None:
    axis.set_xlabel(field.name)
    if field.choices:
        axis.set_xticks(range(len(field.choices)), map(str, field.choices))
        axis.set_xlim(-0.5, len(field.choices) - 0.5)
    elif field.log:
        factor = (field.high / field.low) ** 0.05
        axis.set_xscale("log")
        axis.set_xlim(field.low / factor, field.high * factor)
    else:
        margin = 0.05 * (field.high - field.low)
        axis.set_xlim(field.low - margin, field.high + margin)
