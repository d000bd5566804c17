"""Compares exported files with the trained model on the same real episodes: Keras = SavedModel = LiteRT.

    python -m export.verify --model_dir=RUN/sib --backbone_dir=RUN/backbone --exported=EXPORT/1 --exported=model.tflite

Prints a table; exit code 2 if a file is further from the model than its precision allows.
"""

import sys

from absl import flags

from export import export_flags
from sib_tf.commands import cli

FLAGS = flags.FlagValues()
export_flags.define(FLAGS)
flags.DEFINE_multi_string(
    "exported", None, "A .tflite file or a SavedModel folder; may be given several times.", flag_values=FLAGS
)
flags.mark_flag_as_required("exported", flag_values=FLAGS)
flags.DEFINE_integer("episodes", 200, "Episodes of the comparison.", 2, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "Seed of the fixed list.", 0, flag_values=FLAGS)
export_flags.define_outputs(FLAGS)


def main() -> None:
    export_flags.check_outputs(FLAGS)
    run = export_flags.load_run(FLAGS)
    from export import verification
    from sib_tf.prediction import models

    files = {path: models.open_model(path) for path in FLAGS.exported}
    limits = [
        {name: model.description[name] for name in ("way", "max_support", "max_query")} for model in files.values()
    ]
    spec = export_flags.episode_spec(run, **{name: _smallest(each[name] for each in limits) for name in limits[0]})
    data = export_flags.load_data(FLAGS, run)
    reference = verification.Reference(models.KerasModel(run), data.test, spec, FLAGS.episodes, FLAGS.seed)
    verdicts = [reference.judge(path, model) for path, model in files.items()]
    print(verification.table([reference.itself, *verdicts]))
    if FLAGS.output:
        verification.save(verdicts, FLAGS.output)
    if FLAGS.report:
        verification.add_to_report(FLAGS.report, [reference.itself, *verdicts], spec, data.name)
    if failed := [verdict.name for verdict in verdicts if verdict.failures]:
        raise cli.InputError(f"{', '.join(failed)} differ from the trained model by more than allowed; export again.")


def _smallest(limits) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
