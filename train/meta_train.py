"""Stage 2: meta-trains a SIB model on cached features.

    python -m train.meta_train --features_dir=RUN/features --way=5 --shot=1 --num_steps=3 \\
        --gradient_network=per_class --output_dir=RUN/sib

Defaults are the released code's. Stopped, the same command goes on from the last validation, or from SIGTERM.
"""

import dataclasses
import os
import sys

from absl import flags

from sib_tf.commands import cli
from train import meta_train_flags

FLAGS = flags.FlagValues()
flags.DEFINE_string("features_dir", None, "Folder of a feature cache.", required=True, flag_values=FLAGS)
flags.DEFINE_string("output_dir", None, "Folder of this run.", required=True, flag_values=FLAGS)
meta_train_flags.define(FLAGS)
cli.define_distribution(FLAGS)


def main() -> None:
    model, config = meta_train_flags.settings(FLAGS)
    # Batches in parts have a core for every part.
    one_thread = FLAGS.distribution != "none" or config.parts(os.cpu_count()) == 1
    devices = cli.connect(FLAGS, one_thread)
    from sib_tf import meta_training
    from sib_tf.features import FeatureCache

    cache = FeatureCache.open(FLAGS.features_dir)
    model = dataclasses.replace(model, feature_dim=cache.feature_dim)
    best = meta_training.meta_train(cache, model, config, FLAGS.output_dir, devices)
    print(
        f"SIB ({FLAGS.gradient_network}, K = {FLAGS.num_steps}) in {FLAGS.output_dir}: {100 * best:.2f} % on "
        f"{config.validation_episodes} validation episodes at its best."
    )


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
