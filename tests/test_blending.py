"""The share of the steps' change that is kept: worked by hand, what it does not depend on, the model that has it."""

import dataclasses

import keras
import numpy as np
import pytest
from scipy.special import expit, softmax

from sib_tf.any_backbone.blending import EpisodeBlend
from sib_tf.any_backbone.normalization import Frame
from sib_tf.config import SIBConfig
from sib_tf.errors import InputError
from sib_tf.layers import unit_rows
from sib_tf.sib import SIB
from sib_tf.tasks import Task

WAY, DIM, SHOTS, QUERIES = 3, 6, 2, 9


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def drawn(seed=0):
    random = np.random.RandomState(seed)
    labels = np.repeat(np.arange(WAY), SHOTS)
    support, query, first, last = (
        random.normal(size=(1, n, DIM)).astype("f") for n in (len(labels), QUERIES, WAY, WAY)
    )
    return unit(support), labels, unit(query), first, last


def task_of(support, labels, query, context) -> Task:
    frame = Frame(support, query, np.zeros((1, 1, DIM), "f"), *np.ones((2, 1, 1, 1), "f"), context)
    membership = np.eye(WAY, dtype="f")[labels][None]
    return Task(unit_rows(support), membership, np.ones((1, WAY), bool), unit_rows(query), None, frame)


def test_hand_worked_share():
    support, labels, query, first, last = drawn()
    random = np.random.RandomState(1)
    context, kernel = random.normal(size=(1, 17)).astype("f"), random.normal(size=(24, 1)).astype("f")
    layer = EpisodeBlend()
    layer.build()
    layer.kept.kernel.assign(0.1 * kernel)
    found = layer(task_of(support, labels, query, context), first, last)
    share = QUERIES / (QUERIES + 10)

    def looked(theta):
        look = (query @ unit(theta).swapaxes(1, 2))[0].astype("d")
        joined = softmax(20 * look, axis=1)
        shares = joined.mean(0)
        own = softmax(20 * (support @ unit(theta).swapaxes(1, 2))[0], axis=1)[np.arange(len(labels)), labels].mean()
        return joined, share * 5 * (1 + (shares * np.log(shares)).sum() / np.log(WAY)), look.max(1).mean(), own

    (before, uneven0, near0, own0), (after, uneven1, near1, own1) = looked(first), looked(last)
    unsure = [-(each * np.log(each)).sum(1).mean() / np.log(WAY) for each in (before, after)]
    moved = 5 * share * np.abs(after.mean(0) - before.mean(0)).sum() / WAY
    changes = [uneven0, uneven1, *unsure, (before * after).sum(1).mean(), near0, near1, own0, own1, moved]
    read = np.concatenate([context[0], changes])
    hidden = np.maximum(read @ np.asarray(layer.hidden.kernel) + np.asarray(layer.hidden.bias), 0)
    np.testing.assert_allclose(np.ravel(found), expit(hidden @ (0.1 * kernel[:, 0]) + 2), atol=1e-5)


def model(**settings) -> SIB:
    keras.utils.set_random_seed(0)
    made = SIB(
        SIBConfig(
            feature_dim=None,
            way=None,
            gradient_network="per_class",
            inner_learning_rate=0.1,
            normalization="episode",
            **settings,
        )
    )
    made.build()
    return made


def test_the_last_classifier_lies_between_the_first_and_that_of_the_steps():
    support, labels, query, *_ = drawn()
    arguments = {"support": support, "support_labels": labels[None], "query": query, "way": WAY}
    whole, blended = model(), model(blend=True)
    for here, there in zip(whole.weights, [w for w in blended.weights if "blend" not in w.path], strict=True):
        there.assign(here)
    steps = [np.asarray(theta) for theta in whole.adapt(**arguments)[0]]
    for bias, share in ((0.0, expit(2.0)), (-40.0, 0.0), (40.0, 1.0)):
        blended.blend.kept.bias.assign([bias])
        path = [np.asarray(theta) for theta in blended.adapt(**arguments)[0]]
        for here, there in zip(steps[:-1], path[:-1], strict=True):
            np.testing.assert_array_equal(here, there)
        np.testing.assert_allclose(path[-1], steps[0] + share * (steps[-1] - steps[0]), atol=1e-6)


def test_padding_and_order_make_no_difference():
    support, labels, query, *_ = drawn()
    blended = model(blend=True)
    random = np.random.RandomState(2)
    for weight in blended.weights:
        weight.assign(weight + 0.1 * random.normal(size=weight.shape))
    expected = np.asarray(blended(support, labels[None], query, way=WAY))
    padded = np.concatenate([query, query[:, :2]], axis=1), np.arange(QUERIES + 2)[None] < QUERIES
    found = blended(support[:, ::-1], labels[None, ::-1], padded[0], query_mask=padded[1], way=WAY + 1)
    np.testing.assert_allclose(np.asarray(found)[:, :QUERIES, :WAY], expected, atol=2e-4)


def test_a_blend_needs_normalization():
    with pytest.raises(InputError, match="blend must be False without normalization"):
        SIBConfig(blend=True)
    assert dataclasses.replace(SIBConfig(normalization="episode"), blend=True).blend
