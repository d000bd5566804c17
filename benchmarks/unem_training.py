"""Trains the twenty numbers of UNEM on the validation episodes of a feature cache."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from benchmarks.peers import arrays, unem
from sib_tf.config import EpisodeSpec
from sib_tf.episodes import Episode, EpisodeSampler
from sib_tf.errors import InputError
from sib_tf.features import FeatureCache

LAYERS = 10
# Few and many shots and classes, balanced piles and uneven ones: one choice for all of them, as the head has.
_PILES = {"query_distribution": "dirichlet", "dirichlet_alpha": (0.3, 5.0), "balanced_fraction": 0.3, "total_query": 75}
SPECS = (
    *(EpisodeSpec(shot=shot, **_PILES) for shot in (1, (1, 5), (5, 20))),
    *(EpisodeSpec(way=(5, 15), shot=shot, **_PILES) for shot in (1, (5, 20))),
)
_EPISODES = 8
_START = 0.1


def trained(
    caches: Sequence[FeatureCache],
    steps: int,
    seed: int,
    normalizer: Callable[[Episode, int], Episode] | None = None,
    specs: Sequence[EpisodeSpec] = SPECS,
) -> unem.UNEM:
    """Trains by the queries' cross-entropy, as the authors do, with Adam on the logarithms of the temperatures.

    Args:
        caches: every step draws episodes from each, out of the validation classes.
        steps: of Adam.
        seed: of the episodes.
        normalizer: what rows pass through first, if anything (`benchmarks.unseen.normalizers`).
        specs: what episodes look like; every step draws 8 of each that a cache has classes and rows for.
    """
    logarithms = tf.Variable(np.full(LAYERS, np.log(_START)), dtype=tf.float32)
    balances = tf.Variable(np.full(LAYERS, _START), dtype=tf.float32)
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.05, steps))
    optimizer.build([logarithms, balances])

    @tf.function(autograph=False, reduce_retracing=True)
    def step(episode, way):
        if normalizer is not None:
            episode = normalizer(episode, way)
        with tf.GradientTape() as tape:
            loss = _loss(episode, way, tf.unstack(tf.exp(logarithms)), tf.unstack(balances))
        gradients = tape.gradient(loss, [logarithms, balances])
        return loss, gradients

    lists = [
        (cache.table("validation"), sampler.batches(_EPISODES), sampler.spec)
        for cache in caches
        for sampler in _samplers(cache, specs, seed)
    ]
    for _ in tqdm(range(steps), desc="UNEM"):
        totals = []
        for table, batches, spec in lists:
            rows = next(batches)
            episode = Episode(*rows)._replace(support=table[rows.support], query=table[rows.query])
            totals.append(step(Episode(*map(tf.constant, episode)), spec.way[1])[1])
        optimizer.apply([tf.reduce_mean(tf.stack(parts), axis=0) for parts in zip(*totals, strict=True)])
    temperatures = np.exp(logarithms.numpy())
    return unem.UNEM(*(tuple(float(f"{number:.4g}") for number in each) for each in (temperatures, balances.numpy())))


def _samplers(cache: FeatureCache, specs: Sequence[EpisodeSpec], seed: int) -> list[EpisodeSampler]:
    """Samplers of those `specs` that the validation classes go round for; an InputError if there are none."""
    found, refused = [], None
    for spec in specs:
        try:
            found.append(EpisodeSampler(cache.labels("validation"), spec, seed))
        except InputError as error:
            refused = error
    if not found:
        raise refused
    return found


def _loss(episode: Episode, way: int, temperatures, balances) -> tf.Tensor:
    """Mean cross-entropy of the queries of a batch of episodes; a scalar."""
    task = unem.UNEM().task(episode, way, tf.zeros(tf.shape(episode.support)[-1:]))
    scores = arrays.hide(unem.unrolled(task, temperatures, balances), task.classes)
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(episode.query_labels, scores) * task.query_weights[..., 0]
    return tf.reduce_sum(loss) / tf.reduce_sum(task.query_weights)
