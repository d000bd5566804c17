"""Embedding and adapting with an exported file, and SGD on the same head."""

import dataclasses
import hashlib
import json
import tempfile
from pathlib import Path

import keras

from benchmarks.speed.timing import Comparison
from export import conversion, litert_latency, sgd_baseline
from sib_tf import backbones, checkpoints
from sib_tf.config import BackboneConfig, SIBConfig
from sib_tf.features import weights_fingerprint
from sib_tf.prediction import trained_run
from sib_tf.prediction.litert import METADATA
from sib_tf.sib import SIB
from sib_tf.storage import atomic

_STEPS = 100


def measure(rounds: int) -> Comparison:
    """Times a float32 file of an untrained Conv-4-64 model: its numbers make no difference to its speed."""
    load = litert_latency.Load(sgd_steps=_STEPS)
    with tempfile.TemporaryDirectory() as folder:
        path = _exported(Path(folder))
        sgd = Path(folder) / "sgd.tflite"
        sgd.write_bytes(sgd_baseline.convert(load.way, 256, logit_scale=10.0))
        taken = [litert_latency.measure([str(path)], str(sgd), [1], load, rounds=1) for _ in range(rounds)]
    ours, descent = "sib_tf, K = 3", f"{_STEPS} steps of SGD"
    times = {
        "learn 5 classes": {
            ours: [file.adapt_ms / 1e3 for file, _ in taken],
            descent: [steps.adapt_ms / 1e3 for _, steps in taken],
        },
        "embed a picture": {ours: [file.embed_ms / 1e3 for file, _ in taken]},
    }
    return Comparison(
        "On a device, with LiteRT",
        "Conv-4-64, 32 px, float32, one thread of this machine, 5-way 1-shot with 75 unlabelled pictures, from "
        "features. SGD is the same head trained on the labelled pictures, a call of the interpreter a step, as "
        "on-device training is done. Each measurement is the median of 100 calls in a process of its own.",
        "call",
        times,
        {"learn 5 classes": [(descent, ours)]},
    )


def _exported(folder: Path) -> Path:
    keras.utils.set_random_seed(0)
    backbone_config = BackboneConfig()
    backbone, model = backbones.build(backbone_config), SIB(SIBConfig(feature_dim=256, gradient_network="per_class"))
    model.build()
    checkpoints.save_model(backbone, folder / "backbone" / backbones.FILE)
    record = {"backbone": dataclasses.asdict(backbone_config), "dataset": {"name": "none"}}
    atomic.write_json(folder / "backbone" / checkpoints.CONFIG, record)
    checkpoints.save_model(model, folder / "sib" / checkpoints.BEST)
    features = {"backbone": {"name": backbone.name, "weights": weights_fingerprint(backbone)}}
    atomic.write_json(
        folder / "sib" / checkpoints.CONFIG, {"model": dataclasses.asdict(model.config), "features": features}
    )
    path = folder / "model.tflite"
    run = trained_run.load(folder / "sib", folder / "backbone")
    limits = {"way": 5, "max_support": 25, "max_query": 75}
    converted = conversion.convert(run.signatures(), **limits)
    path.write_bytes(converted)
    digest = hashlib.sha256(converted).hexdigest()
    description = {**run.description(), **limits, "precision": "float32", "model_sha256": digest}
    conversion.append_text(path, METADATA, json.dumps(description))
    return path
