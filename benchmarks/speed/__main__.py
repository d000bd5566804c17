"""Measures how fast everything is, and writes BENCHMARKS.md.

    python -m benchmarks.speed --output_dir=RUN/speed

Ten to twenty minutes on two cores, which should be idle. Each block is measured in a process of its own and kept in
OUTPUT_DIR/<block>.json: the same command goes on, --only=BLOCK,... measures some again. Needs the extra `torch`.
"""

import importlib
import importlib.metadata
import importlib.util
import sys
from pathlib import Path

from absl import flags

from sib_tf.errors import InputError
from train import cli

BLOCKS = {
    "head_steps": "head_steps:measure",
    "from_cache": "meta_training_runs:from_cache",
    "from_pictures": "meta_training_runs:from_pictures",
    "whole_run": "meta_training_runs:whole_run",
    "meta_testing": "meta_testing_runs:measure",
    "sampler": "meta_testing_runs:sampler",
    "cost_lines": "cost_lines:measure",
    "backbone_training": "backbone_runs:training",
    "backbone_inference": "backbone_runs:inference",
    "device": "device_runs:measure",
    "entry_points": "entry_points:measure",
}
FLAGS = flags.FlagValues()
flags.DEFINE_string("output_dir", None, "Folder for the measurements.", flag_values=FLAGS)
flags.mark_flag_as_required("output_dir", flag_values=FLAGS)
flags.DEFINE_string("page", None, "The page to write; default: BENCHMARKS.md in --output_dir.", flag_values=FLAGS)
flags.DEFINE_integer("rounds", 7, "Turns of every contestant.", 1, flag_values=FLAGS)
flags.DEFINE_list("only", [], f"Blocks to measure again, out of {', '.join(BLOCKS)}.", flag_values=FLAGS)


def main() -> None:
    if unknown := [name for name in FLAGS.only if name not in BLOCKS]:
        raise InputError(f"only must be out of {', '.join(BLOCKS)}; got {', '.join(unknown)}.")
    if importlib.util.find_spec("torch") is None:
        raise InputError("The peer needs PyTorch: pip install 'sib_tf[torch]'.")
    from benchmarks import own_process
    from benchmarks.speed import page
    from sib_tf import atomic

    folder, comparisons = Path(FLAGS.output_dir), {}
    for name in BLOCKS:
        path = folder / f"{name}.json"
        if name in FLAGS.only or not path.is_file():
            if FLAGS.only and name not in FLAGS.only:
                continue
            print(f"{name} ...", flush=True)
            atomic.write_json(path, own_process.call(_measure, name, FLAGS.rounds))
        comparisons[name] = page.from_json(atomic.read_json(path, "Measurement"))
        print("\n".join(page.table(comparisons[name])), flush=True)
    target = FLAGS.page or folder / "BENCHMARKS.md"
    page.write(target, comparisons, FLAGS.rounds, _versions())
    print(f"Page: {target}")


def _measure(name: str, rounds: int) -> dict:
    """What a process of its own does."""
    from benchmarks.speed import page

    cli.load_tensorflow()
    module, function = BLOCKS[name].split(":")
    return page.to_json(getattr(importlib.import_module(f"benchmarks.speed.{module}"), function)(rounds))


def _versions() -> dict[str, str]:
    names = {"TensorFlow": "tensorflow", "Keras": "keras", "PyTorch": "torch", "LiteRT": "ai-edge-litert"}
    return {name: importlib.metadata.version(package) for name, package in names.items()}


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
