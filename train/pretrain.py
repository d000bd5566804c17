"""Stage 1: trains a backbone on the meta-training classes.

    python -m train.pretrain --dataset=cifar_fs --data_dir=DIR --backbone=conv4 --output_dir=RUN/backbone

Defaults are the released code's recipe (60 epochs); --schedule=one_cycle --epochs=24 is quicker. Stopped, the same
command goes on after the last whole epoch, or from SIGTERM.

--initial_backbone=RUN/backbone (of this command or of train.import_backbone) trains that one further:

    python -m train.pretrain --dataset=folder --data_dir=PICTURES --initial_backbone=RUN/backbone \\
        --epochs=5 --learning_rate=0.005 --frozen_statistics --schedule=cosine --output_dir=RUN/tuned
"""

import dataclasses
import sys

from absl import flags

from sib_tf.commands import backbone_flags, cli, dataset_flags, record_flags
from sib_tf.config import BackboneConfig, PretrainConfig

FLAGS = flags.FlagValues()
dataset_flags.define(FLAGS)
backbone_flags.define(FLAGS)
_SIZE = backbone_flags.TEXTS["image_size"] + " Default: as stored; mini_imagenet 80."
flags.DEFINE_integer("image_size", None, _SIZE, 16, flag_values=FLAGS)
record_flags.define(FLAGS, BackboneConfig(), {"precision": backbone_flags.TEXTS["precision"]})
cli.define_distribution(FLAGS)
_INITIAL = "Folder of a backbone to train further. Default: from scratch."
flags.DEFINE_string("initial_backbone", None, _INITIAL, flag_values=FLAGS)
flags.DEFINE_string("output_dir", None, "Folder of this run.", flag_values=FLAGS)
flags.mark_flag_as_required("output_dir", flag_values=FLAGS)
record_flags.define(FLAGS, PretrainConfig(), PretrainConfig.help_texts())


def main() -> None:
    config = PretrainConfig(**record_flags.fields(FLAGS, PretrainConfig))
    backbone = _backbone_config(FLAGS.image_size or 32)  # Before the data: a wrong flag should not wait for it.
    devices, initial = cli.connect(FLAGS), None
    from sib_tf import backbones, pretraining

    if FLAGS.initial_backbone:
        with devices.strategy.scope():
            initial, backbone = backbones.load(FLAGS.initial_backbone)
    data = dataset_flags.load(FLAGS, None, backbone)
    if initial is None:
        mean, std = data.normalization
        backbone = dataclasses.replace(backbone, image_size=FLAGS.image_size or data.picture_size, mean=mean, std=std)
    accuracy = pretraining.pretrain(data, backbone, config, FLAGS.output_dir, devices, initial)
    print(
        f"Backbone {backbone.name} in {FLAGS.output_dir}: nearest prototypes {100 * accuracy:.2f} % on "
        f"{pretraining.VALIDATION_EPISODES} validation episodes ({pretraining.validation_spec(data).describe()})."
    )


def _backbone_config(image_size: int) -> BackboneConfig:
    shape = ("backbone", "width", "depth", "image_size", "precision")
    if FLAGS.initial_backbone and (given := [name for name in shape if FLAGS[name].present]):
        raise cli.InputError(f"{given[0]} is that of initial_backbone; leave it out.")
    return backbone_flags.config(FLAGS, image_size=image_size)


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
