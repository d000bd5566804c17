"""Properties of the head, `sib_tf.sib.SIB`, on batches of generated episodes.

In float32, as it is used: finite numbers from finite features whatever they are, padding and neighbours without any
trace (bit by bit), no probability for a class without labelled pictures. In float64, where rounding is not amplified
into answers: the order of queries and the names of classes move nothing but themselves, and neither does room for more.
Where a property does not hold, there is an AssertionError.
"""

import functools

import keras
import numpy as np
import tensorflow as tf

from fuzz import recipes
from sib_tf.config import SIBConfig
from sib_tf.episodes import Episode
from sib_tf.sib import MASKED_LOGIT, SIB

DIM, BATCH = 16, 16
KINDS = {
    "per_class": {"gradient_network": "per_class"},
    "joint": {"gradient_network": "joint"},
    "support_gradient": {"gradient_network": "per_class", "support_gradient": True, "separate_steps": True},
    "shrunk_mean": {"gradient_network": "per_class", "step_reduction": "shrunk_mean", "inner_learning_rate": 0.1},
    "prior": {"gradient_network": "per_class", "prior": "gaussian", "kl_weight": 0.5},
    "posterior": {"gradient_network": "per_class", "prior": "gaussian", "posterior": "gaussian"},
}
# Of logits in float64. A single query's statistics enlarge rounding a hundred thousand times, in each of three steps.
TOLERANCE = 1e-4
# Shorter weights of theta^0 are a sum that cancelled: what is left of it has the direction of the rounding.
_CANCELLED = 1e-3


class Head:
    """A model of one of `KINDS` in float32 and float64 with the same weights, moved away from their initial values."""

    def __init__(self, kind: str, seed: int = 0):
        self.kind = kind
        model, precise = _build(kind, seed, "float32"), _build(kind, seed, "float64")
        for single, double in zip(model.variables, precise.variables, strict=True):
            double.assign(single.numpy().astype(np.float64))
        self.needs_all = model.config.fixed_way is not None
        self._run, self._run_precise = _compiled(model), _compiled(precise)

    def check(self, chosen: list[recipes.Recipe]) -> None:
        """Checks all properties on one batch."""
        episodes = recipes.batch(chosen, DIM)
        path, logits = self._run(episodes)
        self._check_finite(episodes, path, logits)
        self._check_padding(chosen, episodes, path, logits)
        self._check_neighbours(episodes, logits)
        self._check_symmetries(chosen, episodes)

    def _check_finite(self, episodes: Episode, path, logits) -> None:
        assert np.isfinite(path).all(), "theta is finite"
        assert np.isfinite(logits).all(), "logits are finite"
        present = recipes.present(episodes.support_labels, episodes.support_mask)[:, None, None]
        assert (logits[~np.broadcast_to(present, logits.shape)] == np.float32(MASKED_LOGIT)).all(), "absent: masked"
        assert (logits[np.broadcast_to(present, logits.shape)] > 0.5 * MASKED_LOGIT).all(), "present: not masked"

    def _check_padding(self, chosen, episodes, path, logits) -> None:
        other_path, other_logits = self._run(recipes.batch(chosen, DIM, noise=1))
        np.testing.assert_array_equal(other_path, path, "padding moves no weight")
        rows = np.broadcast_to(episodes.query_mask[:, None, :, None], logits.shape)
        np.testing.assert_array_equal(other_logits[rows], logits[rows], "padding moves no logit")

    def _check_neighbours(self, episodes: Episode, logits) -> None:
        """Every other episode gives way to its neighbour; the rest stay where they are, and what they are."""
        kept = np.arange(BATCH) // 2 * 2
        _, found = self._run(Episode(*(field[kept] for field in episodes)))
        np.testing.assert_array_equal(found[::2], logits[::2], "a neighbour moves no logit")

    def _check_symmetries(self, chosen: list[recipes.Recipe], episodes: Episode) -> None:
        path, logits = self._run_precise(episodes)
        absent = ~recipes.present(episodes.support_labels, episodes.support_mask)
        whole = np.linalg.norm(path[:, 0, :, :DIM], axis=-1) > _CANCELLED
        fair = (whole | absent).all(axis=1) & [recipe.distinct for recipe in chosen]
        order = np.random.RandomState(chosen[0].seed).permutation(recipes.QUERIES)
        shuffled = episodes._replace(query=episodes.query[:, order], query_mask=episodes.query_mask[:, order])
        found, expected = self._run_precise(shuffled)[1], logits[:, :, order]
        rows = np.broadcast_to((shuffled.query_mask & fair[:, None])[:, None, :, None], expected.shape)
        np.testing.assert_allclose(found[rows], expected[rows], rtol=0, atol=TOLERANCE, err_msg="the order of queries")
        if self.needs_all:
            return
        # The same episodes with other class numbers and in more room. Samples of a posterior belong to class numbers.
        names = np.arange(recipes.WAY) if self.kind == "posterior" else order[order < recipes.WAY]
        wide = recipes.batch(chosen, DIM, support_rows=2 * recipes.WAY * recipes.SHOTS, query_rows=recipes.QUERIES + 7)
        renamed = wide._replace(support_labels=names[wide.support_labels].astype(np.int32))
        found = self._run_precise(renamed, recipes.WAY + 2)[1]
        assert (found[..., recipes.WAY :] == MASKED_LOGIT).all(), "classes that there are not"
        for i in np.flatnonzero(fair):
            expected = logits[i][:, episodes.query_mask[i]]
            np.testing.assert_allclose(
                found[i][:, wide.query_mask[i]][..., names], expected, rtol=0, atol=TOLERANCE, err_msg="names and room"
            )


def _build(kind: str, seed: int, dtype: str) -> SIB:
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        keras.utils.set_random_seed(seed)
        settings = {"inner_learning_rate": 5e-3, **KINDS[kind]}
        model = SIB(SIBConfig(feature_dim=DIM, way=recipes.WAY, **settings))
        model.build()
    finally:
        keras.config.set_dtype_policy(previous)
    random = np.random.RandomState(seed)
    for variable in model.trainable_variables:
        variable.assign(variable + 0.1 * random.normal(size=variable.shape))
    return model


def _compiled(model: SIB):
    @functools.partial(tf.function, jit_compile=True, autograph=False)
    def run(episodes, way):
        support, labels, support_mask, query, _, query_mask = episodes
        support, query = tf.cast(support, model.compute_dtype), tf.cast(query, model.compute_dtype)
        path, class_mask = model.adapt(support, labels, query, support_mask, query_mask, way)
        logits = [model.classify(theta, query, class_mask) for theta in path]
        return tf.stack(path, axis=1), tf.stack(logits, axis=1)

    return lambda episodes, way=recipes.WAY: [value.numpy() for value in run(episodes, way)]
