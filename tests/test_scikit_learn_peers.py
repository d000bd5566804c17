"""scikit-learn's classifiers as peers: the same as by hand, and what may move no result."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.semi_supervised import LabelSpreading
from test_peers import random_episode

from benchmarks.peers.scikit_learn import CLASSICAL
from sib_tf.episodes import Episode
from sib_tf.sib import MASKED_LOGIT

each_peer = pytest.mark.parametrize("name", CLASSICAL)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def part(episode: Episode, count: int = 3) -> Episode:
    return Episode(*(field[:count] for field in episode))


@each_peer
def test_it_is_better_than_chance(name):
    episode = random_episode()
    scores = CLASSICAL[name]()(episode, 4)
    assert scores.shape == (12, 9, 4)
    assert scores.dtype == np.float32
    assert (scores.argmax(-1) == episode.query_labels).mean() > 0.4


@pytest.mark.parametrize("dim", [6, 40])
def test_logistic_regression_is_that_of_the_whole_rows(dim):
    """Of 40 numbers the method takes as many as there are rows, 17."""
    episode, wide = part(random_episode()), np.random.RandomState(1).normal(size=(6, dim)).astype(np.float32)
    if dim > 6:
        episode = episode._replace(support=episode.support @ wide, query=episode.query @ wide)
    found = CLASSICAL["logistic_regression"]()(episode, 4)
    for i in range(3):
        model = LogisticRegression(class_weight="balanced").fit(unit(episode.support[i]), episode.support_labels[i])
        np.testing.assert_allclose(found[i], model.predict_log_proba(unit(episode.query[i])), atol=5e-3)


def test_label_spreading_is_that_of_the_whole_rows():
    episode = part(random_episode())
    found = CLASSICAL["label_spreading"]()(episode, 4)
    rows, labels = np.concatenate([episode.support, episode.query], axis=1), episode.support_labels
    for i in range(3):
        model = LabelSpreading(gamma=20).fit(unit(rows[i]), np.concatenate([labels[i], np.full(9, -1)]))
        np.testing.assert_allclose(np.exp(found[i]), model.label_distributions_[8:], atol=1e-5)


@each_peer
def test_padding_moves_nothing_and_classes_without_support_get_nothing(name):
    """One masked row more on each side, and a class that no row is of."""
    episode = part(random_episode())
    sides = []
    for rows, labels, mask in (episode[:3], episode[3:]):
        sides += [
            np.concatenate([rows, 9 * rows[:, :1]], axis=1),
            np.concatenate([labels, labels[:, :1]], axis=1),
            np.concatenate([mask, ~mask[:, :1]], axis=1),
        ]
    scores = CLASSICAL[name]()(Episode(*sides), 5)
    np.testing.assert_allclose(scores[:, :9, :4], CLASSICAL[name]()(episode, 4), atol=1e-4)
    np.testing.assert_array_equal(scores[..., 4], np.float32(MASKED_LOGIT))


@each_peer
def test_neither_order_nor_numbering_makes_a_difference(name):
    episode, numbers = part(random_episode()), np.array([2, 0, 3, 1])
    queries = np.random.RandomState(1).permutation(9)
    shuffled = episode._replace(
        query=episode.query[:, queries], support_labels=numbers[episode.support_labels].astype(np.int32)
    )
    found = CLASSICAL[name]()(shuffled, 4)[..., numbers]
    np.testing.assert_allclose(found, CLASSICAL[name]()(episode, 4)[:, queries], atol=2e-3)


@each_peer
def test_one_class_alone_takes_all(name):
    episode = part(random_episode())
    scores = CLASSICAL[name]()(episode._replace(support_labels=np.full_like(episode.support_labels, 2)), 4)
    assert (scores.argmax(-1) == 2).all()
