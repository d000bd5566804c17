"""Untrained runs and their exported files for tests; those without a folder argument are made once a session, and tests
that change them must copy them first."""

import dataclasses
import functools
import tempfile
from pathlib import Path

import keras

from benchmarks.untrained import load_run, pictures, write_run, write_saved_model, write_tflite
from export import conversion, head_alone, serving
from sib_tf import calibration, checkpoints
from sib_tf.config import SIBConfig
from sib_tf.features import FeatureCache, weights_fingerprint
from sib_tf.prediction import trained_run
from sib_tf.sib import SIB
from sib_tf.storage import atomic, run_records

__all__ = ["load_run", "pictures", "write_run", "write_saved_model", "write_tflite"]
LIMITS = ("way", "max_support", "max_query")
_HOME = tempfile.TemporaryDirectory(prefix="sib_exported_")


def write_sib(folder: Path, features_dir: Path, **config) -> Path:
    """Writes a SIB for the features of a cache to `folder`, as a meta-training leaves it that learned nothing."""
    cache = FeatureCache.open(features_dir)
    model = SIB(SIBConfig(feature_dim=cache.feature_dim, **config))
    model.build()
    checkpoints.save_model(model, folder / checkpoints.BEST)
    record = {"model": dataclasses.asdict(model.config), "features": cache.identity, "meta_training": {"episodes": {}}}
    atomic.write_json(folder / run_records.CONFIG, record)
    return folder


@functools.cache
def run_folder(gradient_network: str = "per_class", num_steps: int = 3) -> Path:
    """The folder of a run of `write_run`."""
    folder = Path(_HOME.name) / f"{gradient_network}_{num_steps}"
    return write_run(folder, gradient_network=gradient_network, num_steps=num_steps)


@functools.cache
def saved_model(gradient_network: str = "per_class", num_steps: int = 3) -> Path:
    """A SavedModel of `run_folder`, the version 1 of its folder."""
    run = run_folder(gradient_network, num_steps)
    return write_saved_model(load_run(run), Path(f"{run}_saved") / "1")


@functools.cache
def general_run() -> trained_run.Run:
    """The shipped head `general` behind the backbone of `run_folder`."""
    own = load_run(run_folder())
    head = trained_run.load_head("general", own.sib.config.feature_dim)
    return dataclasses.replace(head, backbone=own.backbone, backbone_config=own.backbone_config, origin=own.origin)


@functools.cache
def general_saved_model() -> Path:
    """A SavedModel of `general_run`, the version 1 of its folder, which gives clients the head."""
    folder = Path(_HOME.name) / "general_saved" / "1"
    serving.write(folder, general_run(), head_alone.content(general_run(), "general"))
    return folder


@functools.cache
def tflite(*limits: int | None, gradient_network: str = "per_class", num_steps: int = 3) -> Path:
    """A .tflite file of `run_folder`, for `limits` (way, labelled and unlabelled pictures) or of any size."""
    name = "_".join(map(str, [gradient_network, num_steps, *limits]))
    path = Path(_HOME.name) / f"{name}.tflite"
    return write_tflite(load_run(run_folder(gradient_network, num_steps)), path, *limits)


@functools.cache
def any_length_run() -> Path:
    """A meta-training's folder of a head for features of any length that learned nothing, with a calibration."""
    folder = Path(_HOME.name) / "any" / "sib"
    config = SIBConfig(None, None, gradient_network="per_class", num_steps=2, support_gradient=True)
    keras.utils.set_random_seed(0)  # What it finds is compared with numbers.
    model = SIB(config)
    model.build()
    checkpoints.save_model(model, folder / checkpoints.BEST)
    record = {"model": dataclasses.asdict(config), "features": [], "meta_training": {"episodes": {}}}
    atomic.write_json(folder / run_records.CONFIG, record)
    steps = (0.0,) * 3
    calibration.Calibration(steps, steps, weights_fingerprint(model), (-1.0, 1.0)).save(folder / calibration.FILE)
    return folder


@functools.cache
def any_length_file() -> Path:
    """Its .tflite file for features of any length."""
    path = Path(_HOME.name) / "any" / "head.tflite"
    conversion.write(path, trained_run.load_head(any_length_run(), None), dict.fromkeys(LIMITS))
    return path


def static_file() -> Path:
    """A .tflite file for 5 ways, 25 labelled and 75 unlabelled pictures."""
    return tflite(5, 25, 75)


class Models(dict):
    """The paths of one run in every form, and of a joint one, by kind; each is written when it is first asked for."""

    MAKERS = {
        "run": run_folder,
        "joint": functools.partial(run_folder, "joint"),
        "saved": lambda: saved_model().parent,
        "static": functools.partial(tflite, 5, 12, 16),
        "dynamic": tflite,
        "joint.tflite": functools.partial(tflite, gradient_network="joint"),
    }

    def __missing__(self, kind: str) -> Path:
        self[kind] = self.MAKERS[kind]()
        return self[kind]
