"""Small trainings for tests/test_distribution.py, which runs them as processes of their own: one device or several.

    python tests/distributed_jobs.py none|mirrored|multi_worker FOLDER JOB...

mirrored: two logical devices of the CPU; multi_worker: as TF_CONFIG says. Every job has its own folder in FOLDER.
With SEND=SIGNAL:CALL in the environment the process sends itself that signal after so many compiled calls.
"""

import os
import signal
import sys
from pathlib import Path

from absl import flags

from sib_tf.commands import cli


def meta_train(folder: Path, devices, calls: dict | None = None, **model) -> None:
    """50 steps of 4 episodes, in memory, with numbers drawn at random in every step.

    Not by Adam, which makes steps of rounding where a gradient is 0.
    """
    from test_meta_training import MemoryCache, model_config, train_config

    from sib_tf import meta_training

    calls = calls or {"validate_every": 50, "steps_per_call": 25}
    model = model or {"prior": "gaussian", "posterior": "gaussian", "posterior_samples": 2}
    config = train_config(steps=50, batch_episodes=4, **calls)
    meta_training.meta_train(MemoryCache(), model_config(**model), config, folder, devices)


def extract(folder: Path, devices) -> None:
    """Two views of the training pictures; in batches so small that workers have several each, of different sizes."""
    import keras
    from conftest import make_dataset

    from sib_tf import backbones, features
    from sib_tf.config import BackboneConfig
    from sib_tf.features import extraction

    features._BATCH = 50
    keras.utils.set_random_seed(0)
    with devices.strategy.scope():
        backbone = backbones.build(BackboneConfig(width=4, mean=(128.0,) * 3, std=(64.0,) * 3))
    extraction.extract(make_dataset(), backbone, folder, views=2, devices=devices)


def pretrain(folder: Path, devices) -> None:
    """50 steps of 38 augmented pictures: batch normalisation has to share its statistics."""
    from conftest import make_dataset

    from sib_tf import pretraining
    from sib_tf.config import BackboneConfig, PretrainConfig

    pretraining.VALIDATION_EPISODES = 50
    backbone = BackboneConfig(width=4, mean=(128.0,) * 3, std=(64.0,) * 3)
    config = PretrainConfig(schedule="cosine", learning_rate=0.001, epochs=10, batch_size=38)
    pretraining.pretrain(make_dataset(), backbone, config, folder, devices)


def long(folder: Path, devices) -> None:
    """Two validations, with five compiled calls before each."""
    send_signal()
    meta_train(folder, devices, {"validate_every": 25, "steps_per_call": 5}, num_steps=0)


def send_signal() -> None:
    """Does what SEND says, from within the call: an end at the very same step in every run."""
    from test_meta_training import after_call

    from sib_tf import outer_steps

    if "SEND" in os.environ:
        name, call = os.environ["SEND"].split(":")
        outer_steps.Trainer.steps = after_call(int(call), lambda _: signal.raise_signal(signal.Signals[name]))


JOBS = {job.__name__: job for job in (meta_train, extract, pretrain, long)}


def main() -> None:
    distribution, folder, *jobs = sys.argv[1:]
    cli.load_tensorflow()
    import tensorflow as tf

    if distribution == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    from sib_tf import devices

    connected = devices.connect(distribution)
    for job in jobs:
        JOBS[job](Path(folder) / job, connected)


if __name__ == "__main__":
    sys.exit(cli.run(main, flags.FlagValues(), __doc__, sys.argv[:1]))
