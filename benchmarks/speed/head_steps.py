"""Meta-training steps of the head: this project's, the released head in PyTorch, and the bare matrix products."""

import functools
import os

import keras
import numpy as np
import tensorflow as tf

from benchmarks.speed import timing
from benchmarks.speed.matrix_products import MatrixProducts
from benchmarks.speed.synthetic import SyntheticFeatures
from benchmarks.speed.timing import Comparison, Contestant
from sib_tf.config import EpisodeSpec, MetaTrainConfig, SIBConfig
from sib_tf.episodes import EpisodeRows, EpisodeSampler
from sib_tf.outer_steps import Trainer
from sib_tf.sib import SIB

OURS, FLOOR, PEER = "sib_tf", "matrix products", "PyTorch"
SPEC, NUM_STEPS = EpisodeSpec(way=5, shot=1, query=15), 3
# Episodes a call of the compiled step, at least a step; calls a turn.
_EPISODES, _CALLS = 256, 4


def measure(rounds: int, batches: tuple[int, ...] = (1,), feature_dim: int = 640) -> Comparison:
    """Times steps of `batches` episodes."""
    cache = SyntheticFeatures(feature_dim)
    table, sampler = cache.table("train"), EpisodeSampler(cache.labels("train"), SPEC, 0)
    times, ratios = {}, {}
    for batch in batches:
        setting = f"{batch} episode{'s' * (batch > 1)} a step"
        rows = batched(sampler, max(_EPISODES // batch, 1), batch)
        contestants = {OURS: _as_long(ours(table, rows)), FLOOR: _as_long(_floor(rows, feature_dim))}
        contestants |= _peers(table, rows)
        times[setting] = timing.in_turns(contestants, rounds)
        ratios[setting] = [(timing.best(times[setting], PEER), OURS), (OURS, FLOOR)]
    return Comparison("episode", times, ratios)


def measure_batches(rounds: int) -> Comparison:
    """Times steps of many episodes."""
    return measure(rounds, (16, 64, 256))


def batched(sampler: EpisodeSampler, steps: int, batch: int) -> EpisodeRows:
    """Draws `[steps, batch, ...]` rows."""
    flat = sampler.sample(steps * batch)
    return EpisodeRows(*(tf.constant(field.reshape(steps, batch, *field.shape[1:])) for field in flat))


def model(feature_dim: int, **config) -> SIB:
    """A seeded model of `NUM_STEPS` steps, of the released configuration but for what `config` says."""
    keras.utils.set_random_seed(0)
    built = SIB(SIBConfig(feature_dim=feature_dim, num_steps=NUM_STEPS, **config))
    built.build()
    return built


def peer(feature_dim: int):
    """The released head in PyTorch, for `SPEC`, and its optimiser."""
    from benchmarks.speed import released_head

    head = released_head.ReleasedHead(SPEC.fixed_way(), feature_dim, NUM_STEPS, 1e-3)
    return head, released_head.optimizer(head)


def ours(table: np.ndarray, rows: EpisodeRows, cores: int | None = None, **config) -> Contestant:
    """The project's own compiled steps on `rows`, on so many `cores`; None: all."""
    steps, batch = rows.support.shape[:2]
    way = int(rows.support_labels.numpy().max()) + 1
    training = MetaTrainConfig(episodes=EpisodeSpec(way=way), batch_episodes=batch)
    trainer = Trainer(model(table.shape[1], way=way, **config), [table], training, cores)
    return Contestant(lambda: trainer.steps([rows]).numpy(), steps * batch)


def _floor(rows: EpisodeRows, feature_dim: int) -> Contestant:
    """The matrix products of the same steps, one episode after the other on as many cores as ours."""
    steps, batch, queries = rows.query.shape
    parts = MetaTrainConfig(batch_episodes=batch).parts(os.cpu_count())
    products = MatrixProducts(1, queries, SPEC.fixed_way(), feature_dim, NUM_STEPS, steps * batch // parts)
    together = tf.function(lambda: [products.steps(tf.constant(float(i))) for i in range(parts)])
    return Contestant(lambda: [total.numpy() for total in together()], steps * batch)


def _as_long(contestant: Contestant) -> Contestant:
    """Turns about as long as the peer's, so that the caches it left behind do not count more than the steps."""
    return Contestant(lambda: [contestant.run() for _ in range(_CALLS)], _CALLS * contestant.units)


def _peers(table: np.ndarray, rows: EpisodeRows) -> dict[str, Contestant]:
    """The released head in PyTorch, on one thread and on two; a quarter of the steps is long enough to time."""
    import torch

    from benchmarks.speed import released_head

    table, rows = torch.from_numpy(table), [torch.from_numpy(field.numpy()).long() for field in rows]
    steps = max(len(rows[0]) // 4, 1)

    def train(head, outer, threads):
        torch.set_num_threads(threads)
        for support, support_labels, _, query, query_labels, _ in zip(*(f[:steps] for f in rows), strict=True):
            released_head.train_step(head, outer, table[support], support_labels, table[query], query_labels)

    found = {}
    for threads in (1, 2):
        run = functools.partial(train, *peer(table.shape[1]), threads)
        found[f"{PEER}, {threads} thread{'s' * (threads > 1)}"] = Contestant(run, steps * rows[0].shape[1])
    return found
