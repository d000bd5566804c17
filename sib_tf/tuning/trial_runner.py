"""keras-tuner's oracle and tuner, made to our measure: what the search hands out, and what a trial is."""

import contextlib
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import keras_tuner
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial, TrialStatus

from sib_tf import meta_training
from sib_tf.errors import InputError
from sib_tf.features import FeatureCache
from sib_tf.reports import history
from sib_tf.storage import atomic
from sib_tf.tuning import parallel_search
from sib_tf.tuning.search_space import Search
from sib_tf.tuning.tuning_results import COMPLETED, DIVERGED, FAILED, RESULT, TrialResult

OBJECTIVE = "validation_accuracy"
PROJECT = "trials"
ERROR = "error.txt"
# We stop at the first error and take it up again with the next call; trials that diverge never stop a search.
_NO_LIMIT = 10**9


class _Guided:
    """What both oracles get: the first trial is given, an error ends the search, files are written in one move."""

    def __init__(self, project: Path, first: dict, on_end: Callable[[float | None], None], **arguments):
        super().__init__(**arguments)
        self.project, self.first, self.on_end, self.stopping = project, first, on_end, False

    def populate_space(self, trial_id):
        if not self.trials:
            return {"status": TrialStatus.RUNNING, "values": self.first}
        return super().populate_space(trial_id)

    @keras_tuner.synchronized
    def create_trial(self, tuner_id):
        if self.stopping:
            self.tuner_ids.discard(tuner_id)
            return Trial(self.get_space(), status=TrialStatus.STOPPED)
        return super().create_trial(tuner_id)

    @keras_tuner.synchronized
    def end_trial(self, trial):
        # Nothing may be raised here: keras-tuner would not let go of its lock, and a chief would wait for ever.
        self.stopping |= trial.status == TrialStatus.INVALID
        super().end_trial(trial)
        if trial.status != TrialStatus.INVALID:
            self.on_end(self.trials[trial.trial_id].score)

    def save(self):
        atomic.write_json(self.project / "oracle.json", self.get_state())

    def _save_trial(self, trial):
        atomic.write_json(Path(self._get_trial_dir(trial.trial_id)) / "trial.json", trial.get_state())

    def reload(self):
        # keras-tuner reads these files itself, and believes them.
        for path in sorted([*self.project.glob("oracle.json"), *self.project.glob("trial_*/trial.json")]):
            atomic.read_json(path, "Search")
        try:
            super().reload()
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{self.project} is damaged ({error!r}); remove it to search anew.") from error
        # A process that ended between writing a trial and writing the oracle leaves a trial that nobody runs.
        for name, trial in self.trials.items():
            if trial.status in (TrialStatus.RUNNING, TrialStatus.INVALID) and name not in self._retry_queue:
                self._retry_queue.append(name)


class _RandomOracle(_Guided, keras_tuner.oracles.RandomSearchOracle):
    pass


class _BayesianOracle(_Guided, keras_tuner.oracles.BayesianOptimizationOracle):
    pass


def oracle(settings: Search, trials: int, project: Path, on_end: Callable[[float | None], None]) -> keras_tuner.Oracle:
    """Returns the oracle that `settings.tuner` names; nothing is read yet.

    Args:
        settings: what is searched.
        trials: at most, with those that `project` has.
        project: keras-tuner's folder.
        on_end: is called with the score of every trial that ended, or None; it may not raise.
    """
    kind = {"random": _RandomOracle, "bayesian": _BayesianOracle}[settings.tuner]
    # As many random trials as a Gaussian process needs to tell the fields apart; keras-tuner would draw 3 a field.
    extra = {"num_initial_points": len(settings.space) + 2} if settings.tuner == "bayesian" else {}
    made = kind(
        project,
        settings.first(),
        on_end,
        objective=keras_tuner.Objective(OBJECTIVE, "max"),
        max_trials=trials,
        seed=settings.training.seed + 1,  # keras-tuner takes 0 for none.
        hyperparameters=hyperparameters(settings),
        allow_new_entries=False,
        max_retries_per_trial=_NO_LIMIT,
        max_consecutive_failed_trials=_NO_LIMIT,
        **extra,
    )
    made.verbose = 0
    return made


