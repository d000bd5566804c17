"""Episodes with queries of classes that no labelled picture is of: what "none of these" is measured on."""

import dataclasses

import numpy as np

from sib_tf.config import EpisodeSpec
from sib_tf.episodes import EpisodeRows, EpisodeSampler

# Label of a query whose class is not among the episode's.
UNKNOWN = -1


def with_unknown_classes(
    labels: np.ndarray, spec: EpisodeSpec, unknown_classes: int, count: int, seed: int
) -> EpisodeRows:
    """Draws `count` episodes as `EpisodeSampler` does, with `unknown_classes` (>= 1) classes beyond the way of `spec`.

    No labelled picture is of these; their queries, as many as the other classes have, are labelled `UNKNOWN`.
    Raises an InputError as `EpisodeSampler` does, for that many more classes.
    """
    way = (spec.way[0] + unknown_classes, spec.way[1] + unknown_classes)
    rows = EpisodeSampler(labels, dataclasses.replace(spec, way=way, flipped_labels=0.0), seed).sample(count)
    known = rows.support_labels.max(axis=1, keepdims=True) + 1 - unknown_classes
    support = rows.support_labels < known
    rows = rows._replace(
        support_labels=np.where(support, rows.support_labels, 0),
        support_mask=rows.support_mask & support,
        query_labels=np.where(rows.query_labels < known, rows.query_labels, UNKNOWN),
    )
    if not spec.flipped_labels:
        return rows
    # Among the classes that are left; no block of episodes has this number.
    random = np.random.RandomState(np.random.Philox(key=[seed, 2**63 - 1]))
    return rows.with_flipped_labels(random, spec.flipped_labels)
