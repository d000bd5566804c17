"""Exports a trained model as a SavedModel for TF Serving: OUTPUT_DIR/<version>/, in one move.

    python -m export.saved_model --model_dir=RUN/sib --backbone_dir=RUN/backbone --output_dir=EXPORT

Signatures: serving_default (pictures to classes), embed, adapt, classify. The export is compared with the trained model
on real episodes and is not left behind if it differs.
"""

import sys

from absl import flags

from export import export_flags
from sib_tf.commands import cli

FLAGS = flags.FlagValues()
export_flags.define(FLAGS)
flags.DEFINE_string("output_dir", None, "Folder of the versions, as a server watches it.", flag_values=FLAGS)
flags.mark_flag_as_required("output_dir", flag_values=FLAGS)
flags.DEFINE_integer("version", None, "Version. Default: one above the highest there, or 1.", 1, flag_values=FLAGS)
flags.DEFINE_multi_string(
    "metrics", [], "metrics.json of train.evaluate, for the model card; may be given several times.", flag_values=FLAGS
)
flags.DEFINE_integer("episodes", 50, "Episodes of the comparison.", 2, flag_values=FLAGS)


def main() -> None:
    run = export_flags.load_run(FLAGS)
    from export import saved_model_export

    metrics = saved_model_export.load_metrics(FLAGS.metrics)
    folder = saved_model_export.version_folder(FLAGS.output_dir, FLAGS.version)
    data = export_flags.load_data(FLAGS, run)
    spec = export_flags.episode_spec(run)
    verdict = saved_model_export.export(run, data, folder, metrics, FLAGS.episodes, spec)
    print(f"{verdict}\n{folder}: SavedModel, model card, example request.")


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
