"""Backbones that nobody trained: random changes of an episode's features, so that a head does not count on any one.

What backbones differ in is what a cosine classifier sees of them: a common offset (a cone), how even the spread along
their axes is, whether they end in a ReLU or a power, how many axes carry anything, and noise. And the unlabelled rows
may come from elsewhere than the labelled ones: from other lights, styles or cameras.
"""

import numpy as np
import tensorflow as tf

from sib_tf.episodes import Episode

# Rows that are projected at a time.
_BLOCK = 4096
# Shares of virtual backbones that have each change, and its largest size where it has one.
_OFFSET, _MOST_OFFSET = 0.4, 2.0
_RELU = 0.3
_POWER, _POWERS = 0.4, (0.4, 1.6)
_STRETCH, _MOST_STRETCH = 0.4, 1.0
_DROPPED, _LEAST_KEPT = 0.4, 0.06
_NOISE, _MOST_NOISE = 0.3, 1.5
# Of gaps, of the unlabelled rows alone.
_GAP_STRETCH, _MOST_GAP_STRETCH = 0.7, 0.7
_MOST_GAP_OFFSET = 2.0
_GAP_NOISE, _MOST_GAP_NOISE = 0.5, 1.5


def seen_through(episodes: Episode, draws: "Draws", share: float, gaps: float) -> Episode:
    """Returns the episodes as random backbones would show them.

    Args:
        episodes: of features `[episodes, rows, D]`.
        draws: the random numbers.
        share: of the episodes that a virtual backbone shows, in [0, 1]; the others stay as they are but for gaps.
        gaps: share of the episodes whose unlabelled rows come from elsewhere.
    """
    rows = tf.concat([episodes.support, episodes.query], axis=1)
    labelled, dim = episodes.support.shape[1], rows.shape[-1]
    is_query = tf.cast(tf.range(rows.shape[1]) >= labelled, tf.float32)[:, None]
    rows *= tf.math.rsqrt(tf.reduce_mean(tf.square(rows), axis=(1, 2), keepdims=True) + 1e-12)
    noise = draws.normal(rows.shape[1], dim)
    rows = tf.where(draws.uniform() < share, _virtual(rows, draws, noise), rows)
    gap = is_query * tf.where(draws.uniform() < gaps, 1.0, 0.0)
    spread = _spread(rows)
    rows *= tf.exp(gap * draws.size(_GAP_STRETCH, _MOST_GAP_STRETCH) * draws.normal(1, dim))
    offset = draws.uniform(0.0, _MOST_GAP_OFFSET) * draws.normal(1, dim)
    rows += gap * spread * (offset + draws.size(_GAP_NOISE, _MOST_GAP_NOISE) * noise)
    return episodes._replace(support=rows[:, :labelled], query=rows[:, labelled:])


class Draws:
    """Random numbers of a batch's episodes, the same ones however the batch is shared out.

    Args:
        seed: `[2]` int32.
        episodes: of the whole batch.
        first, count: those that numbers are wanted for.
    """

    def __init__(self, seed, episodes: int, first, count: int):
        self.seed, self.episodes, self.first, self.count, self._calls = seed, episodes, first, count, 0

    def uniform(self, low: float = 0.0, high: float = 1.0, axes: int = 1):
        """`[episodes, 1, axes]` in [low, high)."""
        return self._own(tf.random.stateless_uniform((self.episodes, 1, axes), self._next(), low, high))

    def size(self, share: float, most: float):
        """`[episodes, 1, 1]`: in [0, most) for a share of the episodes, 0 for the others."""
        return tf.where(self.uniform() < share, self.uniform(0.0, most), 0.0)

    def normal(self, rows: int, axes: int):
        """`[episodes, rows, axes]`, standard normal."""
        return self._own(tf.random.stateless_normal((self.episodes, rows, axes), self._next()))

    def _own(self, numbers):
        return numbers[self.first : self.first + self.count]

    def _next(self):
        self._calls += 1
        return tf.random.fold_in(self.seed, self._calls)


def _virtual(rows, draws: Draws, noise):
    dim = rows.shape[-1]
    rows += draws.size(_OFFSET, _MOST_OFFSET) * draws.normal(1, dim)
    rows = tf.where(draws.uniform() < _RELU, tf.nn.relu(rows), rows)
    power = tf.where(draws.uniform() < _POWER, draws.uniform(*_POWERS), 1.0)
    rows = tf.sign(rows) * tf.pow(tf.abs(rows) + 1e-6, power)
    rows *= tf.exp(draws.size(_STRETCH, _MOST_STRETCH) * draws.normal(1, dim))
    kept = tf.where(draws.uniform() < _DROPPED, _LEAST_KEPT ** draws.uniform(), 1.0)
    rows *= tf.cast(draws.uniform(axes=dim) < kept, tf.float32)
    return rows + draws.size(_NOISE, _MOST_NOISE) * _spread(rows) * noise


def _spread(rows):
    return tf.math.reduce_std(rows, axis=(1, 2), keepdims=True)


def projected(table, dim: int, seed: int) -> np.ndarray:
    """Projects features `[pictures, D]` to `[pictures, dim]` at random: their cosines stay, but for about dim ** -0.5.

    Features of at most that length stay as they are (Johnson and Lindenstrauss, 1984).
    """
    if table.shape[1] <= dim:
        return table
    matrix = np.random.RandomState(seed % 2**32).normal(size=(table.shape[1], dim)).astype(np.float32) * dim**-0.5
    found = np.empty((len(table), dim), np.float32)
    for start in range(0, len(table), _BLOCK):
        found[start : start + _BLOCK] = table[start : start + _BLOCK] @ matrix
    return found
