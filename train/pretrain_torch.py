"""Stage 1 in PyTorch, where an accelerator is at hand that TensorFlow cannot use; TensorFlow need not be installed.

    python -m train.pack_pictures --dataset=cifar_fs --data_dir=DIR --output=pictures.npz              # Here,
    python -m train.pretrain_torch --pictures=pictures.npz --backbone=wide_resnet --output_dir=RUN     # there,
    python -m train.import_checkpoint --checkpoint=RUN/netFeat.pth --output_dir=RUN                    # and here.

Defaults are the released code's recipe, as those of train.pretrain, but --precision=bfloat16; and as there the best
epoch on the validation classes is kept. SIGTERM saves the state; after that, or killed, the same command goes on from
what it saved last.
"""

import dataclasses
import importlib.util
import sys

from absl import flags

from sib_tf.commands import backbone_flags, cli, record_flags
from sib_tf.config import PretrainConfig

FLAGS = flags.FlagValues()
flags.DEFINE_string("pictures", None, "File of train.pack_pictures.", flag_values=FLAGS)
flags.DEFINE_string("output_dir", None, "Folder of this run.", flag_values=FLAGS)
flags.mark_flags_as_required(["pictures", "output_dir"], flag_values=FLAGS)
backbone_flags.define(FLAGS)
_TEXT = backbone_flags.TEXTS["precision"]
flags.DEFINE_enum("precision", "bfloat16", ("float32", "bfloat16"), _TEXT, flag_values=FLAGS)
_TEXTS = PretrainConfig.help_texts()
_TEXTS.pop("frozen_statistics")
_TEXTS["epochs"] = "Passes over the training pictures."
record_flags.define(FLAGS, PretrainConfig(), _TEXTS)


def main() -> None:
    config = PretrainConfig(**record_flags.fields(FLAGS, PretrainConfig))
    if config.epochs < 1:
        raise cli.InputError("epochs must be at least 1: there is no initial backbone to keep.")
    backbone = backbone_flags.config(FLAGS)  # Before the pictures: a wrong flag should not wait for them.
    if importlib.util.find_spec("torch") is None:
        raise cli.InputError("train.pretrain_torch needs PyTorch: pip install torch.")
    from sib_tf.torch_pretraining import pictures, training

    found = pictures.load(FLAGS.pictures)
    mean, std = (tuple(map(float, numbers)) for numbers in (found.mean, found.std))
    backbone = dataclasses.replace(backbone, image_size=int(found.picture_size), mean=mean, std=std)
    accuracy = training.pretrain(found, backbone, config, FLAGS.output_dir)
    print(
        f"Backbone {FLAGS.backbone} in {FLAGS.output_dir}/{training.FILE}: nearest prototypes {100 * accuracy:.2f} % "
        f"on {len(found.support)} validation episodes."
    )


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
