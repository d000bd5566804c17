"""Folders of runs: a training in one, and the model that a meta-training left there."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import keras

from sib_tf import checkpoints, heads
from sib_tf.devices import Devices
from sib_tf.errors import InputError
from sib_tf.sib import SIB
from sib_tf.storage import atomic, disk_errors, run_lock, run_records


@contextlib.contextmanager
def training(output_dir: str | os.PathLike, record: dict, seed: int, devices: Devices, going_on: str) -> Iterator[Path]:
    """Yields the folder that this worker of the training that `record` describes writes to: locked, and no other's run.

    Args:
        output_dir: the run's folder; the same one for all workers, of which the chief alone writes there.
        record: what `config.json` holds.
        seed: of everything that Keras draws in the block.
        devices: what is computed on; an InputError if workers were asked for different runs, or one is lost.
        going_on: from where the same command goes on, for the loss of a worker.
    """
    devices.agree("settings and data", record)
    with (
        devices.own_folder(Path(output_dir)) as folder,
        run_lock.held(folder),
        devices.lost_worker(f"Start all workers again with the same command: they go on {going_on}."),
        disk_errors.named(output_dir),
    ):
        run_records.claim_folder(folder, record)
        keras.utils.set_random_seed(seed)
        yield folder


def load_model(
    model_dir: str | os.PathLike, weights: str | None = None, other: str = "", image_size: int | None = None
) -> tuple[SIB, dict]:
    """Loads the best model of a meta-training's folder, or of a head that ships, by name; and the folder's record.

    Raises an InputError if the folder holds no finished validation, or damaged files, or the model was not meta-trained
    on features of the backbone with the fingerprint `weights` (None: any), which is `other`, a phrase, and of pictures
    of `image_size` pixels (None: any), which an imported backbone may have several of.
    """
    folder = heads.folder(model_dir)
    record = atomic.read_json(folder / run_records.CONFIG, "Configuration")
    if not isinstance(record, dict) or "model" not in record:
        raise InputError(f"{folder / run_records.CONFIG} describes no SIB model; name the folder of a meta-training.")
    model, features = checkpoints.load_model(folder / checkpoints.BEST, SIB), record.get("features")
    backbone = features.get("backbone") if isinstance(features, dict) else None
    if model.config.feature_dim is None:
        return model, record
    if weights is not None and not (isinstance(backbone, dict) and backbone.get("weights") == weights):
        raise InputError(
            f"The model in {model_dir} was meta-trained on features of another backbone than {other}, or its "
            f"{run_records.CONFIG} does not say; name what belongs to its own backbone."
        )
    own_size = features.get("image_size") if isinstance(features, dict) else None
    if None not in (own_size, image_size) and own_size != image_size:
        raise InputError(
            f"The model in {model_dir} was meta-trained on features of pictures of {own_size} pixels, not {image_size} "
            f"as {other}; name what belongs to its own backbone."
        )
    return model, record
