"""What a meta-training step costs as episodes, ways, queries and features grow."""

import statistics

import numpy as np
import tensorflow as tf

from benchmarks.speed import head_steps, timing
from benchmarks.speed.head_steps import FLOOR, OURS
from benchmarks.speed.matrix_products import MatrixProducts
from benchmarks.speed.timing import Comparison
from sib_tf.config import EpisodeSpec
from sib_tf.episodes import EpisodeSampler

# Where one quantity grows, the others stay.
_BASE = {"episodes": 4, "way": 5, "query": 15, "feature_dim": 256}
GROWING = {
    "episodes": (1, 4, 16, 64),
    "way": (2, 5, 10, 20, 40),
    "way_of_75": (2, 5, 10, 20, 40),
    "query": (4, 15, 60, 240),
    "feature_dim": (64, 256, 1024, 4096),
}
_WORDS = {
    "episodes": "episodes a step",
    "way": "ways",
    "way_of_75": "ways, 75 queries in all",
    "query": "queries a class",
    "feature_dim": "feature length D",
}
_MANY_WAYS, _MANY_FEATURES = 100, 1280


def measure(rounds: int, growing: dict[str, tuple[int, ...]] = GROWING) -> Comparison:
    """Times steps of the `per_class` head, which takes any way."""
    random, times = np.random.RandomState(0), {}
    labels = np.repeat(np.arange(64), 300)
    for name, values in growing.items():
        for value in values:
            size = {**_BASE, "total_query": None, name: value}
            if name == "way_of_75":
                size |= {"way": value, "total_query": 75}
            spec = EpisodeSpec(**{field: size[field] for field in ("way", "query", "total_query")})
            sampler = EpisodeSampler(labels, spec, 0)
            table = random.random_sample((len(labels), size["feature_dim"])).astype(np.float32)
            rows = head_steps.batched(sampler, 8, size["episodes"])
            ours = head_steps.ours(table, rows, cores=1, gradient_network="per_class")
            a_step = timing.Contestant(ours.run, 8)
            times[f"{_WORDS[name]}: {value}"] = timing.in_turns({OURS: a_step}, rounds)
    return Comparison("step", times)


def many_ways(rounds: int, way: int = _MANY_WAYS, feature_dim: int = _MANY_FEATURES) -> Comparison:
    """Times a step of one episode of many ways, beside its matrix products alone."""
    spec = EpisodeSpec(way=way)
    labels = np.repeat(np.arange(way), 2 * spec.query[1])
    table = np.random.RandomState(0).random_sample((len(labels), feature_dim)).astype(np.float32)
    rows = head_steps.batched(EpisodeSampler(labels, spec, 0), 1, 1)
    products = MatrixProducts(1, spec.max_query, way, feature_dim, head_steps.NUM_STEPS, 1, "per_class")
    contestants = {
        OURS: head_steps.ours(table, rows, cores=1, gradient_network="per_class"),
        FLOOR: timing.Contestant(lambda: products.steps(tf.constant(0.0)).numpy()),
    }
    setting = f"{way} ways, {spec.max_query} queries, D = {feature_dim}"
    return Comparison("step", {setting: timing.in_turns(contestants, rounds)}, {setting: [(OURS, FLOOR)]})


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
