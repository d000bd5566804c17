"""The curves over other query sets: the figures of the evaluations that they are made of."""

import numpy as np
import pytest

from sib_tf import evaluation
from sib_tf.config import EpisodeSpec, SIBConfig
from sib_tf.episodes import EpisodeSampler
from sib_tf.features import FeatureCache
from sib_tf.reports import query_sets
from sib_tf.sib import SIB


@pytest.fixture
def cache(tiny_features):
    return FeatureCache.open(tiny_features)


def test_points_are_the_evaluations_of_their_episodes(cache, monkeypatch, capsys):
    monkeypatch.setattr(query_sets, "ALPHAS", (0.5,))
    monkeypatch.setattr(query_sets, "TOTAL_QUERIES", (5,))
    model = SIB(SIBConfig(feature_dim=16, way=None, num_steps=1, gradient_network="per_class"))
    model.build()
    spec = EpisodeSpec(way=3, shot=2, query=4, query_distribution="dirichlet", balanced_fraction=0.5)
    curves = query_sets.measure(model, cache, "test", spec, episodes=20, seed=5)
    assert "few and many queries: 100%" in capsys.readouterr().err  # It may take minutes.
    table, prototypes = cache.table("test"), evaluation.prototypes(16, 3)
    variations = {
        0.5: {"query_distribution": "dirichlet", "dirichlet_alpha": 0.5},
        "balanced": {},
        5: {"total_query": 5},
    }
    points = [*curves["dirichlet_alpha"], *curves["total_query"]]
    assert [point["value"] for point in points] == list(variations)
    for point, fields in zip(points, variations.values(), strict=True):
        rows = EpisodeSampler(cache.labels("test"), EpisodeSpec(way=3, shot=2, query=4, **fields), 5).sample(20)
        found, baseline = (evaluation.Evaluator(rows)(m, table).accuracy[-1] for m in (model, prototypes))
        assert (point["accuracy"], point["ci95"]) == pytest.approx(evaluation.mean_and_ci95(found))
        assert point["baseline_accuracy"] == pytest.approx(baseline.mean())
        difference = point["difference"], point["difference_ci95"]
        assert difference == pytest.approx(evaluation.mean_and_ci95(found - baseline))


@pytest.mark.parametrize(
    ("shot", "query", "alphas", "queries"),
    [
        (2, 4, [*query_sets.ALPHAS, "balanced"], 12),
        # Classes have 24 pictures: of 15 queries for each of 3 classes and 2 shots, 7 are left, 21 in all.
        (2, 15, [*query_sets.ALPHAS, "balanced"], 21),
        (22, 1, [], None),
    ],
)
def test_query_sets_are_as_small_as_the_classes_need_or_left_out(cache, monkeypatch, shot, query, alphas, queries):
    """75 queries in all do not fit, whatever the shots."""
    some = evaluation.Evaluation(np.ones((1, 4)), np.ones(4), 0.0)
    monkeypatch.setattr(evaluation.Evaluator, "__call__", lambda *_: some)
    spec = EpisodeSpec(way=3, shot=shot, query=query)
    curves = query_sets.measure(None, cache, "test", spec, episodes=4, seed=5)
    assert [point["value"] for point in curves["dirichlet_alpha"]] == alphas
    assert {point["queries"] for point in curves["dirichlet_alpha"]} == ({queries} if queries else set())
    sizes = [point["value"] for point in curves["total_query"]]
    assert sizes == [point["queries"] for point in curves["total_query"]] == ([1, 5, 15] if shot == 2 else [1, 5])
