"""Exports a trained model as a LiteRT (TFLite) file with the signatures embed, adapt and classify.

    python -m export.tflite --model_dir=RUN/sib --backbone_dir=RUN/backbone --output=model.tflite

--shapes=dynamic: any number of pictures and classes, for the Interpreter. --shapes=static: fixed sizes and masks, for
CompiledModel, GPU and NPU delegates and browsers. The file is compared with the trained model on real episodes and is
not left behind if it differs. --precision=float32,float16,int8 --output=EXPORTS writes all of these into a folder,
named after their precisions, in little more than the time of one.

    python -m export.tflite --head_only --model_dir=RUN/sib --features_dir=RUN/features --output=head.tflite

The head alone, adapt and classify, for apps that have the embedder: features in, of the backbone that --features_dir
was made with; the file is compared on its test classes.

    python -m export.tflite --head_only --feature_dim=any --model_dir=RUN/sib --output=head.tflite

Of a head for features of any length: one file for all of them, rows and classes as many as there are; or, with
--feature_dim=1280, for features of that length. Without --features_dir it is compared on made-up features.
"""

import sys
from pathlib import Path

from absl import flags

from export import export_flags, precisions
from sib_tf.commands import cli
from sib_tf.storage import atomic

FLAGS = flags.FlagValues()
export_flags.define(FLAGS, episodes=50)
flags.DEFINE_string(
    "output", None, "The file to write, ending in .tflite; of several precisions a folder.", flag_values=FLAGS
)
flags.mark_flag_as_required("output", flag_values=FLAGS)
flags.DEFINE_bool("head_only", False, "The head alone: signatures adapt and classify.", flag_values=FLAGS)
export_flags.define_feature_dim(FLAGS)
flags.DEFINE_list("precision", ["float32"], f"Of the backbone. {precisions.HELP}.", flag_values=FLAGS)
flags.DEFINE_enum("shapes", "static", ("static", "dynamic"), "Fixed sizes with masks, or any.", flag_values=FLAGS)
flags.DEFINE_integer("way", None, "static: most classes. Default: 5; a joint model's own.", 2, flag_values=FLAGS)
flags.DEFINE_integer("max_support", None, "static: most labelled pictures. Default: 5 a class.", 1, flag_values=FLAGS)
flags.DEFINE_integer("max_query", None, "static: most unlabelled pictures. Default: 15 a class.", 1, flag_values=FLAGS)
flags.DEFINE_integer("calibration_pictures", 256, "int8: training pictures to measure on.", 1, flag_values=FLAGS)


def main() -> None:
    outputs = _outputs()
    if FLAGS.feature_dim is not None and not FLAGS.head_only:
        raise cli.InputError(f"feature_dim belongs to --head_only; got {FLAGS.feature_dim}. Leave it out.")
    export_flags.check_parts(FLAGS, FLAGS.head_only, FLAGS.feature_dim is not None)
    if FLAGS.head_only and FLAGS.precision != ["float32"]:
        got = ",".join(FLAGS.precision)
        raise cli.InputError(f"precision must be float32 with --head_only, as heads always are; got {got}.")
    shapes = _shapes()
    run = export_flags.load_head(FLAGS)
    export_flags.require_exportable(run)
    limits = _limits(shapes, run.sib.config.fixed_way)
    data = export_flags.load_data(FLAGS, run)
    from export import conversion, verification
    from sib_tf.prediction.litert import LiteRTModel

    calibrated = any(precisions.named(precision).calibrated for precision in outputs)
    pictures = _calibration_pictures(data, run.backbone_config) if calibrated else None
    reference = export_flags.reference(FLAGS, run, data, limits)
    converted = conversion.convert(run.signatures(), **limits)
    for precision, output in outputs.items():
        with atomic.new_file(output) as partial:
            conversion.write(partial, run, limits, precision, pictures, converted)
            verdict = reference.judge(partial, LiteRTModel(partial), output.name)
            measured = ", or more calibration_pictures" if precisions.named(precision).calibrated else ""
            verdict.require(f"The {precision} file", f" Try another precision{measured}.")
        kilobytes = output.stat().st_size / 1e3
        print(f"{verification.table([verdict])}\n{output}: {kilobytes:.0f} kB, {precision}, {shapes} shapes.")


def _outputs() -> dict[str, Path]:
    """The files to write, by precision."""
    output, wanted = Path(FLAGS.output), FLAGS.precision
    for precision in wanted:
        precisions.named(precision)
    if len(wanted) == 1:
        if output.suffix != ".tflite":
            raise cli.InputError(f"output must end in .tflite; got {output}.")
        return {wanted[0]: output}
    if not wanted or len(set(wanted)) < len(wanted) or output.suffix == ".tflite":
        raise cli.InputError(
            "output must be a folder for several precisions, each given once; got "
            f"--output={output} --precision={','.join(wanted)}."
        )
    return {precision: output / f"{precision}.tflite" for precision in wanted}


def _shapes() -> str:
    """--shapes; a file for features of any length has no fixed size at all."""
    if FLAGS.feature_dim != "any":
        return FLAGS.shapes
    if FLAGS["shapes"].present and FLAGS.shapes == "static":
        raise cli.InputError("shapes must be dynamic with --feature_dim=any, which fixes no size; got static.")
    return "dynamic"


def _calibration_pictures(data, backbone):
    """`[pictures, size, size, 3]` uint8: some training pictures of all classes."""
    import numpy as np

    from sib_tf.pictures.pixels import fit_stored

    rows = np.random.RandomState(0).permutation(len(data.train.images))[: FLAGS.calibration_pictures]
    return fit_stored(data.train.images[np.sort(rows)], backbone.image_size, backbone.larger)


def _limits(shapes: str, own: int | None) -> dict[str, int | None]:
    """Returns the `limits` of `conversion.write` that the flags ask for; `own`: the way of a joint model."""
    names = ("way", "max_support", "max_query")
    if shapes == "dynamic":
        given = [f"--{name}" for name in names if FLAGS[name].value is not None]
        if given:
            raise cli.InputError(f"{', '.join(given)} belong to --shapes=static; a dynamic file takes any number.")
        return {**dict.fromkeys(names), "way": own}
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
