"""Search for settings of the SIB model: every trial is one meta-training, measured on the same validation list.

Several processes can share a search, by keras-tuner's environment variables; they need the same folder.
"""

import contextlib
import dataclasses
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
from tqdm import tqdm

from sib_tf import checkpoints, meta_training
from sib_tf.errors import InputError
from sib_tf.features import FeatureCache
from sib_tf.storage import run_lock
from sib_tf.tuning import parallel_search, trial_runner, tuning_results
from sib_tf.tuning.search_space import Search
from sib_tf.tuning.tuning_results import FAILED, TrialResult


def search(
    cache: FeatureCache, settings: Search, trials: int, output_dir: str | os.PathLike
) -> list[TrialResult] | None:
    """Runs trials until there are `trials` of them in `output_dir`, and writes the table and the page.

    The same call goes on with a search that was broken off; a larger `trials` adds to it. A trial that diverges is
    recorded with its step, and the search goes on; any other error ends it, and the next call takes up that trial.

    Writes to `output_dir`: `config.json`, `trials/` (keras-tuner's state, and every trial's run), `trials.csv` after
    every trial, `report.md` with its figure.

    Returns:
        The trials in order, at least one of them completed; fewer than `trials` where the space holds no more. None in
        a worker: its chief has them.

    Raises:
        InputError: the folder holds another search, the split is too small for the episodes, a trial failed (the
            message names it, its values and the reason), all trials diverged, or chief and workers do not meet.
    """
    output_dir, role = Path(output_dir), parallel_search.role()
    settings = dataclasses.replace(settings, model=dataclasses.replace(settings.model, feature_dim=cache.feature_dim))
    record = _record(cache, settings)
    # A chief, or who searches alone, has the folder; a worker has its own name there.
    with run_lock.held(output_dir, parallel_search.name() if role == "worker" else ""):
        checkpoints.claim_folder(output_dir, record)
        return _search(cache, settings, trials, output_dir)


def finished_trials(output_dir: str | os.PathLike) -> int:
    """Returns how many trials of the search in `output_dir` have ended, failed ones aside."""
    found = tuning_results.read(Path(output_dir) / trial_runner.PROJECT)
    return sum(result.state != FAILED for result in found)


def _search(cache: FeatureCache, settings: Search, trials: int, output_dir: Path) -> list[TrialResult] | None:
    folder, role = output_dir / trial_runner.PROJECT, parallel_search.role()

    def on_trial_end(result: TrialResult) -> None:
        tuning_results.write_table(output_dir / tuning_results.TABLE, tuning_results.read(folder), settings.space)
        if result.state != FAILED:
            progress.ended(result.accuracy)

    finished = [result for result in tuning_results.read(folder) if result.state != FAILED]
    with _Progress(None if role == "worker" else trials, finished) as progress, _silence(), _meeting():
        # A chief runs no trials; it hears of them from its oracle.
        oracle = trial_runner.oracle(settings, trials, folder, progress.ended if role == "chief" else lambda _: None)
        runner = trial_runner.TrialRunner(oracle, cache, settings, output_dir, on_trial_end)
        runner.search()
    # A worker answers for its own trials, the chief for all.
    results = [runner.result] if runner.result else []
    _refuse_failures(results if role == "worker" else [*results, *tuning_results.read(folder)], folder)
    return None if role == "worker" else _conclude(tuning_results.read(folder), settings, output_dir)


def _record(cache: FeatureCache, settings: Search) -> dict:
    """What `config.json` holds. Drawing the episodes also tells whether the splits have enough for them."""
    training = settings.training
    meta_training.training_samplers(cache, training)
    record = meta_training.run_record(cache, settings.model, training, meta_training.validation_lists(cache, training))
    return {**record, "tuner": settings.tuner, "search": {field.name: field.describe() for field in settings.space}}


def _refuse_failures(results: list[TrialResult], folder: Path) -> None:
    for result in results:
        if result.state == FAILED:
            where = next(path for path in folder.glob("trial_*") if int(path.name[6:]) == result.trial)
            raise InputError(
                f"{result.text()} failed: {result.cause.rstrip('.')}; the traceback is in "
                f"{where / trial_runner.ERROR}. The same command takes the trial up again."
            )


def _conclude(results: list[TrialResult], settings: Search, output_dir: Path) -> list[TrialResult]:
    table = output_dir / tuning_results.TABLE
    tuning_results.write_table(table, results, settings.space)
    if tuning_results.best_of(results) is None:
        raise InputError(f"All {len(results)} trials diverged; {table} has their values. Lower the step sizes' ranges.")
    tuning_results.write_page(output_dir, results, settings)
    return results


class _Progress:
    """One bar for the trials, with the best so far.

    Args:
        trials: of the search; None: unknown.
        finished: results of trials before this call.
    """

    def __init__(self, trials: int | None, finished: list[TrialResult]):
        best = tuning_results.best_of(finished)
        self.best = best.accuracy if best else None
        # The screen as it is now: keras-tuner's lines and the bars of the trainings go elsewhere.
        known = {"total": trials, "initial": len(finished)} if trials else {}
        self.bar = tqdm(**known, unit="trial", desc=parallel_search.name(), file=sys.stderr)
        self._show_best()

    def ended(self, accuracy: float | None) -> None:
        """Counts a trial that ended; None: without an accuracy."""
        if accuracy is not None:
            self.best = max(accuracy, self.best or 0.0)
        self._show_best()
        self.bar.update()

    def _show_best(self) -> None:
        if self.best is not None:
            self.bar.set_postfix(best=f"{100 * self.best:.2f}%", refresh=False)

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_) -> None:
        self.bar.close()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Turns away what Python code prints: keras-tuner's lines and tracebacks, and the bars of the trainings."""
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,  # noqa: PTH123
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


@contextlib.contextmanager
def _meeting() -> Iterator[None]:
    """Says in one line that chief and workers cannot speak to one another."""
    try:
        yield
    except grpc.RpcError as error:
        raise InputError(
            f"The chief at {parallel_search.address()} did not answer ({error.code().name}); start it with the same "
            f"command and {parallel_search.TUNER_ID}=chief, then this worker again."
        ) from error
    except RuntimeError as error:
        if parallel_search.role() != "chief":
            raise
        raise InputError(
            f"The chief cannot listen at {parallel_search.address()} ({error}); name another "
            f"{parallel_search.PORT} or {parallel_search.IP}."
        ) from error
