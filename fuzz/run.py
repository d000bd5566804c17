"""Checks the properties of this folder on many generated cases, and writes down how many there were.

    PYTHONPATH=tests python -m fuzz.run --cases=100000

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
flags.DEFINE_string(
    "only", "", "Targets whose names begin like this; only their figures are renewed.", flag_values=FLAGS
)
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
        models = _Models(Path(folder))
        for name, share in _SHARES.items():
            if name.startswith(FLAGS.only):
                figures.append(_measure(name, max(1, share * FLAGS.cases // 100_000), models))
    if FLAGS.record:
        record.write("fuzz", _with_others(figures))
    if failed := [row["target"] for row in figures if row["failures"]]:
        raise cli.InputError(f"properties do not hold for {', '.join(failed)}; the cases are above.")


def _with_others(figures: list[dict]) -> list[dict]:
    """The figures, and those on record of other targets, in the order of the targets."""
    from fuzz import record

    rows = {row["target"]: row for row in [*record.read("fuzz"), *figures]}
    return [rows[name] for name in _SHARES if name in rows]


def _measure(name: str, cases: int, models: "_Models") -> dict:
    from hypothesis import HealthCheck, given, seed, settings
    from hypothesis import strategies as st

    strategies, check, size = _target(name, models)
    done, failures = 0, 0

    @given(st.tuples(*strategies))
    def test(arguments):
        nonlocal done
        done += size
        check(*arguments)

    limits = settings(
        max_examples=-(-cases // size), deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    start = time.perf_counter()
    try:
        seed(FLAGS.seed)(limits(test))()
    except Exception:
        failures = 1  # Of those that there are, the smallest.
        traceback.print_exc()
    seconds = time.perf_counter() - start
    print(f"{name}: {done:,} cases, {failures} failures, {seconds:.0f} s", flush=True)
    return {"target": name, "cases": done, "failures": failures, "seconds": round(seconds, 1)}


def _target(name: str, models: "_Models") -> tuple[list, Callable, int]:
    """Strategies of the arguments, the check, and how many cases an example has."""
    from hypothesis import strategies as st

    from fuzz import exported, recipes, sampling
    from fuzz.faults import FAULTS

    kind, _, what = name.partition(", ")
    seeds = st.integers(0, 2**31 - 1)
    if name == "sampler":
        return [sampling.specs(), sampling.splits, seeds], sampling.check, sampling.EPISODES
    if name.startswith("head "):
        head = models.head(kind.removeprefix("head "))
        return [st.lists(recipes.recipes(head.joint), min_size=_BATCH, max_size=_BATCH)], head.check, _BATCH
    if name.startswith("SavedModel "):
        served = models.served(kind.removeprefix("SavedModel "))
        episode = recipes.recipes(served.joint, exported.MAGNITUDES)
        many = st.lists(episode, min_size=_BATCH, max_size=_BATCH)
        if what == "spoiled":
            names = st.sampled_from([fault for fault in FAULTS if FAULTS[fault].in_graph])
            return [st.lists(episode, min_size=2, max_size=2), names, seeds], served.check_fault, 1
        return [many, seeds], served.check if what == "features" else served.check_pictures, _BATCH
    runner = models.runner(kind.removeprefix("runner "))
    one = recipes.recipes(magnitudes=exported.MAGNITUDES)
    if what == "spoiled":
        return [one, st.sampled_from(list(FAULTS))], runner.check_fault, 1
    return [one], runner.check if what == "features" else runner.check_pictures, 1


class _Models:
    """Tiny models with seeded weights, made once, when they are asked for; in a folder."""

    def __init__(self, folder: Path):
        self.folder, self._made = folder, {}

    def head(self, kind: str):
        from fuzz.head import Head

        return self._once(("head", kind), lambda: Head(kind))

    def served(self, kind: str):
        from fuzz.exported import Served

        return self._once(("served", kind), lambda: Served(self._saved(kind), kind == "joint"))

    def runner(self, kind: str):
        from fuzz.exported import Runner
        from sib_tf.prediction.models import SavedModel

        if kind == "SavedModel":
            return self._once(("runner", kind), lambda: Runner(SavedModel(self._saved("per_class")), self._litert()))
        return self._once(("runner", kind), lambda: Runner(self._litert(kind), self._litert()))

    def _litert(self, kind: str = "dynamic"):
        from exported import write_tflite

        from fuzz.recipes import QUERIES, SHOTS, WAY
        from sib_tf.prediction.litert import LiteRTModel

        sizes = () if kind == "dynamic" else (WAY, WAY * SHOTS, QUERIES)
        precision = kind if kind in ("float16", "int8") else "float32"
        path = self.folder / f"{kind}.tflite"
        make = lambda: LiteRTModel(write_tflite(self._run("per_class"), path, *sizes, precision=precision))  # noqa: E731
        return self._once(("litert", kind), make)

    def _saved(self, kind: str) -> Path:
        from exported import write_saved_model

        return self._once(("saved", kind), lambda: write_saved_model(self._run(kind), self.folder / f"saved_{kind}"))

    def _run(self, kind: str):
        from exported import load_run, write_run

        return self._once(("run", kind), lambda: load_run(write_run(self.folder / kind, kind)))

    def _once(self, key: tuple, make: Callable):
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
