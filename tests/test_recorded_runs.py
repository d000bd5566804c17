"""Short seeded runs of both stages give the parameters that were recorded: on the recording machine bit for bit.

The runs have a process of their own: bits depend on the threads that others left TensorFlow with. What it prints,
`python tests/test_recorded_runs.py > tests/recorded_runs.json`, is the record; only a change of what is computed
justifies another one.
"""

import contextlib
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from conftest import CHECKOUT, make_split

RECORD = Path(__file__).with_name("recorded_runs.json")
PER_CLASS = {"gradient_network": "per_class", "way": None, "support_gradient": True, "step_reduction": "shrunk_mean"}
RUNS = ("pretrain", "joint", "per_class", "mixture")


def _pretrain(folder: Path) -> None:
    from sib_tf import pretraining
    from sib_tf.config import BackboneConfig, PretrainConfig
    from sib_tf.datasets import MetaDataset

    splits = {split: make_split(split, 6) for split in ("train", "validation", "test")}
    data = MetaDataset("tiny", "1.0.0", **splits, normalization=((128.0,) * 3, (64.0,) * 3), picture_size=32)
    backbone = BackboneConfig(width=4, mean=(128.0,) * 3, std=(64.0,) * 3)
    config = PretrainConfig(schedule="cosine", epochs=2, batch_size=48)
    pretraining.pretrain(data, backbone, config, folder)


def _meta_train(name: str, folder: Path) -> None:
    from test_meta_training import MemoryCache

    from sib_tf import meta_training
    from sib_tf.config import EpisodeSpec, MetaTrainConfig, SIBConfig

    spec = EpisodeSpec(way=3, query=6)
    further = {"mixture": (EpisodeSpec(way=4, shot=2, query=3, query_distribution="dirichlet"),)}
    config = MetaTrainConfig(
        episodes=spec, validation=spec, steps=20, batch_episodes=2, validation_episodes=20, validate_every=10,
        steps_per_call=10, **(further if name == "mixture" else {}),
    )  # fmt: skip
    network = {"way": 3} if name == "joint" else PER_CLASS
    model = SIBConfig(feature_dim=12, num_steps=2, inner_learning_rate=1e-2, **network)
    meta_training.meta_train(MemoryCache(), model, config, folder)


def _last_parameters(folder: Path) -> list[np.ndarray]:
    import tensorflow as tf

    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(folder / "training"))
    names = sorted(name for name in reader.get_variable_to_shape_map() if name != "_CHECKPOINTABLE_OBJECT_GRAPH")
    # By value: the names of a checkpoint's entries are not what is recorded, and each value is there once.
    arrays = [np.asarray(reader.get_tensor(name)) for name in names]
    floats = {value.tobytes(): value for value in arrays if value.dtype == np.float32 and value.size > 1}
    return [floats[key] for key in sorted(floats)]


def _figures(parameters: list[np.ndarray]) -> dict:
    values = np.concatenate([value.ravel() for value in parameters])
    digest, values = hashlib.sha256(values.tobytes()).hexdigest(), values.astype(np.float64)
    return {"sha256": digest, "count": len(values), "sum": float(values.sum()), "norm": float(np.linalg.norm(values))}


def _machine() -> dict:
    """What the bits depend on."""
    import keras
    import tensorflow as tf

    found = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else platform.processor()
    flags = next((line for line in found.splitlines() if line.startswith("flags")), found)
    return {
        "processor": hashlib.sha256(flags.encode()).hexdigest()[:16],
        "cores": os.cpu_count(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "versions": [tf.__version__, keras.__version__, np.__version__],
    }


@pytest.fixture(scope="module")
def found() -> dict:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", RUNS)
def test_the_parameters_are_the_recorded_ones(found, name):
    record = json.loads(RECORD.read_text())
    run, expected = found["runs"][name], record["runs"][name]
    assert run["count"] == expected["count"]
    assert run["norm"] == pytest.approx(expected["norm"], rel=1e-4)
    assert run["sum"] == pytest.approx(expected["sum"], abs=1e-4 * expected["norm"])
    if found["machine"] == record["machine"]:
        assert run["sha256"] == expected["sha256"]


def _measured() -> dict:
    runs = {}
    for name in RUNS:
        with tempfile.TemporaryDirectory() as home, contextlib.redirect_stdout(sys.stderr):
            folder = Path(home) / "run"
            _pretrain(folder) if name == "pretrain" else _meta_train(name, folder)
            runs[name] = _figures(_last_parameters(folder))
    return {"machine": _machine(), "runs": runs}


if __name__ == "__main__":
    print(json.dumps(_measured(), indent=1))
