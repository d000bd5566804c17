"""Compares exported files with the trained model on the same real episodes: Keras = SavedModel = LiteRT.

    python -m export.verify --model_dir=RUN/sib --backbone_dir=RUN/backbone --exported=EXPORT/1 --exported=model.tflite

Files of the head alone are compared on features: --features_dir=RUN/features instead of --backbone_dir.
Prints a table; exit code 2 if a file is further from the model than its precision allows.
"""

import sys

from absl import flags

from export import export_flags
from sib_tf.commands import cli

FLAGS = flags.FlagValues()
export_flags.define(FLAGS, episodes=200)
flags.DEFINE_multi_string(
    "exported", None, "A .tflite file or a SavedModel folder; may be given several times.", flag_values=FLAGS
)
flags.mark_flag_as_required("exported", flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "Seed of the fixed list.", 0, flag_values=FLAGS)
export_flags.define_outputs(FLAGS)


def main() -> None:
    export_flags.check_outputs(FLAGS)
    export_flags.check_parts(FLAGS, head_only=FLAGS.features_dir is not None)
    run = export_flags.load_run(FLAGS)
    from export import verification
    from sib_tf.prediction import models

    files = {path: models.open_model(path) for path in FLAGS.exported}
    data = export_flags.load_data(FLAGS, run)
    descriptions = [model.description for model in files.values()]
    reference = export_flags.reference(FLAGS, run, data, *descriptions, seed=FLAGS.seed)
    verdicts = [reference.judge(path, model) for path, model in files.items()]
    table = verification.table([reference.itself, *verdicts])
    print(table)
    words = (
        f"Every file against the trained model on the same {FLAGS.episodes} test episodes ({data.name}, "
        f"{reference.spec.describe()}): the largest differences, and the accuracies."
    )
    export_flags.publish(FLAGS, "Exported files", [v.figures() for v in verdicts], f"{words}\n\n{table}")
    if failed := [verdict.name for verdict in verdicts if verdict.failures]:
        raise cli.InputError(f"{', '.join(failed)} differ from the trained model by more than allowed; export again.")


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
