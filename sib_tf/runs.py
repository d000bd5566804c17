"""Folders of meta-training runs: the model in one, and whether it belongs to a backbone."""

import os
from pathlib import Path

from sib_tf import checkpoints
from sib_tf.errors import InputError
from sib_tf.sib import SIB
from sib_tf.storage import atomic


def load_model(model_dir: str | os.PathLike) -> tuple[SIB, dict]:
    """Loads the best model of a meta-training's folder, and the folder's record.

    Raises:
        InputError: the folder holds no finished validation, or damaged files.
    """
    folder = Path(model_dir)
    record = atomic.read_json(folder / checkpoints.CONFIG, "Configuration")
    if not isinstance(record, dict) or "model" not in record:
        raise InputError(f"{folder / checkpoints.CONFIG} describes no SIB model; name the folder of a meta-training.")
    return checkpoints.load_model(folder / checkpoints.BEST, SIB), record


def check_backbone(record: dict, weights: str, model_dir: str | os.PathLike, other: str) -> None:
    """Checks that the model of `record` (from `load_model`) was meta-trained on features of one backbone.

    Args:
        record: of the model in `model_dir`.
        weights: fingerprint of the weights that `other`, a phrase for the error, has.

    Raises:
        InputError: it was trained on another's, or its record does not say.
    """
    features = record.get("features")
    trained_with = features.get("backbone") if isinstance(features, dict) else None
    if not isinstance(trained_with, dict) or trained_with.get("weights") != weights:
        raise InputError(
            f"The model in {model_dir} was meta-trained on features of another backbone than {other}, or its "
            f"{checkpoints.CONFIG} does not say; name what belongs to its own backbone."
        )
