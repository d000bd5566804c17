"""Embeds every picture of a data set once into a feature cache, which meta-training and evaluation read.

    python -m train.extract_features --dataset=cifar_fs --data_dir=DIR --backbone_dir=RUN/backbone \\
        --output_dir=RUN/features

A cache that was made from the same data set and backbone is left as it is; any other is made anew.
"""

import sys

from absl import flags

from sib_tf.commands import cli, dataset_flags

FLAGS = flags.FlagValues()
dataset_flags.define(FLAGS)
flags.DEFINE_string(
    "backbone_dir", None, "Folder of train.pretrain, train.import_backbone or train.average_views.", flag_values=FLAGS
)
flags.DEFINE_string("output_dir", None, "Folder of the cache.", flag_values=FLAGS)
flags.mark_flags_as_required(["backbone_dir", "output_dir"], flag_values=FLAGS)
flags.DEFINE_integer(
    "views", 1, "Views of each training picture: the plain one and views - 1 augmented ones.", 1, flag_values=FLAGS
)
cli.define_distribution(FLAGS)
_GOING_ON = "Start all workers again with the same command: what they have embedded is kept."


def main() -> None:
    devices = cli.connect(FLAGS)
    from sib_tf import backbones
    from sib_tf.features import extraction

    with devices.strategy.scope(), devices.lost_worker(_GOING_ON):
        backbone, config = backbones.load(FLAGS.backbone_dir)
    data = dataset_flags.load(FLAGS, None, config)
    with devices.lost_worker(_GOING_ON):
        made = extraction.extract(data, backbone, FLAGS.output_dir, FLAGS.views, None, devices, config.larger)
    counts = " + ".join(str(len(data.split(name).labels)) for name in ("train", "validation", "test"))
    features = f"Features of {counts} pictures (length {backbone.output_shape[-1]}, {FLAGS.views} views)"
    print(f"{features} {'written to' if made else 'already in'} {FLAGS.output_dir}.")


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
