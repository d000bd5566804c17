"""What a trial is, to keras-tuner and on the disk: its oracles and its tuner, made to our measure."""

import contextlib
import csv
import dataclasses
import os
import time
from collections.abc import Sequence
from pathlib import Path

import keras_tuner
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial, TrialStatus
from keras_tuner.src import config as keras_tuner_config

from sib_tf import meta_training
from sib_tf.errors import InputError
from sib_tf.features import FeatureCache
from sib_tf.records import Record
from sib_tf.reports import history
from sib_tf.storage import atomic
from sib_tf.tuning.search_space import Search, Searched

PROJECT, TABLE = "trials", "trials.csv"
COMPLETED, DIVERGED = "completed", "diverged"
_RESULT, _OBJECTIVE = "result.json", "validation_accuracy"
keras_tuner_config.DEBUG = False  # It would print a traceback for every trial that diverges.


@dataclasses.dataclass(frozen=True)
class TrialResult(Record):
    """How a trial ended.

    Attributes:
        trial: its number, from 0.
        state: "completed", or "diverged": the loss was not finite; `cause` says so in one line.
        values: of the searched fields that were in play, by name.
        seconds: wall time, since it was last resumed if it was broken off.
        accuracy, ci95: the best of its validations, in [0, 1]; None unless completed.
        step: of that validation, or of the loss that was not finite.
    """

    trial: int
    state: str
    values: dict
    seconds: float
    accuracy: float | None = None
    ci95: float | None = None
    step: int | None = None
    cause: str = ""


def read(output_dir: str | os.PathLike) -> list[TrialResult]:
    """Returns the results of the trials of the search in `output_dir`, in their order."""
    results = [TrialResult.load(path) for path in Path(output_dir, PROJECT).glob(f"*/{_RESULT}")]
    return sorted(results, key=lambda result: result.trial)


def _write_table(output_dir: Path, space: Sequence[Searched]) -> None:
    columns = ["trial", "state", "accuracy", "ci95", "step", "seconds", *(field.name for field in space), "cause"]
    with atomic.new_file(output_dir / TABLE) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns, lineterminator="\n")
        table.writeheader()
        for result in read(output_dir):
            row = dataclasses.asdict(result)
            table.writerow({**row.pop("values"), **row, "seconds": f"{result.seconds:.1f}"})


class _Guided:
    """What both oracles get: the first trial is given, and a kill at any moment leaves what a search can go on from."""

    def __init__(self, first: dict, **arguments):
        super().__init__(**arguments)
        self.first = first

    def populate_space(self, trial_id):
        if not self.trials:
            return {"status": TrialStatus.RUNNING, "values": self.first}
        return super().populate_space(trial_id)

    def save(self):
        atomic.write_json(self._get_oracle_fname(), self.get_state())

    def _save_trial(self, trial):
        atomic.write_json(Path(self._get_trial_dir(trial.trial_id)) / "trial.json", trial.get_state())

    def reload(self):
        space, project = self.get_space().get_config(), Path(self._project_dir)
        try:
            # keras-tuner reads these files itself, and believes them.
            for path in (project / "oracle.json", *sorted(project.glob("trial_*/trial.json"))):
                atomic.read_json(path, "Search")
            super().reload()
            if self.get_space().get_config() != space:
                raise ValueError("it has another space")
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"{project} is damaged ({error}); remove {project.parent} to start anew.") from error
        # A process that was killed between writing a trial and writing the oracle leaves a trial that nobody runs.
        waiting = (name for name, trial in self.trials.items() if trial.status == TrialStatus.RUNNING)
        self._retry_queue = list(dict.fromkeys([*self._retry_queue, *waiting]))


class _Random(_Guided, keras_tuner.oracles.RandomSearchOracle):
    pass


class _Bayesian(_Guided, keras_tuner.oracles.BayesianOptimizationOracle):
    pass


def oracle(settings: Search, trials: int) -> keras_tuner.Oracle:
    """Returns what hands out `trials` trials at most, with those that the tuner's folder has; nothing is read yet."""
    # As many random trials as a Gaussian process needs to tell the fields apart; keras-tuner would draw 3 a field.
    extra = {"num_initial_points": len(settings.space) + 2} if settings.tuner == "bayesian" else {}
    made = {"random": _Random, "bayesian": _Bayesian}[settings.tuner](
        settings.first(),
        objective=keras_tuner.Objective(_OBJECTIVE, "max"),
        max_trials=trials,
        seed=settings.training.seed + 1,  # keras-tuner takes 0 for none.
        hyperparameters=_hyperparameters(settings),
        allow_new_entries=False,
        max_consecutive_failed_trials=trials + 1,  # However many diverge.
        **extra,
    )
    made.verbose = 0  # What it would print, it also has to find again after a restart.
    return made


def _hyperparameters(settings: Search) -> keras_tuner.HyperParameters:
    """The space as keras-tuner declares it; the weight decay belongs to the optimisers that have one."""
    space = keras_tuner.HyperParameters()
    names = [field.name for field in settings.space]
    for field in settings.space:
        scope = contextlib.nullcontext()
        if field.name == "weight_decay" and "optimizer" in names:
            scope = space.conditional_scope("optimizer", list(settings.decaying))
        with scope:
            if field.choices:
                space.Choice(field.name, list(field.choices))
            elif field.kind is int:
                space.Int(field.name, field.low, field.high)
            else:
                space.Float(field.name, field.low, field.high, sampling="log" if field.log else "linear")
    return space


class Trials(BaseTuner):
    """Runs the trials that `oracle` hands out: each is one meta-training in a folder of its own in `output_dir`.

    Raises an InputError if the state that keras-tuner left in the folder is damaged.
    """

    def __init__(self, oracle: keras_tuner.Oracle, cache: FeatureCache, settings: Search, output_dir: Path):
        self.cache, self.settings = cache, settings
        super().__init__(oracle, directory=str(output_dir), project_name=PROJECT)
        if not self._is_worker() and (output_dir / PROJECT / "oracle.json").exists():
            oracle.reload()

    def save(self):
        """Saves the oracle; the tuner has no state of its own."""
        if not self._is_worker():
            self.oracle.save()

    def run_trial(self, trial: Trial) -> float:
        """Meta-trains with the values of `trial`, and returns the best validation accuracy.

        Raises a FailedTrialError if the loss was not finite, and of anything else a FatalError, which ends the search.
        """
        folder, number, start = Path(self.get_trial_dir(trial.trial_id)), int(trial.trial_id), time.monotonic()
        values = self.settings.decode(trial.hyperparameters.values)
        name = f"Trial {number} ({', '.join(f'{name}={value}' for name, value in values.items())})"

        def end(state: str, outcome: str, **more) -> None:
            TrialResult(number, state, values, time.monotonic() - start, **more).save(folder / _RESULT)
            _write_table(Path(self.directory), self.settings.space)
            print(f"{name}: {outcome}")

        try:
            meta_training.meta_train(self.cache, *self.settings.configs(values), folder)
            best = max(history.read(folder / "history.csv"), key=lambda row: row["validation_accuracy"])
            accuracy, half, step = (best[name] for name in ("validation_accuracy", "validation_ci95", "step"))
            end(COMPLETED, f"{100 * accuracy:.2f} +-{100 * half:.2f} %", accuracy=accuracy, ci95=half, step=step)
        except meta_training.DivergenceError as error:
            cause = str(error).partition(";")[0] + "."
            end(DIVERGED, cause, step=error.step, cause=cause)
            raise keras_tuner.errors.FailedTrialError(str(error)) from error
        except Exception as error:
            raise keras_tuner.errors.FatalError(name) from error
        return accuracy
