"""Virtual backbones and gaps: the same draws however a batch is shared out, what they change, and what they leave."""

import numpy as np
import pytest
import tensorflow as tf

from sib_tf.any_backbone.virtual_backbones import Draws, of_length, seen_through
from sib_tf.episodes import Episode

SEED = tf.constant([3, 5], tf.int32)


def drawn(episodes=6, zero=False) -> Episode:
    random = np.random.RandomState(0)
    support, query = (random.normal(size=(episodes, rows, 8)).astype("f") * (not zero) for rows in (4, 9))

    def labels(rows):
        return tf.zeros((episodes, rows), tf.int32), tf.ones((episodes, rows), bool)

    return Episode(tf.constant(support), *labels(4), tf.constant(query), *labels(9))


def part(e: Episode, first, count) -> Episode:
    return Episode(*(each[first : first + count] for each in e))


@pytest.mark.parametrize("parts", [2, 3, 6])
def test_same_however_a_batch_is_shared_out(parts):
    e, count = drawn(), 6 // parts
    whole = seen_through(e, Draws(SEED, 6, 0, 6), 0.7, 0.7)
    found = [seen_through(part(e, i, count), Draws(SEED, 6, i, count), 0.7, 0.7) for i in range(0, 6, count)]
    for name in ("support", "query"):
        together = np.concatenate([getattr(each, name) for each in found])
        np.testing.assert_allclose(together, getattr(whole, name), atol=1e-5)


def test_without_a_share_only_the_scale_changes():
    e = drawn()
    found = seen_through(e, Draws(SEED, 6, 0, 6), 0.0, 0.0)
    factors = [np.asarray(new) / np.asarray(old) for new, old in ((found.support, e.support), (found.query, e.query))]
    factor = np.concatenate(factors, 1)
    np.testing.assert_allclose(factor, np.broadcast_to(factor[:, :1, :1], factor.shape), rtol=1e-5)
    assert found.support_labels is e.support_labels


def test_gaps_change_the_unlabelled_rows_alone():
    plain, found = (seen_through(drawn(), Draws(SEED, 6, 0, 6), 0.5, gaps) for gaps in (0.0, 1.0))
    np.testing.assert_array_equal(found.support, plain.support)
    assert (np.abs(np.asarray(found.query) - np.asarray(plain.query)).max((1, 2)) > 1e-2).all()


def test_finite_for_rows_of_zeros():
    found = seen_through(drawn(zero=True), Draws(SEED, 6, 0, 6), 1.0, 1.0)
    assert np.isfinite(found.support).all() and np.isfinite(found.query).all()


def test_shorter_features_are_padded_and_longer_ones_keep_their_cosines():
    table = np.random.RandomState(1).normal(size=(60, 700)).astype("f")
    padded = of_length(table, 704, seed=0)
    np.testing.assert_array_equal(padded[:, :700], table)
    assert padded.shape == (60, 704) and not padded[:, 700:].any()
    short = of_length(table, 400, seed=0)

    def cosines(rows):
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return (rows @ rows.T)[np.triu_indices(60, 1)]

    error = cosines(short) - cosines(table)
    assert short.dtype == np.float32 and error.std() < 1.1 * 400**-0.5 and np.abs(error).max() < 5 * 400**-0.5
    np.testing.assert_array_equal(short, of_length(table, 400, seed=0))
