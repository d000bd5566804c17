"""The centre that an episode chooses: worked by hand, what it does not depend on, and the model that has it."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit, softmax

from sib_tf.any_backbone.normalization import EpisodeNormalizer
from sib_tf.config import SIBConfig
from sib_tf.episodes import Episode
from sib_tf.layers import classifier_gradient, unit_rows
from sib_tf.sib import SIB
from sib_tf.tasks import Task

WAY, DIM = 3, 6
GATES = np.array([0.3, 0.4, -0.2, -0.5, 0.1, 0.6])
START = np.array([0.0, -1.0, -1.0, -3.0, 0.0, 2.0])


def drawn(queries=7, way=WAY, shots=(1, 2, 3), dim=DIM, seed=0) -> Episode:
    random = np.random.RandomState(seed)
    centres = 2 + random.normal(size=(way, dim))
    labels = np.repeat(np.arange(way), shots[:way])[None].astype("i")
    of_query = random.randint(way, size=(1, queries)).astype("i")

    def rows(of):
        return (centres[of] + 0.7 * random.normal(size=(*of.shape, dim))).astype("f")

    return Episode(rows(labels), labels, np.ones(labels.shape, bool), rows(of_query), of_query, of_query >= 0)


@functools.cache
def model() -> SIB:
    """A model whose every parameter was moved away from its start; not to be changed."""
    keras.utils.set_random_seed(0)
    settings = {"gradient_network": "per_class", "way": None, "inner_learning_rate": 5e-3, "normalization": "episode"}
    made = SIB(SIBConfig(feature_dim=None, support_gradient=True, **settings))
    made.build()
    random = np.random.RandomState(1)
    for weight in made.trainable_variables:
        weight.assign(weight + 0.1 * random.normal(size=weight.shape))
    return made


def logits(e: Episode, way=WAY) -> np.ndarray:
    return np.asarray(model()(e.support, e.support_labels, e.query, e.support_mask, e.query_mask, way=way))


def unit(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def test_hand_worked_frame():
    e = drawn()
    layer = EpisodeNormalizer()
    layer.build()
    layer.gates.bias.assign(GATES)
    found = layer(e.support, np.eye(WAY, dtype="f")[e.support_labels], e.query)
    support, query = (unit(rows[0].astype("d")) for rows in (e.support, e.query))
    members = np.eye(WAY)[e.support_labels[0]]
    counts, n = members.sum(0)[:, None], len(query)
    means = members.T @ support / counts
    of_support, of_query, share = means.mean(0), query.mean(0), n / (n + 10)
    middle = of_support + 0.5 * share * (of_query - of_support)
    joined = softmax(40 * unit(query - middle) @ unit(means - middle).T, axis=1)
    refined = ((counts * means + joined.T @ query) / (counts + joined.sum(0)[:, None])).mean(0)
    a, b, c, own, _, trust = expit(GATES + START)
    common = a * of_support + share * (b * (of_query - of_support) + c * (refined - of_support))
    centre = common + own * share * (of_query - common)
    np.testing.assert_allclose(found.centre[0, 0], centre, atol=1e-5)
    of_rows = common + own * (of_support - common)
    np.testing.assert_allclose(found.support[0], unit(support - of_rows), atol=2e-5)
    np.testing.assert_allclose(found.query[0], unit(query - centre), atol=2e-5)
    np.testing.assert_allclose(np.ravel(found.scale), np.exp(0.1), atol=1e-6)
    np.testing.assert_allclose(np.ravel(found.trust), trust, atol=1e-6)


def padded(rows, value):
    return np.concatenate([rows, np.full((1, 2, *rows.shape[2:]), value, rows.dtype)], 1)


def rotated(e: Episode) -> Episode:
    turn = np.linalg.qr(np.random.RandomState(2).normal(size=(DIM, DIM)))[0].astype("f")
    return e._replace(support=e.support @ turn, query=e.query @ turn)


def lengthened(e: Episode) -> Episode:
    longer = [np.pad(rows, ((0, 0), (0, 0), (0, 5))) for rows in (e.support, e.query)]
    return e._replace(support=longer[0], query=longer[1])


def with_padding(e: Episode) -> Episode:
    return Episode(*(padded(part, value) for part, value in zip(e, (3.0, 0, False, 3.0, 0, False), strict=True)))


@pytest.mark.parametrize(
    "change",
    [
        lambda e: e._replace(support=e.support[:, ::-1], support_labels=e.support_labels[:, ::-1]),
        lambda e: e._replace(support=3.5 * e.support, query=0.2 * e.query),
        rotated,
        lengthened,
        with_padding,
    ],
    ids=["order of rows", "scale", "rotation", "zeros behind", "padded rows"],
)
def test_does_not_depend_on(change):
    e = drawn()
    found = logits(change(e))[:, : e.query.shape[1]]
    np.testing.assert_allclose(found, logits(e), atol=2e-4)


def test_classes_and_queries_in_any_order_and_padded_classes():
    e, order = drawn(), np.array([2, 0, 1])
    expected = logits(e)
    relabelled = e._replace(support_labels=np.argsort(order)[e.support_labels].astype("i"))
    np.testing.assert_allclose(logits(relabelled), expected[..., order], atol=2e-4)
    np.testing.assert_allclose(logits(e._replace(query=e.query[:, ::-1])), expected[:, ::-1], atol=2e-4)
    np.testing.assert_allclose(logits(e, WAY + 2)[..., :WAY], expected, atol=2e-4)


@pytest.mark.parametrize("case", ["one query", "no queries", "one class", "zero rows"])
def test_finite_and_so_is_the_gradient(case):
    e = drawn(queries=1 if case == "one query" else 7, way=1 if case == "one class" else WAY)
    if case == "no queries":
        e = e._replace(query_mask=np.zeros_like(e.query_mask))
    if case == "zero rows":
        e = e._replace(support=0 * e.support, query=0 * e.query)
    way = 1 if case == "one class" else WAY
    with tf.GradientTape() as tape:
        loss = model().outer_loss(Episode(*map(tf.constant, e)), way)
    gradients = tape.gradient(loss, model().trainable_variables)
    assert np.isfinite(logits(e, way)).all() and np.isfinite(loss)
    assert all(np.isfinite(gradient).all() for gradient in gradients if gradient is not None)


def test_every_weight_is_trained():
    with tf.GradientTape() as tape:
        loss = model().outer_loss(Episode(*map(tf.constant, drawn())), WAY)
    weights = model().trainable_variables
    for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
        if "logit_bias" in weight.path:
            continue  # The same for every class: a softmax does not see it.
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 1e-9, weight.path


@pytest.mark.parametrize("jit_compile", [False, True])
def test_compiled(jit_compile):
    e = drawn()
    compiled = tf.function(lambda *parts: model()(*parts, way=WAY), jit_compile=jit_compile)
    found = compiled(e.support, e.support_labels, e.query, e.support_mask, e.query_mask)
    np.testing.assert_allclose(found, logits(e), atol=2e-4)


def test_all_ways_to_logits_agree():
    e = drawn()
    path, class_mask = model().adapt(*e[:2], e.query, e.support_mask, e.query_mask, WAY)
    expected = logits(e)
    assert path[-1].shape == (1, WAY, 2 * DIM)
    np.testing.assert_allclose(model().classify(path[-1], e.query, class_mask), expected, atol=1e-5)
    multiple = np.concatenate([3 * np.asarray(path[-1])[..., :DIM], np.asarray(path[-1])[..., DIM:]], -1)
    np.testing.assert_allclose(model().weights_logits(multiple, e.query, class_mask), expected, atol=1e-4)
    bound = model().bound(DIM)
    found = bound(*e[:2], e.query, e.support_mask, e.query_mask, way=WAY)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_support_gradient_is_averaged_over_the_shots_of_a_class():
    """Finite differences of the sum over classes of the mean cross-entropy of their 1 and 3 labelled rows."""
    random = np.random.RandomState(3)
    labels = np.array([0, 1, 1, 1])
    rows, weights = random.normal(size=(4, DIM)), unit(random.normal(size=(2, DIM)))
    head = SIB(SIBConfig(feature_dim=DIM, way=2, gradient_network="per_class", support_gradient=True))
    head.build()

    def loss(w):
        seen = 10.0 * unit(rows) @ unit(w).T
        each = np.log(np.exp(seen).sum(1)) - seen[np.arange(4), labels]
        return each[0] + each[1:].mean()

    task = _task(head, rows, labels)
    theta = tf.constant(weights[None], "float32")
    found = classifier_gradient(theta, task.support, head._support_gradient(theta, task), head.logit_scale)[0]
    expected = np.zeros_like(weights)
    for place in np.ndindex(weights.shape):
        step = np.zeros_like(weights)
        step[place] = 1e-5
        expected[place] = (loss(weights + step) - loss(weights - step)) / 2e-5
    np.testing.assert_allclose(found, expected, atol=2e-4)
    assert np.abs(expected).max() > 0.1


def _task(head, rows, labels):
    support = unit_rows(tf.constant(rows[None], "float32"))
    membership = tf.one_hot(labels[None], 2)
    return Task(support, membership, tf.ones((1, 2), bool), support, None, None)
