"""Steps that take classes for one another: worked by hand, what it does not depend on, and the heads that ship."""

import numpy as np
import pytest
from scipy.special import logsumexp
from test_blending import model, unit

from sib_tf import checkpoints, heads
from sib_tf.any_backbone.straying import astray
from sib_tf.episodes import Episode
from sib_tf.layers import unit_rows
from sib_tf.tasks import Task

# Four classes along four axes, five queries near each.
CENTRES = np.eye(4, 6, dtype="f")[None]
QUERIES = unit(np.repeat(CENTRES, 5, axis=1) + 0.1 * np.random.RandomState(0).normal(size=(1, 20, 6)).astype("f"))


def task_of(query, classes: int = 4, padding: int = 0, query_mask=None) -> Task:
    """One labelled row of each class, at its centre."""
    membership = np.eye(classes, classes + padding, dtype="f")[None]
    return Task(unit_rows(CENTRES[:, :classes]), membership, membership.any(1), unit_rows(query), query_mask, None)


def last(*order: int) -> np.ndarray:
    """theta^K whose class i lies where theta^0 had class `order[i]`."""
    return 3 * CENTRES[:, list(order)]


@pytest.mark.parametrize(
    ("order", "expected"),
    # Of 20 queries 0, 10, 15 and 20 move; chance moves 15, nine tenths of which are 13.5.
    [((0, 1, 2, 3), False), ((1, 0, 2, 3), False), ((1, 2, 0, 3), True), ((1, 2, 3, 0), True)],
)
def test_steps_that_move_as_many_queries_as_chance_are_astray(order, expected):
    found = np.asarray(astray(task_of(QUERIES), CENTRES, last(*order)))
    assert found.shape == (1, 1, 1)
    assert found.item() is expected


def test_masked_queries_do_not_count():
    """Of the 15 that are left ten, five of them, or all move; chance moves 11.25, nine tenths of which are 10.1."""
    task = task_of(QUERIES, query_mask=np.arange(20)[None] < 15)
    for order, expected in (((1, 0, 2, 3), False), ((0, 1, 3, 2), False), ((1, 2, 0, 3), True)):
        assert np.asarray(astray(task, CENTRES, last(*order))).item() is expected


def test_without_queries_nothing_is_astray():
    task = task_of(QUERIES, query_mask=np.zeros((1, 20), bool))
    assert not np.asarray(astray(task, CENTRES, last(1, 2, 3, 0))).item()


def test_padded_classes_are_nobodys_and_do_not_count():
    """Two classes: chance moves half. The third has no labelled row."""
    task = task_of(QUERIES[:, :10], classes=2, padding=1)
    for order, expected in (((0, 1, 2), False), ((1, 0, 2), True)):
        assert np.asarray(astray(task, CENTRES[:, :3], last(*order))).item() is expected


def crossing(size: float):
    """A model whose one step pushes every query on to the next class."""
    queries = np.repeat(np.arange(4), 5)
    pushed = np.eye(4, dtype="f")[queries] - np.eye(4, dtype="f")[(queries + 1) % 4]
    made = model(num_steps=1)
    made.gradient_networks[0] = lambda *_: size * pushed[None]
    return made


LABELS = np.arange(4, dtype="i")[None]


def test_the_model_then_has_the_classifier_that_it_began_with():
    """Steps that push a little and far."""
    kept = []
    for size in (0.01, 1e3):
        first, last = (np.asarray(theta) for theta in crossing(size).adapt(CENTRES, LABELS, QUERIES, way=4)[0])
        kept.append(np.abs(last - first).max())
    assert kept[0] > 1e-4
    assert kept[1] == 0


def test_training_sees_steps_that_went_astray_as_they_went():
    """Of a loss under theta^0 nothing would learn to take other steps."""
    queries, all_rows = np.repeat(np.arange(4, dtype="i"), 5)[None], np.ones((1, 20), bool)
    episode = Episode(CENTRES, LABELS, np.ones((1, 4), bool), QUERIES, queries, all_rows)
    made = crossing(1e3)
    right = np.asarray(made(CENTRES, LABELS, QUERIES, way=4)).argmax(-1) == queries
    last = made.adapt(CENTRES, LABELS, QUERIES, way=4, guarded=False)[0][-1]
    wrong = np.asarray(made.classify(last, QUERIES))
    assert right.all()
    assert (wrong.argmax(-1) == (queries + 1) % 4).all()
    expected = logsumexp(wrong, axis=-1) - wrong[0, np.arange(20), queries[0]]
    np.testing.assert_allclose(made.outer_loss(episode, way=4), expected.mean(), rtol=1e-5)
    assert expected.mean() > 1


def far_apart(queries: int, shots: int, noise: float, episodes: int = 100):
    """Two classes at random in 64 dimensions: support, its labels, queries, and theirs."""
    random = np.random.RandomState(0)
    rows = random.normal(size=(episodes, 2, 1, 64)) + noise * random.normal(size=(episodes, 2, shots + queries, 64))
    support, query = (part.reshape(episodes, -1, 64).astype("f") for part in np.split(rows, [shots], axis=2))
    labels = np.repeat(np.arange(2, dtype="i"), shots)
    return support, np.tile(labels, (episodes, 1)), query, np.repeat(np.arange(2), queries)


@pytest.mark.parametrize("name", heads.NAMES)
@pytest.mark.parametrize("queries", [1, 5, 40])
@pytest.mark.parametrize("shots", [1, 2])
@pytest.mark.parametrize("noise", [0.2, 0.5])
def test_two_classes_that_are_far_apart_are_not_taken_for_one_another(name, queries, shots, noise):
    """Without the rule, heads of few training episodes of two classes had 1 % right with one label, 5 and 0.2."""
    support, labels, query, truth = far_apart(queries, shots, noise)
    head = checkpoints.load_model(heads.folder(name) / "best.keras")
    accuracy = (np.asarray(head(support, labels, query, way=2)).argmax(-1) == truth).mean(axis=1)
    assert accuracy.min() >= 0.5
    assert accuracy.mean() >= 0.95
