"""Search for settings of the SIB model: every trial is one meta-training, measured on the same validation list.

Several processes can share a search, by keras-tuner's environment variables; they need the same folder.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import grpc
import keras_tuner

from sib_tf import meta_training
from sib_tf.errors import InputError
from sib_tf.features import FeatureCache
from sib_tf.storage import run_lock, run_records
from sib_tf.tuning import processes, results, trials
from sib_tf.tuning.search_space import Search


def search(
    cache: FeatureCache, settings: Search, count: int, output_dir: str | os.PathLike
) -> list[trials.TrialResult] | None:
    """Runs trials until there are `count` of them in `output_dir`, and writes the table and the page.

    The same call goes on with a search that was broken off; a larger `count` adds to it. A trial that diverges is
    recorded with its step, and the search goes on; any other error ends it, and the next call takes up that trial.

    Writes to `output_dir`: `config.json`, `trials/` (keras-tuner's state, and every trial's run), `trials.csv` after
    every trial, `report.md` with its figure.

    Returns:
        The trials in order, at least one of them completed; fewer than `count` where the space holds no more. None in
        a worker: its chief has them.

    Raises:
        InputError: the folder holds another search, the split is too small, a trial cannot be trained (the message
            names it and its values), all diverged, or chief and workers do not meet.
    """
    output_dir, role = Path(output_dir), processes.role()
    settings = dataclasses.replace(settings, model=dataclasses.replace(settings.model, feature_dim=cache.feature_dim))
    record = _record(cache, settings)
    # A chief, or who searches alone, has the folder; a worker has its own name there.
    with run_lock.held(output_dir, os.environ[processes.TUNER_ID] if role == "worker" else ""):
        run_records.claim_folder(output_dir, record)
        with _named_errors(role):
            trials.Trials(trials.oracle(settings, count), cache, settings, output_dir).search()
        if role == "worker":
            return None
        found = trials.read(output_dir)
        results.write(output_dir, found, settings)
        return found


def _record(cache: FeatureCache, settings: Search) -> dict:
    """What `config.json` holds. Drawing the episodes also tells whether the splits have enough for them."""
    meta_training.training_samplers([cache], settings.training)
    lists = meta_training.validation_lists([cache], settings.training)
    record = meta_training.run_record([cache], settings.model, settings.training, lists)
    return {**record, "tuner": settings.tuner, "search": {field.name: field.describe() for field in settings.space}}


@contextlib.contextmanager
def _named_errors(role: str) -> Iterator[None]:
    """Says which trial an error ended, and in one line that chief and workers cannot speak to one another."""
    try:
        yield
    except keras_tuner.errors.FatalError as fatal:
        if not isinstance(fatal.__cause__, InputError):
            raise fatal.__cause__ from fatal
        raise InputError(f"{fatal}: {fatal.__cause__} The same command takes the trial up again.") from fatal
    except grpc.RpcError as error:
        silence = f"The chief at {processes.address()} did not answer ({error.code().name})"
        way_out = f"start it with the same command and {processes.TUNER_ID}=chief, then this worker again"
        raise InputError(f"{silence}; {way_out}.") from error
    except RuntimeError as error:
        if role != "chief":
            raise
        taken = f"The chief cannot listen at {processes.address()} ({error})"
        raise InputError(f"{taken}; name another {processes.PORT} or {processes.IP}.") from error
