"""Stage 2: meta-trains a SIB model on cached features.

    python -m train.meta_train --features_dir=RUN/features --way=5 --shot=1 --num_steps=3 \\
        --gradient_network=per_class --output_dir=RUN/sib

--features_dir may be given several times, of any backbones and data sets: the head is then one for all features.

Defaults are the released code's. Stopped, the same command goes on from the last validation, or from SIGTERM.
"""

import dataclasses
import os
import sys

from absl import flags

from sib_tf.commands import cli
from train import meta_train_flags

FLAGS = flags.FlagValues()
_FEATURES = "Folder of a feature cache. Given several times, every outer step takes episodes of each of them."
flags.DEFINE_multi_string("features_dir", None, _FEATURES, required=True, flag_values=FLAGS)
_ANY = "Learn nothing of length D: a head for the features of any backbone. So it is with several --features_dir."
flags.DEFINE_bool("any_feature_dim", False, _ANY, flag_values=FLAGS)
flags.DEFINE_string("output_dir", None, "Folder of this run.", required=True, flag_values=FLAGS)
meta_train_flags.define(FLAGS)
cli.define_distribution(FLAGS)


def main() -> None:
    model, config = meta_train_flags.settings(FLAGS)
    # Batches in parts have a core for every part.
    one_thread = (
        FLAGS.distribution != "none"
        or config.parts(os.cpu_count(), config.batch_episodes * len(FLAGS.features_dir)) == 1
    )
    devices = cli.connect(FLAGS, one_thread)
    from sib_tf import meta_training
    from sib_tf.features import FeatureCache

    caches = [FeatureCache.open(folder) for folder in FLAGS.features_dir]
    any_length = FLAGS.any_feature_dim or len(caches) > 1
    model = dataclasses.replace(model, feature_dim=None if any_length else caches[0].feature_dim)
    best = meta_training.meta_train(caches, model, config, FLAGS.output_dir, devices)
    print(
        f"SIB ({FLAGS.gradient_network}, K = {FLAGS.num_steps}) in {FLAGS.output_dir}: {100 * best:.2f} % on "
        f"{config.validation_episodes} validation episodes at its best."
    )


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
