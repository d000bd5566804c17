"""The head of a trained model as a .tflite file of its own, for clients that save what a server learned."""

import dataclasses
import os
import tempfile
from pathlib import Path

from export import conversion
from sib_tf import heads
from sib_tf.prediction import trained_run


def content(run: trained_run.Run, model_dir: str | os.PathLike) -> bytes:
    """Returns the bytes of the file, of any number of rows and classes; of a head that ships, its own.

    Args:
        run: the trained model.
        model_dir: what its head was loaded from.
    """
    if os.fspath(model_dir) in heads.NAMES and not Path(model_dir).exists():
        return heads.path(os.fspath(model_dir)).read_bytes()
    alone = dataclasses.replace(run, backbone=None, backbone_config=None)
    limits = {"way": run.sib.config.fixed_way, "max_support": None, "max_query": None}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "head.tflite"
        conversion.write(path, alone, limits)
        return path.read_bytes()
