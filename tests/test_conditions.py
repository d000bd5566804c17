"""The curves over other query sets: the figures of the evaluations that they are made of."""

import numpy as np
import pytest

from sib_tf import evaluation
from sib_tf.config import EpisodeSpec, SIBConfig
from sib_tf.episodes import EpisodeSampler
from sib_tf.features import FeatureCache
from sib_tf.reports import query_sets
from sib_tf.sib import SIB


@pytest.fixture(scope="module")
def measured(tiny_features):
    cache = FeatureCache.open(tiny_features)
    model = SIB(SIBConfig(feature_dim=16, way=None, num_steps=1, gradient_network="per_class"))
    model.build()
    spec = EpisodeSpec(way=3, shot=2, query=4, query_distribution="dirichlet", balanced_fraction=0.5)
    return cache, model, query_sets.measure(model, cache, "test", spec, episodes=20, seed=5)


def test_points_are_the_evaluations_of_their_episodes(measured):
    cache, model, curves = measured
    by_value = {name: {point["value"]: point for point in points} for name, points in curves.items()}
    cases = (
        (by_value["dirichlet_alpha"]["balanced"], EpisodeSpec(way=3, shot=2, query=4)),
        (
            by_value["dirichlet_alpha"][0.5],
            EpisodeSpec(way=3, shot=2, query=4, query_distribution="dirichlet", dirichlet_alpha=0.5),
        ),
        (by_value["total_query"][5], EpisodeSpec(way=3, shot=2, query=4, total_query=5)),
    )
    for point, spec in cases:
        evaluator = evaluation.Evaluator(EpisodeSampler(cache.labels("test"), spec, 5).sample(20))
        found = evaluator(model, cache.table("test")).accuracy[-1]
        baseline = evaluator(evaluation.prototypes(16, 3), cache.table("test")).accuracy[-1]
        assert (point["accuracy"], point["ci95"]) == pytest.approx(evaluation.mean_and_ci95(found))
        assert point["baseline_accuracy"] == pytest.approx(baseline.mean())
        assert (point["difference"], point["difference_ci95"]) == pytest.approx(
            evaluation.mean_and_ci95(found - baseline)
        )


def test_imbalanced_query_sets_are_as_small_as_the_classes_need(measured):
    """Classes have 24 pictures: of 15 queries for each of 3 classes and 2 shots, 7 are left, 21 in all."""
    cache, model, _ = measured
    spec = EpisodeSpec(way=3, shot=2, query=15)
    curves = query_sets.measure(model, cache, "test", spec, episodes=4, seed=5)
    assert [point["queries"] for point in curves["dirichlet_alpha"]] == [21] * (len(query_sets.ALPHAS) + 1)
    assert [point["queries"] for point in curves["total_query"]] == [1, 5, 15]
    few = EpisodeSpec(way=3, shot=22, query=1)
    assert query_sets.measure(model, cache, "test", few, episodes=4, seed=5)["dirichlet_alpha"] == []


def test_what_the_split_has_too_few_pictures_for_is_left_out(measured):
    """Classes have 24 pictures: 12 queries and 2 shots fit whatever the imbalance, 75 queries in all do not."""
    curves = measured[2]
    assert [point["value"] for point in curves["dirichlet_alpha"]] == [*query_sets.ALPHAS, "balanced"]
    assert [point["value"] for point in curves["total_query"]] == [1, 5, 15]
    assert all(np.isfinite(list(point.values())[1:]).all() for points in curves.values() for point in points)
