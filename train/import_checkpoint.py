"""Turns a .pth file of the released PyTorch code, or of train.pretrain_torch, into our folders (extra `torch`).

    python -m train.import_checkpoint --checkpoint=netSIBBest.pth --dataset=cifar_fs --output_dir=RUN
    python -m train.import_checkpoint --checkpoint=RUN/netFeat.pth --output_dir=RUN

writes RUN/backbone, which train.extract_features takes, and, if the file has a head, RUN/sib. Weights only: nothing in
the file is executed.
"""

import sys
from pathlib import Path

from absl import flags

from sib_tf.commands import cli, record_flags
from sib_tf.config import BackboneConfig

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "checkpoint", None, "netFeatBest or netSIBBest of the released code, or our netFeat.pth.", flag_values=FLAGS
)
flags.DEFINE_string("output_dir", None, "Folder for backbone/ and sib/.", flag_values=FLAGS)
flags.DEFINE_enum(
    "dataset",
    None,
    ("cifar_fs", "mini_imagenet"),
    "Data set that it was trained on: gives size and normalisation, which our netFeat.pth has itself.",
    flag_values=FLAGS,
)
flags.mark_flags_as_required(["checkpoint", "output_dir"], flag_values=FLAGS)
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

    cli.load_tensorflow()
    from sib_tf import backbones, checkpoints, features, released
    from sib_tf.storage import atomic, digests, run_records

    state, head = released.read_checkpoint(FLAGS.checkpoint, FLAGS.sha256)
    pictures = _pictures(released.pictures(state))
    model, config = released.backbone(state, **pictures, precision=FLAGS.precision)
    sib = None
    if head:
        channels = config.width if config.name == "conv4" else None
        sib = released.head(head["state"], head["num_steps"], FLAGS.inner_learning_rate, channels)
        if sib.config.feature_dim != model.output_shape[-1]:
            raise cli.InputError(
                f"checkpoint {FLAGS.checkpoint} has a head for features of length {sib.config.feature_dim}, but its "
                f"backbone gives {model.output_shape[-1]} at the {config.image_size} pixels of {FLAGS.dataset}; is "
                "dataset the one that it was trained on?"
            )
    source = {"imported_from": Path(FLAGS.checkpoint).name, "imported_sha256": digests.of_file(FLAGS.checkpoint)}
    folder = Path(FLAGS.output_dir) / "backbone"
    checkpoints.save_model(model, folder / backbones.FILE)
    atomic.write_json(folder / run_records.CONFIG, {"backbone": dataclasses.asdict(config), **source})
    print(f"Backbone {config.name} (width {config.width}, {config.image_size} pixels) written to {folder}.")
    if sib:
        folder = Path(FLAGS.output_dir) / "sib"
        checkpoints.save_model(sib, folder / checkpoints.BEST)
        trained_with = {"backbone": {"name": model.name, "weights": features.weights_fingerprint(model)}}
        record = {"model": dataclasses.asdict(sib.config), "features": trained_with, **source}
        atomic.write_json(folder / run_records.CONFIG, record)
        print(f"SIB model ({sib.config.way}-way, K = {sib.config.num_steps}) written to {folder}.")


def _pictures(own: dict) -> dict:
    """Size and normalisation of the pictures that the backbone takes: the file's `own` word, or --dataset's."""
    import importlib

    import numpy as np

    if FLAGS.dataset is None:
        if not own:
            raise cli.InputError(
                f"dataset must be given: {FLAGS.checkpoint} says neither size nor normalisation of its pictures; add "
                "--dataset=cifar_fs or --dataset=mini_imagenet."
            )
        return own
    builder = importlib.import_module(f"sib_tf.datasets.{FLAGS.dataset}").Builder
    mean, std = builder.NORMALIZATION
    given = {"image_size": builder.CROP_SIZE or builder.IMAGE_SIZE, "mean": mean, "std": std}
    if not all(np.allclose(value, given[name], atol=0.01) for name, value in own.items()):
        raise cli.InputError(
            f"dataset {FLAGS.dataset} has other pictures ({given}) than {FLAGS.checkpoint} was trained on ({own}): "
            "leave it out."
        )
    return given


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
