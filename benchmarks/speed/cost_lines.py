"""What a meta-training step costs as episodes, ways, queries and features grow."""

import statistics

import numpy as np

from benchmarks.speed import head_steps, timing
from benchmarks.speed.head_steps import OURS
from benchmarks.speed.timing import Comparison
from sib_tf.config import EpisodeSpec
from sib_tf.episodes import EpisodeSampler

# Where one quantity grows, the others stay.
_BASE = {"episodes": 4, "way": 5, "query": 15, "feature_dim": 256}
GROWING = {
    "episodes": (1, 4, 16, 64),
    "way": (2, 5, 10, 20, 40),
    "query": (4, 15, 60, 240),
    "feature_dim": (64, 256, 1024, 4096),
}
_WORDS = {"episodes": "episodes a step", "way": "ways", "query": "queries a class", "feature_dim": "feature length D"}


def measure(rounds: int, growing: dict[str, tuple[int, ...]] = GROWING) -> Comparison:
    """Times steps of the `per_class` head, which takes any way."""
    random, times = np.random.RandomState(0), {}
    labels = np.repeat(np.arange(64), 300)
    for name, values in growing.items():
        for value in values:
            size = {**_BASE, name: value}
            sampler = EpisodeSampler(labels, EpisodeSpec(way=size["way"], query=size["query"]), 0)
            table = random.random_sample((len(labels), size["feature_dim"])).astype(np.float32)
            rows = head_steps.batched(sampler, 8, size["episodes"])
            ours = head_steps.ours(table, rows, cores=1, gradient_network="per_class")
            a_step = timing.Contestant(ours.run, 8)
            times[f"{_WORDS[name]}: {value}"] = timing.in_turns({OURS: a_step}, rounds)
    return Comparison("step", times)


def points(comparison: Comparison) -> dict[str, tuple[list[int], list[float]]]:
    """Sizes and median seconds of each quantity."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    for setting, taken in comparison.times.items():
        name, value = setting.split(": ")
        sizes, seconds = found.setdefault(name, ([], []))
        sizes.append(int(value))
        seconds.append(statistics.median(taken[OURS]))
    return found


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """Slope of log seconds against log size over the larger half of the sizes."""
    half = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[half:]), np.log(seconds[half:]), 1)[0])
