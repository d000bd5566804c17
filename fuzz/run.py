"""Checks the properties of this folder on many generated cases, and writes down how many there were.

    python -m fuzz.run --cases=100000

A case is one episode, or one spoiled request. Exit code 2 if a property does not hold; the smallest case that was
found is printed.
"""

import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from absl import flags

from sib_tf.commands import cli

FLAGS = flags.FlagValues()
flags.DEFINE_integer("cases", 100_000, "Cases on the head and on exported files together.", 1, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "Of the cases.", 0, flag_values=FLAGS)
flags.DEFINE_string("only", "", "Targets whose names begin so; only their figures are renewed.", flag_values=FLAGS)
flags.DEFINE_boolean("record", True, "Whether figures are written down.", flag_values=FLAGS)

_BATCH = 16
# Cases of each target, of 100,000; the sampler's come on top.
_SHARES = {
    "sampler": 10_500,
    "head per_class": 18_000,
    "head joint": 10_000,
    "head support_gradient": 8_000,
    "head shrunk_mean": 8_000,
    "head prior": 8_000,
    "head posterior": 8_000,
    "SavedModel per_class, features": 14_000,
    "SavedModel joint, features": 8_000,
    "SavedModel per_class, pictures": 2_000,
    "SavedModel per_class, spoiled": 1_000,
    "SavedModel joint, spoiled": 500,
    "runner SavedModel, features": 2_000,
    "runner SavedModel, spoiled": 1_000,
    "runner dynamic, features": 4_000,
    "runner dynamic, spoiled": 1_000,
    "runner static, features": 4_000,
    "runner static, spoiled": 1_000,
    "runner static, pictures": 500,
    "runner float16, pictures": 500,
    "runner int8, pictures": 500,
}


def main() -> None:
    cli.load_tensorflow()
    from fuzz import record

    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for name, share in _SHARES.items():
            if name.startswith(FLAGS.only):
                figures.append(_measure(name, max(1, share * FLAGS.cases // 100_000), Path(folder)))
    if FLAGS.record:
        # And those on record of other targets, in the order of the targets.
        known = record.read("fuzz") or {"figures": []}
        rows = {row["target"]: row for row in [*known["figures"], *figures]}
        record.write("fuzz", [rows[name] for name in _SHARES if name in rows])
    if failed := [row["target"] for row in figures if row["failures"]]:
        raise cli.InputError(f"properties do not hold for {', '.join(failed)}; the cases are above.")


def _measure(name: str, cases: int, folder: Path) -> dict:
    from hypothesis import HealthCheck, given, seed, settings
    from hypothesis import strategies as st

    strategies, check, size = target(name, folder)
    done, failures = 0, 0

    @given(st.tuples(*strategies))
    def test(arguments):
        nonlocal done
        done += size
        check(*arguments)

    limits = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
    start = time.perf_counter()
    try:
        seed(FLAGS.seed)(settings(max_examples=-(-cases // size), **limits)(test))()
    except Exception:
        failures = 1  # Of those that there are, the smallest.
        traceback.print_exc()
    seconds = time.perf_counter() - start
    print(f"{name}: {done:,} cases, {failures} failures, {seconds:.0f} s", flush=True)
    return {"target": name, "cases": done, "failures": failures, "seconds": round(seconds, 1)}


def target(name: str, folder: Path) -> tuple[list, Callable, int]:
    """Strategies of the arguments, the check, and how many cases an example has."""
    from hypothesis import strategies as st

    from fuzz import exports, head, recipes, sampling
    from fuzz.faults import FAULTS

    def episodes(count: int, *arguments):
        return st.lists(recipes.recipes(*arguments), min_size=count, max_size=count)

    subject, _, what = name.partition(", ")
    group, _, kind = subject.partition(" ")
    seeds = st.integers(0, 2**31 - 1)
    if group == "sampler":
        return [sampling.specs(), sampling.splits, seeds], sampling.check, sampling.EPISODES
    if group == "head":
        model = head.Head(kind)
        return [episodes(head.BATCH, model.needs_all)], model.check, head.BATCH
    if group == "SavedModel":
        served = exports.served(folder, kind)
        if what == "spoiled":
            faults = st.sampled_from([fault for fault in FAULTS if FAULTS[fault].in_graph])
            return [episodes(2, served.needs_all, exports.MAGNITUDES), faults, seeds], served.check_fault, 1
        check = served.check if what == "features" else served.check_pictures
        return [episodes(_BATCH, served.needs_all, exports.MAGNITUDES), seeds], check, _BATCH
    runner, one = exports.Runner(folder, kind), recipes.recipes(magnitudes=exports.MAGNITUDES)
    if what == "spoiled":
        return [one, st.sampled_from(list(FAULTS))], runner.check_fault, 1
    return [one], runner.check if what == "features" else runner.check_pictures, 1


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
