"""Sampling: what an episode may hold, that seeds decide all, and that the distributions are what they say."""

import numpy as np
import pytest
import tensorflow as tf

from sib_tf.config import EpisodeSpec
from sib_tf.episodes import Episode, EpisodeRows, EpisodeSampler, fingerprint, stream
from sib_tf.errors import InputError

# Uneven classes in mixed order: 30 classes of 40 to 69 pictures.
LABELS = np.random.RandomState(0).permutation(np.repeat(np.arange(30), np.arange(40, 70)))
SPECS = {
    "balanced": EpisodeSpec(),
    "dirichlet": EpisodeSpec(query_distribution="dirichlet", query=8),
    "tiny alpha": EpisodeSpec(query_distribution="dirichlet", dirichlet_alpha=1e-3, query=7),
    "ranges": EpisodeSpec(way=(2, 9), shot=(1, 5), query=(1, 6), query_distribution="dirichlet"),
    "mixture": EpisodeSpec(way=(2, 5), query=6, query_distribution="dirichlet", balanced_fraction=0.5),
    "one of each": EpisodeSpec(way=1, shot=1, query=1),
    "uneven": EpisodeSpec(way=(2, 9), shot=(1, 20), shot_distribution="uneven", query=6),
    "uneven, Dirichlet": EpisodeSpec(shot=(2, 30), shot_distribution="uneven", query_distribution="dirichlet", query=8),
}
each_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())


@each_spec
def test_an_episode_holds_what_its_specification_says_and_no_picture_twice(spec):
    rows = EpisodeSampler(LABELS, spec, seed=0).sample(150)
    assert rows.support.shape == (150, spec.max_support)
    assert rows.query.shape == (150, spec.max_query)
    for i in range(150):
        support, query = rows.support_mask[i], rows.query_mask[i]
        pictures = np.concatenate([rows.support[i][support], rows.query[i][query]])
        assert len(set(pictures)) == len(pictures)
        labels = np.concatenate([rows.support_labels[i][support], rows.query_labels[i][query]])
        pairs = set(zip(labels.tolist(), LABELS[pictures].tolist(), strict=True))
        shots = np.bincount(rows.support_labels[i][support])
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) == len(shots)
        assert spec.way[0] <= len(shots) <= spec.way[1]
        assert len(set(shots)) == 1 or spec.shot_distribution == "uneven"
        assert spec.shot[0] <= shots.min() <= shots.max() <= spec.shot[1]
        assert query.sum() % len(shots) == 0
        assert spec.query[0] <= query.sum() // len(shots) <= spec.query[1]


def test_ranges_are_drawn_evenly():
    rows = EpisodeSampler(LABELS, EpisodeSpec(way=(2, 5), shot=(1, 3), query=2), seed=2).sample(3000)
    ways = rows.support_labels.max(axis=1) + 1
    shots = rows.support_mask.sum(axis=1) // ways
    # Binomial standard deviation of a share of 1/4 (1/3) in 3,000 is 0.8 (0.9) points: six of them.
    np.testing.assert_allclose(np.bincount(ways)[2:] / 3000, 1 / 4, atol=0.05)
    np.testing.assert_allclose(np.bincount(shots)[1:] / 3000, 1 / 3, atol=0.05)


def test_balanced_is_balanced_and_every_picture_is_equally_likely():
    labels = np.repeat(np.arange(6), 10)
    rows = EpisodeSampler(labels, EpisodeSpec(way=3, shot=2, query=4), seed=3).sample(4000)
    assert (np.stack([(rows.query_labels == c).sum(axis=1) for c in range(3)]) == 4).all()
    for field, expected in ((rows.support, 4000 * 6 / 60), (rows.query, 4000 * 12 / 60)):
        counts = np.bincount(field.ravel(), minlength=60)
        np.testing.assert_allclose(counts, expected, rtol=0.25)


def shares(spec, pictures: int, count: int) -> np.ndarray:
    """`[count, 5]` class shares of the queries of 5-way episodes, from 10 classes of so many `pictures`."""
    rows = EpisodeSampler(np.repeat(np.arange(10), pictures), spec, seed=4).sample(count)
    return np.stack([(rows.query_labels == c).mean(axis=1) for c in range(5)], axis=1)


def test_dirichlet_shares_have_the_distribution_s_variance():
    """Var of one share of a symmetric Dirichlet over k classes: (1/k)(1 - 1/k) / (k alpha + 1)."""
    for alpha in (0.5, 2.0, 10.0):
        spec = EpisodeSpec(query_distribution="dirichlet", dirichlet_alpha=alpha, query=60)
        found = shares(spec, 600, 2000)
        np.testing.assert_allclose(found.mean(axis=0), 0.2, atol=0.02)
        np.testing.assert_allclose(found.var(), 0.2 * 0.8 / (5 * alpha + 1), rtol=0.08)


def test_a_range_of_alpha_is_drawn_from_uniformly_in_the_logarithm():
    spec = EpisodeSpec(query_distribution="dirichlet", dirichlet_alpha=(0.5, 8.0), query=60)
    alphas = 0.5 * 16 ** np.linspace(0, 1, 10001)
    np.testing.assert_allclose(shares(spec, 400, 4000).var(), (0.16 / (5 * alphas + 1)).mean(), rtol=0.05)
    assert spec.describe().endswith("Dirichlet(0.5-8)")
    pair, number = (EpisodeSpec(query_distribution="dirichlet", dirichlet_alpha=alpha) for alpha in ((2.0, 2.0), 2.0))
    found, expected = (fingerprint(EpisodeSampler(LABELS, spec, 1).sample(70)) for spec in (pair, number))
    assert found == expected


