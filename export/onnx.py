"""Exports a head as ONNX: DIR/adapt.onnx and DIR/classify.onnx, for any number of rows and classes.

    python -m export.onnx --head_only --feature_dim=any --model_dir=RUN/sib --output_dir=DIR

They are what `export.tflite --head_only` makes, for runtimes that take ONNX, and compared in the same way, by
onnxruntime. Needs `pip install 'sib_tf[onnx]'`.
"""

import importlib.util
import sys
from pathlib import Path

from absl import flags

from export import export_flags
from sib_tf.commands import cli

FLAGS = flags.FlagValues()
export_flags.define(FLAGS, episodes=50)
export_flags.define_feature_dim(FLAGS)
flags.DEFINE_bool("head_only", False, "The head alone: the only part that is exported so.", flag_values=FLAGS)
flags.DEFINE_string("output_dir", None, "Folder to write both files to.", flag_values=FLAGS)
flags.mark_flag_as_required("output_dir", flag_values=FLAGS)


def main() -> None:
    if not FLAGS.head_only:
        raise cli.InputError("head_only must be given: backbones have their own ways to ONNX; got none.")
    export_flags.check_parts(FLAGS, head_only=True, has_length=FLAGS.feature_dim is not None)
    missing = [name for name in ("tf2onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise cli.InputError(f"{' and '.join(missing)} must be installed: pip install 'sib_tf[onnx]'.")
    run = export_flags.load_head(FLAGS)
    from export import onnx_files, verification
    from sib_tf.storage import atomic

    output = Path(FLAGS.output_dir)
    atomic.require_own(output, onnx_files.NAMES, "output_dir")  # What is there is replaced.
    reference = export_flags.reference(FLAGS, run, export_flags.load_data(FLAGS, run))
    with atomic.new_folder(output) as partial:
        onnx_files.write(partial, run)
        verdict = reference.judge(partial, onnx_files.ONNXModel(partial), output.name)
        verdict.require("The ONNX pair")
    kilobytes = sum(file.stat().st_size for file in output.iterdir()) / 1e3
    print(f"{verification.table([verdict])}\n{output}: {kilobytes:.0f} kB, adapt.onnx and classify.onnx.")


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
