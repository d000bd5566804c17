"""None of these: whether a picture is of one of the episode's classes at all. NumPy only, for devices.

The score is the free energy (Liu et al., NeurIPS 2020) of the logits under theta^0, each class's less its mean over the
episode's queries. Not under theta^K: the steps pull the classes towards all queries, unknown ones too, so that these
look known afterwards. The mean is taken off because some classes are near to everything.
"""

import numpy as np


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
    centred = logits - centre
    most = centred.max(axis=-1, keepdims=True)
    return np.log(np.exp(centred - most).sum(axis=-1)) + most[..., 0]


def probability(score: np.ndarray, known: tuple[float, float]) -> np.ndarray:
    """Returns the probability, in [0, 1], that a picture is of one of the classes, from its score.

    Args:
        score: `[...]`.
        known: offset and slope, as `calibration.fit_known` returns them.
    """
    offset, slope = known
    return 0.5 + 0.5 * np.tanh(0.5 * (offset + slope * score))  # The logistic function, without overflow.
