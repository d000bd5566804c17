"""A trained model to one LiteRT file that is checked before it appears."""

import hashlib
import json
import os
from pathlib import Path

from export import conversion, verification
from sib_tf.config import EpisodeSpec
from sib_tf.datasets import MetaDataset
from sib_tf.errors import InputError
from sib_tf.prediction import trained_run
from sib_tf.prediction.litert import METADATA, LiteRTModel
from sib_tf.prediction.models import KerasModel
from sib_tf.storage import atomic


def export(
    run: trained_run.Run,
    data: MetaDataset,
    path: str | os.PathLike,
    precision: str,
    limits: dict[str, int | None],
    calibration_pictures: int,
    episodes: int,
    spec: EpisodeSpec,
) -> str:
    """Writes a .tflite file, if it does what the trained model does.

    Args:
        run: the trained model.
        data: its data set; int8 measures on training pictures, the comparison uses test classes.
        path: the file.
        precision: "float32", "float16" or "int8".
        limits: `way`, `max_support`, `max_query`, as in `conversion.convert`.
        calibration_pictures: how many int8 measures on.
        episodes, spec: of the comparison.

    Returns:
        The comparison as a table.

    Raises:
        InputError: the file differs from the model; nothing is written.
    """
    model = conversion.convert(run.signatures(), **limits)
    if precision == "float16":
        model = conversion.to_float16(model)
    elif precision == "int8":
        size = run.backbone_config.image_size
        model = conversion.to_int8(
            model, trained_run.calibration_pictures(data.train.images, calibration_pictures, size)
        )
    digest = hashlib.sha256(model).hexdigest()
    description = {**run.description(), **limits, "precision": precision, "model_sha256": digest}
    reference = verification.Reference(KerasModel(run), data.test, spec, episodes)
    with atomic.new_file(path) as partial:
        partial.write_bytes(model)
        conversion.append_text(partial, METADATA, json.dumps(description, indent=2))
        verdict = reference.judge(partial, LiteRTModel(partial), Path(path).name)
        if verdict.failures:
            raise InputError(
                f"The {precision} file does not do what the model does ({'; '.join(verdict.failures)}); nothing was "
                "written. Try another precision" + (", or more calibration_pictures." if precision == "int8" else ".")
            )
    return verification.table([verdict])
