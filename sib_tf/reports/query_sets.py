"""Accuracy where query sets are imbalanced, small or large: the curves of a report."""

import dataclasses

import numpy as np
from tqdm import tqdm

from sib_tf import evaluation
from sib_tf.config import EpisodeSpec
from sib_tf.episodes import EpisodeSampler
from sib_tf.errors import InputError
from sib_tf.features import FeatureCache
from sib_tf.sib import SIB

ALPHAS = (0.2, 0.5, 1.0, 2.0, 5.0)
TOTAL_QUERIES = (1, 5, 15, 75, 150)
_FIGURES = ("accuracy", "ci95", "baseline_accuracy", "baseline_ci95", "difference", "difference_ci95")


def measure(model: SIB, cache: FeatureCache, split: str, spec: EpisodeSpec, episodes: int, seed: int) -> dict:
    """Evaluates `model` and nearest prototypes on variations of `spec`: the same ways and shots, other query sets.

    Each is measured on `episodes` episodes of a list with that `seed`, of the `split` ("validation" or "test").

    Returns:
        "dirichlet_alpha" and "total_query": lists of points, each with its `value` ("balanced" is one of the alphas),
        `queries` (the most of an episode) and `accuracy`, `baseline_accuracy` and `difference`, all with `ci95`. Query
        sets that the split has too few pictures for are left out; imbalanced ones are smaller, if need be: one class
        may have to give them all.
    """
    labels, table = cache.labels(split), cache.table(split)
    baseline = evaluation.prototypes(cache.feature_dim, spec.way[1])

    def curve(name: str, start: EpisodeSpec, variations: dict) -> list[dict]:
        points = []
        for value, fields in tqdm(variations.items(), desc=name, unit="query set", disable=not variations):
            variation = dataclasses.replace(start, **fields)
            try:
                rows = EpisodeSampler(labels, variation, seed).sample(episodes)
            except InputError:
                continue
            evaluator = evaluation.Evaluator(rows)
            figures = evaluation.summary(evaluator(model, table), evaluator(baseline, table))
            measured = {name: figures[name] for name in _FIGURES}
            points.append({"value": value, "queries": variation.max_query, **measured})
        return points

    balanced = dataclasses.replace(spec, query_distribution="balanced", balanced_fraction=0.0, total_query=None)
    most = int(np.unique(labels, return_counts=True)[1].min() - spec.shot[1]) // spec.way[1]
    imbalanced = {alpha: {"query_distribution": "dirichlet", "dirichlet_alpha": alpha} for alpha in ALPHAS}
    imbalanced = {**imbalanced, "balanced": {}} if most >= 1 else {}
    smaller = dataclasses.replace(balanced, query=tuple(max(1, min(query, most)) for query in spec.query))
    return {
        "dirichlet_alpha": curve("imbalanced queries", smaller, imbalanced),
        "total_query": curve("few and many queries", balanced, {n: {"total_query": n} for n in TOTAL_QUERIES}),
    }
