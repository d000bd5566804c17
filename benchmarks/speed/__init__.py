"""How fast the project is, side by side with others; the blocks that are measured, each in a process of its own."""

import dataclasses
import importlib

from sib_tf.commands import cli

BLOCKS = {
    "head_steps": "head_steps:measure",
    "head_batches": "head_steps:measure_batches",
    "from_cache": "meta_training_runs:from_cache",
    "from_pictures": "meta_training_runs:from_pictures",
    "meta_testing": "meta_testing_runs:measure",
    "sampler": "meta_testing_runs:sampler",
    "cost_lines": "cost_lines:measure",
    "many_ways": "cost_lines:many_ways",
    "backbone_training": "backbone_runs:training",
    "backbone_inference": "backbone_runs:inference",
    "device": "device_runs:measure",
    "sizes": "device_runs:sizes",
    "photographs": "photograph_runs:measure",
    "entry_points": "entry_points:measure",
    "whole_run": "meta_training_runs:whole_run",
    "demo": "demo_run:measure",
}
# Of small operations, as train.meta_train keeps them on one thread.
_ONE_THREAD = ("head_steps", "from_cache", "whole_run", "meta_testing", "sampler", "cost_lines", "many_ways")


def measure(name: str, rounds: int) -> dict:
    """Returns the fields of block `name`'s comparison; what a process of its own does."""
    cli.load_tensorflow(one_thread=name in _ONE_THREAD)
    module, function = BLOCKS[name].split(":")
    return dataclasses.asdict(getattr(importlib.import_module(f"benchmarks.speed.{module}"), function)(rounds))
