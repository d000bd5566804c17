"""Embedding and adapting with an exported file, and SGD on the same head; and how large files are."""

import dataclasses
import tempfile
from pathlib import Path

from benchmarks import untrained
from benchmarks.speed.head_steps import OURS
from benchmarks.speed.timing import Comparison
from export import conversion, litert_latency, sgd_baseline
from export.precisions import PRECISIONS
from sib_tf import heads
from sib_tf.config import BackboneConfig

HEAD_ALONE, SHIPPED = "its head alone", "the head that ships, for any D"
_STEPS = 100
_LIMITS = {"way": 5, "max_support": 25, "max_query": 75}


def measure(rounds: int) -> Comparison:
    """Times a float32 file of an untrained Conv-4-64 model: its numbers make no difference to its speed."""
    load = litert_latency.Load(sgd_steps=_STEPS)
    with tempfile.TemporaryDirectory() as folder:
        run = untrained.load_run(untrained.write_run(Path(folder), BackboneConfig()))
        path = untrained.write_tflite(run, Path(folder) / "model.tflite", **_LIMITS)
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
    return Comparison("call", times, {"learn 5 classes": [(descent, ours)]})


def sizes(_: int) -> Comparison:
    """The bytes of files of such a model, for the same numbers of rows, and of its head alone."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        run = untrained.load_run(untrained.write_run(Path(folder), BackboneConfig()))
        alone = dataclasses.replace(run, backbone=None, backbone_config=None)
        for name, of, precision in (
            *((f"Conv-4-64, {precision}", run, precision) for precision in PRECISIONS),
            (HEAD_ALONE, alone, "float32"),
        ):
            path = Path(folder) / "file.tflite"
            conversion.write(path, of, _LIMITS, precision, untrained.pictures(32) if of is run else None)
            found[name] = {OURS: [float(path.stat().st_size)]}
    found[SHIPPED] = {OURS: [float(heads.path("general").stat().st_size)]}
    return Comparison("file, in bytes", found)
