"""Stage 1: trains a backbone on the meta-training classes.

    python -m train.pretrain --dataset=cifar_fs --data_dir=DIR --backbone=conv4 --output_dir=RUN/backbone

Defaults are the released code's recipe (60 epochs); --schedule=one_cycle --epochs=24 is quicker. Stopped, the same
command goes on after the last whole epoch, or from SIGTERM.
"""

import sys

from absl import flags

from sib_tf.commands import cli, dataset_flags, record_flags
from sib_tf.config import BACKBONES, BackboneConfig, PretrainConfig

FLAGS = flags.FlagValues()
dataset_flags.define(FLAGS)
flags.DEFINE_enum("backbone", "conv4", BACKBONES, "Kind of backbone.", flag_values=FLAGS)
flags.DEFINE_integer(
    "width", None, "conv4: filters (default 64); wide_resnet: widening factor (default 10).", 1, flag_values=FLAGS
)
flags.DEFINE_integer("depth", 28, "wide_resnet only: layers, 6 * blocks + 4.", 10, flag_values=FLAGS)
flags.DEFINE_integer(
    "image_size", None, "Side in pixels of the backbone's pictures. Default: as stored; mini_imagenet 80.", 16,
    flag_values=FLAGS,
)  # fmt: skip
record_flags.define(FLAGS, BackboneConfig(), BackboneConfig.help_texts())
cli.define_distribution(FLAGS)
flags.DEFINE_string("output_dir", None, "Folder of this run.", flag_values=FLAGS)
flags.mark_flag_as_required("output_dir", flag_values=FLAGS)
record_flags.define(FLAGS, PretrainConfig(), PretrainConfig.help_texts())


def main() -> None:
    config = PretrainConfig(**record_flags.fields(FLAGS, PretrainConfig))
    backbone = _backbone_config()  # Before the data: a wrong flag should not wait for it.
    devices = cli.connect(FLAGS)
    data = dataset_flags.load(FLAGS)
    mean, std = data.normalization
    size = FLAGS.image_size or data.picture_size
    from sib_tf import pretraining

    backbone = backbone(image_size=size, mean=mean, std=std)
    accuracy = pretraining.pretrain(data, backbone, config, FLAGS.output_dir, devices)
    print(
        f"Backbone {FLAGS.backbone} in {FLAGS.output_dir}: nearest prototypes {100 * accuracy:.2f} % on "
        f"{pretraining.VALIDATION_EPISODES} 5-way 1-shot validation episodes."
    )


def _backbone_config():
    width = FLAGS.width or (64 if FLAGS.backbone == "conv4" else 10)

    def build(**pictures) -> BackboneConfig:
        return BackboneConfig(
            name=FLAGS.backbone, width=width, depth=FLAGS.depth, precision=FLAGS.precision, **pictures
        )

    build(image_size=FLAGS.image_size or 32)
    return build


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
