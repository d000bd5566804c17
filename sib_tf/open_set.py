"""None of these: whether a picture is of one of the episode's classes at all. NumPy only: runners use it as it is.

The score is the free energy (Liu et al., NeurIPS 2020) of the logits under theta^0, each class's less its mean over the
episode's queries. Not under theta^K: the steps pull the classes towards all queries, unknown ones too, so that these
look known afterwards. The mean is taken off because some classes are near to everything.
"""

import numpy as np
from scipy import optimize, special, stats


def centre(logits: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Mean logits of the queries, `[..., queries, way]` -> `[..., 1, way]`; masked queries do not count."""
    rows = np.ones(logits.shape[:-1]) if mask is None else mask.astype(np.float64)
    return np.einsum("...qc,...q->...c", logits, rows)[..., None, :] / rows.sum(-1)[..., None, None]


def score(logits: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Returns `[..., queries]`, higher for pictures of the episode's classes.

    Args:
        logits: `[..., queries, way]` under theta^0, of the classes that the episode has.
        centre: of these or of other pictures of the episode.
    """
    return special.logsumexp(logits - centre, axis=-1)


def probability(score: np.ndarray, known: tuple[float, float]) -> np.ndarray:
    """Returns the probability, in [0, 1], that a picture is of one of the classes, from its score.

    Args:
        score: `[...]`.
        known: offset and slope, as `fit` returns them.
    """
    offset, slope = known
    return special.expit(offset + slope * score)


def fit(score: np.ndarray, is_known: np.ndarray) -> tuple[float, float]:
    """Fits offset and slope of `probability` by maximum likelihood; known and unknown pictures weigh the same.

    Args:
        score: `[pictures]`.
        is_known: `[pictures]` bool, with both kinds.
    """
    middle, spread = score.mean(), max(score.std(), 1e-12)
    x = (score - middle) / spread
    weights = np.where(is_known, 0.5 / is_known.sum(), 0.5 / (~is_known).sum())
    sign = np.where(is_known, 1.0, -1.0)

    def loss(parameters):
        # A little weight on the slope: scores that separate perfectly would have none that is largest.
        return (weights * np.logaddexp(0, -sign * (parameters[0] + parameters[1] * x))).sum() + 1e-4 * parameters[
            1
        ] ** 2

    offset, slope = optimize.minimize(loss, np.zeros(2)).x
    return float(offset - slope * middle / spread), float(slope / spread)


def auroc(score: np.ndarray, is_known: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each episode, in [0, 1]: how often a known picture has the higher score.

    Args:
        score: `[episodes, queries]`.
        is_known: `[episodes, queries]` bool, with both kinds in every episode.
        mask: `[episodes, queries]` bool; False for padding.
    """
    # Padding ranks last, above all others, and leaves their ranks as they are.
    rank = stats.rankdata(np.where(mask, score, np.inf), axis=1)
    known, unknown = (is_known & mask), (~is_known & mask)
    count = known.sum(axis=1)
    return ((rank * known).sum(axis=1) - count * (count + 1) / 2) / (count * unknown.sum(axis=1))