def test_dirichlet_gives_what_classes_lack_to_the_others():
    """Classes of 12 pictures, 11 of them free: totals hold although shares ask for more."""
    labels = np.repeat(np.arange(5), 12)
    spec = EpisodeSpec(query_distribution="dirichlet", dirichlet_alpha=0.1, query=10)
    rows = EpisodeSampler(labels, spec, seed=5).sample(200)
    assert (rows.query_mask.sum(axis=1) == 50).all()
    counts = np.stack([(rows.query_labels == c).sum(axis=1) for c in range(5)])
    assert counts.max() == 11


def test_few_shots_leave_more_pictures_for_queries_than_many():
    """One shot of 12 pictures leaves 11: with the 5 shots of other episodes, more than a class has."""
    spec = EpisodeSpec(shot=(1, 5), query=7, query_distribution="dirichlet", dirichlet_alpha=1e-3)
    rows = EpisodeSampler(np.repeat(np.arange(5), 12), spec, seed=0).sample(200)
    counts = np.stack([((rows.query_labels == c) & rows.query_mask).sum(axis=1) for c in range(5)])
    assert (rows.query_mask.sum(axis=1) == 35).all()
    assert counts.max() == 11


def test_query_order_tells_nothing():
    rows = EpisodeSampler(LABELS, EpisodeSpec(), seed=6).sample(2000)
    np.testing.assert_allclose(rows.query_labels.mean(axis=0), 2.0, atol=0.2)


def test_a_seed_gives_the_same_episodes_for_ever():
    """A recorded hash: if this changes, every published episode list changes with it."""
    labels = np.repeat(np.arange(20), 30)
    found, other = (fingerprint(EpisodeSampler(labels, SPECS["mixture"], seed).sample(100)) for seed in (7, 8))
    assert found == "8c5d24e0e44e5bd349f84950b5bc6164bcd4240a66e64465bc4cdf1c7f8c6428"
    assert found != other


@each_spec
def test_batch_size_and_start_make_no_difference(spec):
    sampler = EpisodeSampler(LABELS, spec, seed=9)
    whole = sampler.sample(200)
    assert fingerprint(sampler.sample(70, start=90)) == fingerprint(whole.part(90, 160))
    batches = sampler.batches(30, start=20)
    for first in (20, 50, 80):
        assert fingerprint(next(batches)) == fingerprint(whole.part(first, first + 30))


def test_stream_gives_the_same_episodes_as_sample():
    sampler = EpisodeSampler(LABELS, SPECS["ranges"], seed=10)
    batches = iter(stream(sampler, steps=3, batch_episodes=4, first_step=5))
    for first in (20, 32):
        found = EpisodeRows(*(field.numpy().reshape(12, -1) for field in next(batches)))
        assert fingerprint(found) == fingerprint(sampler.sample(12, start=first))


def test_the_end_of_a_stream_waits_for_no_tuner():
    """With its tuner on, letting go of a dataset took up to 20 seconds."""
    assert not stream(EpisodeSampler(LABELS, SPECS["ranges"], seed=10), 3, 4).options().autotune.enabled


def test_views_choose_other_rows_of_the_same_pictures():
    plain = EpisodeSampler(LABELS, EpisodeSpec(), seed=11).sample(64)
    seen = EpisodeSampler(LABELS, EpisodeSpec(), seed=11, views=4).sample(64)
    for name in ("support", "query"):
        rows = getattr(seen, name)
        assert rows.max() < 4 * len(LABELS)
        assert len(np.unique(rows // len(LABELS))) == 4
    pictures = np.concatenate([seen.support, seen.query], axis=1) % len(LABELS)
    assert all(len(set(p)) == len(p) for p in pictures)
    np.testing.assert_array_equal(seen.support % len(LABELS), plain.support)


def test_gather_takes_the_rows_of_the_table():
    table = np.arange(len(LABELS), dtype="f")[:, None] * [1, 10]
    rows = EpisodeSampler(LABELS, EpisodeSpec(), seed=12).sample(3)
    episode = rows.gather(tf.constant(table, tf.float32))
    assert type(episode) is Episode
    np.testing.assert_array_equal(episode.query, table[rows.query])


def test_small_classes_are_left_out():
    labels = np.concatenate([np.repeat(np.arange(5), 20), np.repeat(np.arange(5, 9), 3)])
    rows = EpisodeSampler(labels, EpisodeSpec(shot=5, query=15), seed=13).sample(50)
    assert labels[rows.query].max() == 4


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (EpisodeSpec(way=31), r"need 31 classes of at least 1 \+ 15 = 16 pictures; there are 30 such classes among 30"),
        (EpisodeSpec(shot=5, query=61), r"need 5 classes of at least 5 \+ 61 = 66 pictures; there are 4 such"),
        (EpisodeSpec(query_classes=1), r"need 5 classes of at least 1 \+ 75 = 76 pictures"),
        (EpisodeSpec(query=100), r"there are 0 such classes among 30, the largest of 69 pictures"),
    ],
)
def test_too_much_asked_says_what_there_is(spec, message):
    with pytest.raises(InputError, match=message):
        EpisodeSampler(LABELS, spec, seed=0)


def test_seed_out_of_range():
    with pytest.raises(InputError, match="seed must be in .* got -1"):
        EpisodeSampler(LABELS, EpisodeSpec(), seed=-1)
