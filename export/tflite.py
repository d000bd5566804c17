"""Exports a trained model as a LiteRT (TFLite) file with the signatures embed, adapt and classify.

    python -m export.tflite --model_dir=RUN/sib --backbone_dir=RUN/backbone --output=model.tflite

--shapes=dynamic: any number of pictures and classes, for the Interpreter. --shapes=static: fixed sizes and masks, for
CompiledModel, GPU and NPU delegates and browsers. The file is compared with the trained model on real episodes and is
not left behind if it differs.
"""

import sys
from pathlib import Path

from absl import flags

from export import export_flags
from sib_tf.commands import cli

FLAGS = flags.FlagValues()
export_flags.define(FLAGS)
PRECISIONS = ("float32", "float16", "int8")
FULL_INT8 = (
    "precision full_int8 is refused: a head quantised to int8 gives logits of zero. Use int8: the backbone in int8 and "
    "the head, which is small, in float."
)
flags.DEFINE_string("output", None, "The file to write, ending in .tflite.", flag_values=FLAGS)
flags.mark_flag_as_required("output", flag_values=FLAGS)
flags.DEFINE_string("precision", "float32", f"Of the backbone: {', '.join(PRECISIONS)}.", flag_values=FLAGS)
flags.DEFINE_enum("shapes", "static", ("static", "dynamic"), "Fixed sizes with masks, or any.", flag_values=FLAGS)
flags.DEFINE_integer("way", None, "static: most classes. Default: 5; a joint model's own.", 2, flag_values=FLAGS)
flags.DEFINE_integer("max_support", None, "static: most labelled pictures. Default: 5 a class.", 1, flag_values=FLAGS)
flags.DEFINE_integer("max_query", None, "static: most unlabelled pictures. Default: 15 a class.", 1, flag_values=FLAGS)
flags.DEFINE_integer("calibration_pictures", 256, "int8: training pictures to measure on.", 1, flag_values=FLAGS)
flags.DEFINE_integer("episodes", 50, "Episodes of the comparison.", 2, flag_values=FLAGS)


def main() -> None:
    if FLAGS.precision == "full_int8":
        raise cli.InputError(FULL_INT8)
    if FLAGS.precision not in PRECISIONS:
        raise cli.InputError(f"precision must be one of {', '.join(PRECISIONS)}; got {FLAGS.precision}.")
    if Path(FLAGS.output).suffix != ".tflite":
        raise cli.InputError(f"output must end in .tflite; got {FLAGS.output}.")
    run = export_flags.load_run(FLAGS)
    limits = _limits(run)
    data = export_flags.load_data(FLAGS, run)
    from export import tflite_export

    verdict = tflite_export.export(
        run, data, FLAGS.output, FLAGS.precision, limits, FLAGS.calibration_pictures, FLAGS.episodes,
        export_flags.episode_spec(run, **limits),
    )  # fmt: skip
    size = Path(FLAGS.output).stat().st_size
    print(f"{verdict}\n{FLAGS.output}: {size / 1e3:.0f} kB, {FLAGS.precision}, {FLAGS.shapes} shapes.")


def _limits(run) -> dict[str, int | None]:
    own = run.description()["way"]
    if FLAGS.shapes == "dynamic":
        given = [f"--{name}" for name in ("way", "max_support", "max_query") if FLAGS[name].value is not None]
        if given:
            raise cli.InputError(f"{', '.join(given)} belong to --shapes=static; a dynamic file takes any number.")
        return {"way": own, "max_support": None, "max_query": None}
    way = FLAGS.way or own or 5
    if own and way != own:
        raise cli.InputError(f"way must be {own}, which this joint model was built for; got {way}.")
    limits = {"way": way, "max_support": FLAGS.max_support or 5 * way, "max_query": FLAGS.max_query or 15 * way}
    for name, rows in limits.items():
        if rows < way:
            raise cli.InputError(f"{name} must be at least way = {way}, a picture of each class; got {rows}.")
    return limits


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
