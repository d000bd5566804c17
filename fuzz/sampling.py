"""Properties of the episode sampler, over specifications and splits; an AssertionError where one does not hold."""

import dataclasses

import numpy as np
from hypothesis import strategies as st

from sib_tf.config import EpisodeSpec
from sib_tf.episodes import EpisodeSampler, fingerprint
from sib_tf.errors import InputError

EPISODES = 70  # More than a block of the sampler's.


def ranges(most: int):
    """The strategy of (low, high), both in [1, most]."""
    return st.tuples(st.integers(1, most), st.integers(1, most)).map(lambda pair: tuple(sorted(pair)))


@st.composite
def specs(draw) -> EpisodeSpec:
    """The strategy of specifications that are valid; splits may be too small for them."""
    way = draw(ranges(6))
    return EpisodeSpec(
        way=way,
        shot=draw(ranges(4)),
        query=draw(ranges(6)),
        query_distribution=draw(st.sampled_from(("balanced", "dirichlet"))),
        dirichlet_alpha=draw(st.sampled_from((1e-3, 0.5, 2.0, 1e6, (0.1, 10.0)))),
        balanced_fraction=draw(st.sampled_from((0.0, 0.5, 1.0))),
        total_query=draw(st.none() | st.integers(1, 20)),
        query_classes=draw(st.none() | st.integers(1, way[0])),
        shot_distribution=draw(st.sampled_from(("even", "uneven"))),
        flipped_labels=draw(st.sampled_from((0.0, 0.2, 0.9))),
    )


# Pictures of every class; classes of none do not exist, and those of few are left out.
splits = st.lists(st.integers(0, 40), min_size=1, max_size=12)


def check(spec: EpisodeSpec, sizes: list[int], seed: int) -> None:
    """Draws episodes, unless the split is too small and the sampler says so."""
    labels = np.random.RandomState(seed % 2**32).permutation(np.repeat(np.arange(len(sizes)) * 7 - 3, sizes))
    needed = spec.shot[1] + spec.max_query_per_class
    try:
        sampler = EpisodeSampler(labels, spec, seed)
    except InputError as error:
        assert str(error).startswith("way=") and sum(size >= needed for size in sizes) < spec.way[1], error
        return
    rows = sampler.sample(EPISODES)
    assert fingerprint(rows.part(3, 9)) == fingerprint(sampler.sample(6, start=3)), "where one starts does not matter"
    again = EpisodeSampler(labels, spec, seed).sample(EPISODES)
    assert fingerprint(rows) == fingerprint(again), "a seed gives the same episodes"
    assert rows.support.shape[1] == spec.max_support and rows.query.shape[1] == spec.max_query, "shapes"
    right = EpisodeSampler(labels, dataclasses.replace(spec, flipped_labels=0.0), seed).sample(EPISODES)
    for i in range(EPISODES):
        _check_episode(labels, spec, *(field[i] for field in right))
        _check_flips(spec, rows.support_labels[i], right.support_labels[i], right.support_mask[i])
    for name in rows._fields:
        same = np.array_equal(getattr(rows, name), getattr(right, name))
        assert same or (name == "support_labels" and spec.flipped_labels), "flips change labels of the support alone"


def _check_flips(spec, given, right, mask) -> None:
    assert set(given[mask]) <= set(right[mask]), "a wrong label is that of another class of the episode"
    assert set(right[mask & (given == right)]) == set(right[mask]), "one of each class has its own label"
    assert spec.flipped_labels or np.array_equal(given, right), "none is wrong that was not asked to be"


def _check_episode(labels, spec, support, support_labels, support_mask, query, query_labels, query_mask) -> None:
    pictures = np.concatenate([support[support_mask], query[query_mask]])
    numbers = np.concatenate([support_labels[support_mask], query_labels[query_mask]])
    assert len(np.unique(pictures)) == len(pictures), "no picture is twice in an episode"
    shots = np.bincount(support_labels[support_mask])
    way = len(shots)
    assert spec.way[0] <= way <= spec.way[1], "way"
    assert spec.shot[0] <= shots.min() and shots.max() <= spec.shot[1], "shots"
    assert len(set(shots)) == 1 or spec.shot_distribution == "uneven", "even shots"
    pairs = set(zip(numbers.tolist(), labels[pictures].tolist(), strict=True))
    assert len(pairs) == way == len({label for _, label in pairs}), "a class has one number, and a number one class"
    total = query_mask.sum()
    if spec.total_query:
        assert total == spec.total_query, "as many queries as asked for"
    else:
        assert total % way == 0 and spec.query[0] <= total // way <= spec.query[1], "queries a class, on average"
    counts = np.sort(np.bincount(query_labels[query_mask], minlength=way))[::-1]
    classes = spec.query_classes or way
    assert not counts[classes:].any(), "classes that have queries"
    if spec.query_distribution == "balanced":
        assert counts[0] - counts[:classes].min() <= 1, "as even as it goes"
