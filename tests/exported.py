"""A tiny trained-like run, in memory and on disk, for the tests of the exports."""

import dataclasses
import functools
import tempfile
from pathlib import Path

import keras
import numpy as np

from export import conversion, serving
from sib_tf import backbones, checkpoints
from sib_tf.config import BackboneConfig, SIBConfig
from sib_tf.features import weights_fingerprint
from sib_tf.prediction import trained_run
from sib_tf.sib import SIB
from sib_tf.storage import atomic

BACKBONE = BackboneConfig(width=4, image_size=32, mean=(120.0, 110.0, 100.0), std=(60.0, 61.0, 62.0))


def write_run(folder: Path, gradient_network: str = "per_class", num_steps: int = 3, **config) -> Path:
    """Writes `folder/backbone` and `folder/sib` as training does, with seeded weights; returns `folder`.

    The synthetic gradients are made large enough that the steps change predictions.
    """
    keras.utils.set_random_seed(7)
    backbone = backbones.build(BACKBONE)
    random = np.random.RandomState(7)
    for weight in backbone.weights:
        # Moments of batch normalisation that are not the initial ones: folding them is part of a conversion.
        if weight.path.endswith(("moving_mean", "beta")):
            weight.assign(random.normal(0, 0.3, weight.shape))
        if weight.path.endswith(("moving_variance", "gamma")):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
    config = SIBConfig(
        feature_dim=backbone.output_shape[-1],
        way=5 if gradient_network == "joint" else None,
        num_steps=num_steps,
        inner_learning_rate=4e-3,
        gradient_network=gradient_network,
        **config,
    )
    sib = SIB(config)
    sib.build()
    sib.initialization.feature_scale.assign(random.uniform(0.8, 1.2, config.feature_dim))
    sib.logit_bias.assign(0.3)
    trained_with = {"backbone": {"name": backbone.name, "weights": weights_fingerprint(backbone)}}
    checkpoints.save_model(backbone, folder / "backbone" / backbones.FILE)
    record = {"backbone": dataclasses.asdict(BACKBONE), "dataset": {"name": "glyphs"}}
    atomic.write_json(folder / "backbone" / checkpoints.CONFIG, record)
    checkpoints.save_model(sib, folder / "sib" / checkpoints.BEST)
    record = {"model": dataclasses.asdict(config), "features": trained_with}
    atomic.write_json(folder / "sib" / checkpoints.CONFIG, record)
    return folder


def load_run(folder: Path, samples: int = 0) -> trained_run.Run:
    """Loads what `write_run` wrote."""
    return trained_run.load(folder / "sib", folder / "backbone", samples)


def pictures(count: int, seed: int = 0) -> np.ndarray:
    """`[count, 32, 32, 3]` uint8, smooth enough to be told apart."""
    random = np.random.RandomState(seed)
    coarse = random.randint(0, 256, (count, 4, 4, 3))
    noise = random.randint(-20, 21, (count, 32, 32, 3))
    return np.clip(coarse.repeat(8, axis=1).repeat(8, axis=2) + noise, 0, 255).astype(np.uint8)


def write_tflite(
    run: trained_run.Run, path: Path, way=None, max_support=None, max_query=None, precision: str = "float32"
) -> Path:
    """Writes a .tflite file, with fixed sizes if they are given, without the comparison of `export.tflite`."""
    limits = {"way": way or run.sib.config.fixed_way, "max_support": max_support, "max_query": max_query}
    conversion.write(path, run, limits, precision, pictures(32, seed=5))
    return path


def write_saved_model(run: trained_run.Run, folder: Path) -> Path:
    """Writes a SavedModel and its description, without the comparison of `export.saved_model`."""
    serving.write(folder, run)
    return folder


_HOME = tempfile.TemporaryDirectory(prefix="sib_exported_")
# What follows is written once a session; tests must not change it.


@functools.cache
def run_folder(gradient_network: str = "per_class", num_steps: int = 3) -> Path:
    """The folder of a run of `write_run`."""
    return write_run(Path(_HOME.name) / f"{gradient_network}_{num_steps}", gradient_network, num_steps)


@functools.cache
def saved_model(gradient_network: str = "per_class", num_steps: int = 3) -> Path:
    """A SavedModel of `run_folder`, the version 1 of its folder."""
    run = load_run(run_folder(gradient_network, num_steps))
    return write_saved_model(run, Path(_HOME.name) / f"{gradient_network}_{num_steps}_saved" / "1")


@functools.cache
def static_file() -> Path:
    """A .tflite file of `run_folder` for 5 ways, 25 labelled and 75 unlabelled pictures."""
    return write_tflite(load_run(run_folder()), Path(_HOME.name) / "static.tflite", 5, 25, 75)


class Models(dict):
    """The paths of one trained run in every form, and of a joint one; each is written when it is first asked for."""

    def __init__(self, folder: Path):
        self._folder = folder

    def __missing__(self, kind: str) -> Path:
        if kind in ("run", "joint"):
            self[kind] = run_folder("joint" if kind == "joint" else "per_class")
        elif kind == "saved":
            self[kind] = saved_model().parent
        else:
            path = (self._folder / kind).with_suffix(".tflite")
            run = load_run(self["joint" if kind == "joint.tflite" else "run"])
            self[kind] = write_tflite(run, path, *((5, 12, 16) if kind == "static" else ()))
        return self[kind]
