"""Accuracy where query sets are imbalanced, small or large: the curves of a report."""

import contextlib
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
_WORDS = {"dirichlet_alpha": "imbalanced queries", "total_query": "few and many queries"}
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
    labels = cache.labels(split)
    balanced = dataclasses.replace(spec, query_distribution="balanced", balanced_fraction=0.0, total_query=None)
    most = int(np.unique(labels, return_counts=True)[1].min() - spec.shot[1]) // spec.way[1]
    imbalanced = {alpha: {"query_distribution": "dirichlet", "dirichlet_alpha": alpha} for alpha in ALPHAS}
    imbalanced = {**imbalanced, "balanced": {}} if most >= 1 else {}
    smaller = dataclasses.replace(balanced, query=tuple(max(1, min(query, most)) for query in spec.query))
    lists = {
        "dirichlet_alpha": _drawn(labels, smaller, imbalanced, episodes, seed),
        "total_query": _drawn(labels, balanced, {n: {"total_query": n} for n in TOTAL_QUERIES}, episodes, seed),
    }
    # What is compiled is compiled once for all.
    room = max((rows.query.shape[1] for drawn in lists.values() for rows in drawn.values()), default=0)
    models, points = (model, evaluation.prototypes(cache.feature_dim, spec.way[1])), {}
    for name, drawn in lists.items():
        points[name] = []
        for value, rows in tqdm(drawn.items(), desc=_WORDS[name], unit="query set", disable=not drawn):
            evaluator = evaluation.Evaluator(rows.with_room(room))
            figures = evaluation.summary(*(evaluator(each, cache.table(split)) for each in models))
            measured = {name: figures[name] for name in _FIGURES}
            points[name].append({"value": value, "queries": rows.query.shape[1], **measured})
    return points


def _drawn(labels: np.ndarray, start: EpisodeSpec, variations: dict, episodes: int, seed: int) -> dict:
    """Lists of episodes by what varies; without those that there are too few pictures for."""
    found = {}
    for value, fields in variations.items():
        with contextlib.suppress(InputError):
            found[value] = EpisodeSampler(labels, dataclasses.replace(start, **fields), seed).sample(episodes)
    return found
