"""Trains and adapts for a long time with tiny shapes, and measures whether resident memory stays flat.

    python -m fuzz.soak

Every loop runs in a process of its own. Memory is sampled along the way; the slope is that of a straight line through
the samples after the first fifth. Exit code 2 if one is above the bound.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from absl import flags

from benchmarks import own_process
from sib_tf.commands import cli

FLAGS = flags.FlagValues()
flags.DEFINE_integer("training_steps", 200_000, "Outer steps of meta-training.", 1000, flag_values=FLAGS)
flags.DEFINE_integer("adaptations", 100_000, "Episodes, of each kind of model.", 1000, flag_values=FLAGS)
flags.DEFINE_string("only", "", "Loops whose names contain this; nothing is recorded then.", flag_values=FLAGS)

# kB per 10,000 steps or episodes: a single number kept of each would be 80. What is left of one array would be more.
BOUND = 100
_SAMPLES, _WARM_UP = 100, 0.2
LOOPS = ("meta-training", "static .tflite", "dynamic .tflite", "SavedModel", "Keras model")


def main() -> None:
    from fuzz import record

    figures = []
    for name in LOOPS:
        if FLAGS.only in name:
            count = FLAGS.training_steps if name == "meta-training" else FLAGS.adaptations
            figures.append(own_process.call(measure, name, count))
            print(", ".join(f"{key} {value}" for key, value in figures[-1].items()), flush=True)
            if not FLAGS.only:
                record.write("soak", figures)  # Of those that are done: the last ones take long.
    if grown := [row["loop"] for row in figures if row["slope, kB per 10,000"] > BOUND]:
        raise cli.InputError(f"memory grows by more than {BOUND} kB per 10,000 with {', '.join(grown)}.")


def measure(name: str, count: int) -> dict:
    """Runs one of `LOOPS` for `count` steps or episodes; returns its row of the record."""
    import numpy as np

    cli.load_tensorflow()
    with tempfile.TemporaryDirectory() as folder:
        steps, advance = _loop(name, Path(folder))
        every = max(1, count // steps // _SAMPLES)
        start, done, samples = time.perf_counter(), 0, []
        while done < count:
            for _ in range(every):
                advance()
            done += every * steps
            resident = int(Path("/proc/self/statm").read_text().split()[1])  # In pages (Linux).
            samples.append((done, resident * os.sysconf("SC_PAGE_SIZE") // 1024))
    seconds = time.perf_counter() - start
    numbers, memory = np.array([sample for sample in samples if sample[0] > _WARM_UP * count], np.float64).T
    slope = np.polyfit(numbers, memory, 1)[0]
    return {
        "loop": name,
        "steps": done,
        "slope, kB per 10,000": round(float(slope * 10_000), 1),
        "bound": BOUND,
        "resident after warm-up, MB": round(float(memory[0] / 1000)),
        "at the end": round(float(memory[-1] / 1000)),
        "seconds": round(seconds),
    }


def _loop(name: str, folder: Path) -> tuple[int, Callable[[], None]]:
    """How many steps a call takes, and the call."""
    if name == "meta-training":
        return _training()
    from fuzz import exports

    model = exports.model(folder, name.split()[0])
    episodes = _episodes(model.description["feature_dim"])

    def advance():
        support, labels, query = next(episodes)
        model.classify(query, model.adapt(support, labels, query)[-1])

    return 1, advance


def _training() -> tuple[int, Callable[[], None]]:
    import numpy as np

    from benchmarks.speed.synthetic import SyntheticFeatures
    from sib_tf.config import EpisodeSpec, MetaTrainConfig, SIBConfig
    from sib_tf.episodes import EpisodeSampler, stream
    from sib_tf.outer_steps import Trainer
    from sib_tf.sib import SIB

    spec, steps, cache = EpisodeSpec(way=3, shot=1, query=3), 100, SyntheticFeatures(8, per_class=20)
    model = SIB(SIBConfig(feature_dim=8, way=None, gradient_network="per_class", hidden_units=8))
    model.build()
    trainer = Trainer(model, [cache.table("train")], MetaTrainConfig(episodes=spec, steps_per_call=steps))
    batches = iter(stream(EpisodeSampler(cache.labels("train"), spec, 0), steps, 1))

    def advance():
        losses = trainer.steps([next(batches)]).numpy()
        if not np.isfinite(losses).all():
            raise cli.InputError("training diverged; the run says nothing.")

    return steps, advance


def _episodes(dim: int):
    """Episodes for ever, of a hundred shapes that come again: shapes that are new take memory, once."""
    import numpy as np

    random = np.random.RandomState(0)
    shapes = [(random.randint(1, 6), random.randint(1, 3), random.randint(0, 13)) for _ in range(100)]
    while True:
        for way, shot, queries in shapes:
            rows = random.normal(size=(way * shot + queries, dim)).astype(np.float32)
            yield rows[: way * shot], np.repeat(np.arange(way), shot), rows[way * shot :]


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