def hyperparameters(settings: Search) -> keras_tuner.HyperParameters:
    """Returns the space as keras-tuner declares it; the weight decay belongs to the optimisers that have one."""
    space = keras_tuner.HyperParameters()
    optimizer_searched = any(field.name == "optimizer" for field in settings.space)
    for field in settings.space:
        scope = contextlib.nullcontext()
        if field.name == "weight_decay" and optimizer_searched:
            scope = space.conditional_scope("optimizer", list(settings.decaying))
        with scope:
            if field.kind is str:
                space.Choice(field.name, list(field.choices))
            elif field.choices:
                space.Int(field.name, 0, len(field.choices) - 1)
            elif field.kind is int:
                space.Int(field.name, field.low, field.high)
            else:
                space.Float(field.name, field.low, field.high, sampling="log" if field.log else "linear")
    return space


class TrialRunner(BaseTuner):
    """Runs trials: each is one meta-training in a folder of its own.

    Args:
        oracle: what hands them out.
        cache: features.
        settings: what is searched, with the features' length in the model.
        output_dir: folder of the search.
        on_end: is called with the result of every trial that this process ran.

    Raises:
        InputError: the state that keras-tuner left in the folder is damaged.

    Attributes:
        result: of the last trial that this process ran.
    """

    def __init__(
        self,
        oracle: keras_tuner.Oracle,
        cache: FeatureCache,
        settings: Search,
        output_dir: Path,
        on_end: Callable[[TrialResult], None],
    ):
        self.cache, self.settings, self.on_end = cache, settings, on_end
        self.result: TrialResult | None = None
        super().__init__(oracle, directory=str(output_dir), project_name=PROJECT)
        state = output_dir / PROJECT / "oracle.json"
        if parallel_search.role() != "worker" and state.exists():
            try:
                oracle.reload()
            except (ValueError, KeyError, RuntimeError) as error:
                raise InputError(f"{state.parent} is damaged ({error}); remove {output_dir} to start anew.") from error

    def save(self):
        """Saves the oracle; the tuner has no state of its own."""
        if parallel_search.role() != "worker":
            self.oracle.save()

    def run_trial(self, trial: Trial) -> dict:
        """Meta-trains with the values of `trial`; returns the best validation accuracy.

        Raises:
            FailedTrialError: the loss was not finite.
            Exception: anything else that went wrong.
        """
        folder = Path(self.get_trial_dir(trial.trial_id))
        values = self.settings.decode(trial.hyperparameters.values)
        start, self.result = time.monotonic(), None

        def end(state: str, **more) -> None:
            self.result = TrialResult(int(trial.trial_id), state, values, time.monotonic() - start, **more)
            self.result.save(folder / RESULT)

        try:
            for name in (RESULT, ERROR):
                (folder / name).unlink(missing_ok=True)
            meta_training.meta_train(self.cache, *self.settings.configs(values), folder)
            end(COMPLETED, **_best_validation(folder))
        except meta_training.DivergenceError as error:
            end(DIVERGED, step=error.step, cause=str(error).partition(";")[0] + ".")
            raise keras_tuner.errors.FailedTrialError(str(error)) from error
        except Exception as error:
            with contextlib.suppress(OSError, InputError):  # The disk may be what failed.
                end(FAILED, cause=_in_a_line(error))
                atomic.write_text(folder / ERROR, traceback.format_exc())
            raise
        return {OBJECTIVE: self.result.accuracy}

    def on_trial_end(self, trial: Trial) -> None:
        """Reports the trial to the oracle, then to whoever made this runner."""
        if trial.status == TrialStatus.INVALID and (self.result is None or self.result.state != FAILED):
            # Not the training failed but what came after it.
            values, cause = self.settings.decode(trial.hyperparameters.values), trial.message.strip().splitlines()[-1]
            self.result = TrialResult(int(trial.trial_id), FAILED, values, 0.0, cause=cause)
        super().on_trial_end(trial)
        self.on_end(self.result)


def _best_validation(folder: Path) -> dict:
    rows = history.read(folder / "history.csv")
    best = max(rows, key=lambda row: float(row["validation_accuracy"]))
    accuracy, half = (float(best[name]) for name in ("validation_accuracy", "validation_ci95"))
    return {"accuracy": accuracy, "ci95": half, "step": int(best["step"])}


def _in_a_line(error: Exception) -> str:
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"
