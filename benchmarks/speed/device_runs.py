"""Embedding and adapting with an exported file, and SGD on the same head."""

import tempfile
from pathlib import Path

from benchmarks import untrained
from benchmarks.speed.timing import Comparison
from export import litert_latency, sgd_baseline
from sib_tf.config import BackboneConfig

_STEPS = 100


def measure(rounds: int) -> Comparison:
    """Times a float32 file of an untrained Conv-4-64 model: its numbers make no difference to its speed."""
    load = litert_latency.Load(sgd_steps=_STEPS)
    with tempfile.TemporaryDirectory() as folder:
        run = untrained.load_run(untrained.write_run(Path(folder), BackboneConfig()))
        path = untrained.write_tflite(run, Path(folder) / "model.tflite", way=5, max_support=25, max_query=75)
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
