"""Turns a .pth file of the released PyTorch code into the folders that our commands read (extra `torch`).

    python -m train.import_checkpoint --checkpoint=netSIBBest.pth --dataset=cifar_fs --output_dir=RUN

writes RUN/backbone and, if the file has a head, RUN/sib. Weights only: nothing in the file is executed.
"""

import sys
from pathlib import Path

from absl import flags

from sib_tf.commands import cli, record_flags
from sib_tf.config import BackboneConfig

FLAGS = flags.FlagValues()
flags.DEFINE_string("checkpoint", None, "A netFeatBest or netSIBBest file of the released code.", flag_values=FLAGS)
flags.DEFINE_string("output_dir", None, "Folder for backbone/ and sib/.", flag_values=FLAGS)
flags.DEFINE_enum(
    "dataset",
    None,
    ("cifar_fs", "mini_imagenet"),
    "Data set that it was trained on: gives size and normalisation.",
    flag_values=FLAGS,
)
flags.mark_flags_as_required(["checkpoint", "output_dir", "dataset"], flag_values=FLAGS)
flags.DEFINE_float(
    "inner_learning_rate", 1e-3, "eta, which the file does not say. Default: the released code's.", flag_values=FLAGS
)
record_flags.define(FLAGS, BackboneConfig(), {"precision": BackboneConfig.help_texts()["precision"]})
flags.DEFINE_string(
    "sha256", None, "The file's SHA-256, if known: files older than PyTorch 1.6 have no checksums of their own.",
    flag_values=FLAGS,
)  # fmt: skip


def main() -> None:
    import dataclasses
    import importlib

    cli.load_tensorflow()
    from sib_tf import backbones, checkpoints, features, released
    from sib_tf.storage import atomic, digests

    state, head = released.read_checkpoint(FLAGS.checkpoint, FLAGS.sha256)
    builder = importlib.import_module(f"sib_tf.datasets.{FLAGS.dataset}").Builder
    size = builder.CROP_SIZE or builder.IMAGE_SIZE
    model, config = released.backbone(state, size, *builder.NORMALIZATION, FLAGS.precision)
    sib = None
    if head:
        channels = config.width if config.name == "conv4" else None
        sib = released.head(head["state"], head["num_steps"], FLAGS.inner_learning_rate, channels)
        if sib.config.feature_dim != model.output_shape[-1]:
            raise cli.InputError(
                f"checkpoint {FLAGS.checkpoint} has a head for features of length {sib.config.feature_dim}, but its "
                f"backbone gives {model.output_shape[-1]} at the {size} pixels of {FLAGS.dataset}; is dataset the one "
                "that it was trained on?"
            )
    source = {"imported_from": Path(FLAGS.checkpoint).name, "imported_sha256": digests.of_file(FLAGS.checkpoint)}
    folder = Path(FLAGS.output_dir) / "backbone"
    checkpoints.save_model(model, folder / backbones.FILE)
    atomic.write_json(folder / checkpoints.CONFIG, {"backbone": dataclasses.asdict(config), **source})
    print(f"Backbone {config.name} (width {config.width}, {size} pixels) written to {folder}.")
    if sib:
        folder = Path(FLAGS.output_dir) / "sib"
        checkpoints.save_model(sib, folder / checkpoints.BEST)
        trained_with = {"backbone": {"name": model.name, "weights": features.weights_fingerprint(model)}}
        record = {"model": dataclasses.asdict(sib.config), "features": trained_with, **source}
        atomic.write_json(folder / checkpoints.CONFIG, record)
        print(f"SIB model ({sib.config.way}-way, K = {sib.config.num_steps}) written to {folder}.")


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
