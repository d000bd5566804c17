"""Measures how fast everything is, and writes BENCHMARKS.md.

    python -m benchmarks.speed --output_dir=RUN/speed

Ten to twenty minutes on two cores, which should be idle. Each block is measured in a process of its own and kept in
OUTPUT_DIR/<block>.json: the same command goes on, --only=BLOCK,... measures some again. Needs the extra `torch`.
"""

import importlib.metadata
import importlib.util
import sys
from pathlib import Path

from absl import flags

from benchmarks.speed import BLOCKS, measure
from sib_tf.commands import cli
from sib_tf.errors import InputError

FLAGS = flags.FlagValues()
flags.DEFINE_string("output_dir", None, "Folder for the measurements.", required=True, flag_values=FLAGS)
flags.DEFINE_string("page", None, "The page to write; default: BENCHMARKS.md in --output_dir.", flag_values=FLAGS)
flags.DEFINE_integer("rounds", 5, "Turns of every contestant.", 1, flag_values=FLAGS)
flags.DEFINE_list("only", [], f"Blocks to measure again, out of {', '.join(BLOCKS)}.", flag_values=FLAGS)


def main() -> None:
    if unknown := [name for name in FLAGS.only if name not in BLOCKS]:
        raise InputError(f"only must be out of {', '.join(BLOCKS)}; got {', '.join(unknown)}.")
    if importlib.util.find_spec("torch") is None:
        raise InputError("The peer needs PyTorch: pip install 'sib_tf[torch]'.")
    from benchmarks import own_process
    from benchmarks.speed import page
    from benchmarks.speed.timing import Comparison
    from sib_tf.storage import atomic

    folder, comparisons = Path(FLAGS.output_dir), {}
    for name in BLOCKS:
        path = folder / f"{name}.json"
        if name in FLAGS.only or not (FLAGS.only or path.is_file()):
            print(f"{name} ...", flush=True)
            atomic.write_json(path, own_process.call(measure, name, FLAGS.rounds))
        if path.is_file():
            record = atomic.read_json(path, "Measurement")
            comparisons[name] = Comparison(record["unit"], record["times"], record["ratios"])
            print(page.table(comparisons[name]), flush=True)
    target = FLAGS.page or folder / "BENCHMARKS.md"
    names = {"TensorFlow": "tensorflow", "Keras": "keras", "PyTorch": "torch", "LiteRT": "ai-edge-litert"}
    versions = {name: importlib.metadata.version(package) for name, package in names.items()}
    page.write(target, comparisons, FLAGS.rounds, versions)
    print(f"Page: {target}")


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
