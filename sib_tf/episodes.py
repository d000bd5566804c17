"""Episodes: few-shot tasks drawn from a meta-split, as pure functions of (labels, specification, seed).

Sampling draws row numbers; `EpisodeRows.gather` turns them into an `Episode` of features or pictures inside the
compiled step. NumPy's `RandomState` on a Philox generator is used because its streams are frozen (NEP 19): the same
seed gives the same episodes for ever, whatever the batch size and the number of replicas.
"""

import functools
import hashlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from sib_tf.config import EpisodeSpec
from sib_tf.errors import InputError

# Episodes are drawn in blocks, each with its own seed. Changing this number changes every episode.
_BLOCK = 64


class Episode(NamedTuple):
    """A batch of few-shot tasks. Masked rows are padding: no result depends on what they hold.

    Attributes:
        support: `[episodes, support_rows, ...]` float32 features of the labelled pictures (or the pictures).
        support_labels: `[episodes, support_rows]` int32 in `[0, way)`: classes of the episode, not of the data set;
            with `flipped_labels` some are wrong.
        support_mask: `[episodes, support_rows]` bool, False for padding.
        query: `[episodes, query_rows, ...]` float32, the unlabelled ones, in random order.
        query_labels: `[episodes, query_rows]` int32 in `[0, way)`; for the outer loss and for measuring only.
        query_mask: `[episodes, query_rows]` bool.
    """

    support: tf.Tensor
    support_labels: tf.Tensor
    support_mask: tf.Tensor
    query: tf.Tensor
    query_labels: tf.Tensor
    query_mask: tf.Tensor


class EpisodeRows(Episode):
    """An `Episode` whose pictures are row numbers of a split's table: `support` and `query` are int32, no features."""

    def gather(self, table) -> Episode:
        """Replaces row numbers by rows of `table` `[pictures, ...]`."""
        # Row numbers are within range by construction; saying so spares the check in the compiled step.
        return Episode(*self)._replace(support=tf.gather(table, self.support), query=tf.gather(table, self.query))

    def part(self, start: int, stop: int) -> "EpisodeRows":
        """Returns episodes `start` to `stop` of the leading axis."""
        return EpisodeRows(*(field[start:stop] for field in self))

    def with_room(self, queries: int) -> "EpisodeRows":
        """Pads the queries of every episode to so many with masked ones: lists of one shape share what is compiled."""
        more = (0, 0), (0, queries - self.query.shape[1])
        return EpisodeRows(*self[:3], *(np.pad(field, more) for field in self[3:]))

    def with_flipped_labels(self, random: np.random.RandomState, share: float) -> "EpisodeRows":
        """Gives every labelled row, with probability `share`, the label of another class of its episode, any alike.

        Where that would be all rows of a class, one of them keeps its own.
        """
        labels, mask = self.support_labels, self.support_mask
        way = labels.max(axis=1, keepdims=True) + 1
        # Those of an episode side by side: it is the same in a longer list.
        chance, turn = np.moveaxis(random.random_sample((*labels.shape, 2)), -1, 0)
        of_class = mask[..., None] & (labels[..., None] == np.arange(way.max()))
        largest = np.where(of_class, chance[..., None], 0.0).max(axis=1)  # [episodes, way]
        flipped = mask & (chance < share) & (chance < np.take_along_axis(largest, labels, axis=1))
        other = (labels + 1 + (turn * (way - 1)).astype(int)) % way
        return self._replace(support_labels=np.where(flipped, other, labels).astype(np.int32))


def one_by_one(function: Callable, batch, types=tf.float32):
    """Returns `function(batch)`, a nest of tensors of `types` with episodes in front; `batch` is such a nest too.

    On CPUs in a graph it is that of one episode after the other: each fits a core's cache then, and XLA's products of
    one take half as long as those of many side by side. GPUs take all together, and so does what runs eagerly.
    """
    if tf.config.list_physical_devices("GPU") or tf.executing_eagerly():
        return function(batch)

    def alone(one):
        found = function(tf.nest.map_structure(lambda field: field[None], one))
        return tf.nest.map_structure(lambda each: each[0], found)

    return tf.map_fn(alone, batch, fn_output_signature=types)


class EpisodeSampler:
    """Draws episodes from one meta-split.

    Classes and pictures are drawn without replacement: no picture is twice in an episode. Classes that have fewer than
    shot + query pictures (the upper ends of their ranges) are left out; an InputError if too few classes are left.

    Args:
        labels: `[pictures]` integers, the class of every row of the split.
        spec: what the episodes look like.
        seed: in `[0, 2**63)`; episode i of a seed is the same for ever.
        views: how often the table holds each picture, one view after the other; every draw picks a view.
    """

    def __init__(self, labels: np.ndarray, spec: EpisodeSpec, seed: int, views: int = 1):
        if not 0 <= seed < 2**63:
            raise InputError(f"seed must be in [0, 2**63); got {seed}.")
        self.spec, self.seed, self.views, self._pictures = spec, seed, views, len(labels)
        order = np.argsort(labels, kind="stable")
        _, starts, sizes = np.unique(labels[order], return_index=True, return_counts=True)
        shot, query = spec.shot[1], spec.max_query_per_class
        needed = shot + query
        enough = sizes >= needed
        if enough.sum() < spec.way[1]:
            raise InputError(
                f"way={spec.way[1]}, shot={shot}, query={query} need {spec.way[1]} classes of at least "
                f"{shot} + {query} = {needed} pictures; there are {enough.sum()} such classes among "
                f"{len(sizes)}, the largest of {sizes.max(initial=0)} pictures. Ask for less, or add pictures."
            )
        starts, self._sizes = starts[enough], sizes[enough]
        # [classes, largest]: rows of each class; the tail of smaller classes is never picked.
        columns = np.minimum(np.arange(self._sizes.max()), self._sizes[:, None] - 1)
        self._members = order[starts[:, None] + columns].astype(np.int32)
        # Short batches, one after the other, are of the same block.
        self._cached_block = functools.lru_cache(maxsize=1)(self._block)

    def sample(self, count: int, start: int = 0) -> EpisodeRows:
        """Returns episodes number `start` to `start + count` of this seed: arrays with `count` in front."""
        blocks = map(self._cached_block, range(start // _BLOCK, -(-(start + count) // _BLOCK)))
        whole = EpisodeRows(*(np.concatenate(fields) for fields in zip(*blocks, strict=True)))
        return whole.part(start % _BLOCK, start % _BLOCK + count)

    def batches(self, count: int, start: int = 0) -> Iterator[EpisodeRows]:
        """Yields batches of `count` episodes for ever, from episode number `start` on; no episode is drawn twice."""
        while True:
            yield self.sample(count, start)
            start += count

    def _block(self, index: int) -> EpisodeRows:
        random = np.random.RandomState(np.random.Philox(key=[self.seed, index]))
        spec = self.spec
        way, shot, query = (random.randint(low, high + 1, _BLOCK) for low, high in (spec.way, spec.shot, spec.query))
        slot = np.arange(spec.way[1])
        in_episode = slot < way[:, None]  # [episodes, way]
        classes = _draw(random, np.broadcast_to(len(self._sizes), (_BLOCK,)), len(self._sizes), spec.way[1])
        counts, queried = np.where(in_episode, query[:, None], 0), in_episode
        if spec.total_query or spec.query_classes:
            counts, queried = self._even_counts(random, counts, in_episode)
        shots = np.broadcast_to(shot[:, None], in_episode.shape)
        if spec.shot_distribution == "uneven":
            shots = self._uneven_shots(random, in_episode.shape)
        if spec.query_distribution == "dirichlet":
            room = np.where(queried, self._sizes[classes] - shots, 0)
            counts = self._dirichlet_counts(random, counts, queried, room)
        # Few shots leave more pictures for queries: no class has more than its size.
        depth = min(spec.shot[1] + counts.max(), self._sizes.max())
        columns = _draw(random, self._sizes[classes], self._sizes.max(), depth)
        rows = self._members[classes[:, :, None], columns]  # [episodes, way, depth], distinct within a class
        if self.views > 1:
            rows = rows + self._pictures * random.randint(self.views, size=rows.shape).astype(np.int32)
        position = np.arange(depth)
        is_support = (position < shots[..., None]) & in_episode[..., None]
        is_query = (position >= shots[..., None]) & (position < (shots + counts)[..., None])
        labels = np.broadcast_to(slot[:, None], rows.shape)
        # Support rows keep the order of their classes; queries are shuffled, so that their order tells nothing.
        order = np.broadcast_to(np.arange(rows[0].size), (_BLOCK, rows[0].size)).reshape(rows.shape)
        support = _compact(order, is_support, spec.max_support, rows, labels)
        query = _compact(random.random_sample(rows.shape), is_query, spec.max_query, rows, labels)
        episodes = EpisodeRows(*support, *query)
        # Last: the pictures are those of episodes whose labels are right.
        return episodes.with_flipped_labels(random, spec.flipped_labels) if spec.flipped_labels else episodes

    def _uneven_shots(self, random, shape: tuple[int, int]) -> np.ndarray:
        """Numbers `[episodes, way]` in the range of `shot`, n with the share of [n, n + 1) in the logarithm."""
        low, high = self.spec.shot
        drawn = low * ((high + 1) / low) ** random.random_sample(shape)
        return np.minimum(drawn.astype(int), high)

    def _even_counts(self, random, balanced, in_episode):
        """Spreads the queries over `query_classes` classes as evenly as they go: counts, and which classes they are."""
        # Classes without a place in the episode come last.
        rank = np.argsort(np.argsort(np.where(in_episode, random.random_sample(in_episode.shape), 2.0)))
        total = self.spec.total_query or balanced.sum(axis=1, keepdims=True)
        classes = self.spec.query_classes or in_episode.sum(axis=1, keepdims=True)
        queried = rank < classes
        return np.where(queried, total // classes + (rank < total % classes), 0), queried

    def _dirichlet_counts(self, random, balanced, in_episode, room):
        """Class counts with proportions from a Dirichlet distribution and the same totals as `balanced`."""
        # A Dirichlet vector is a vector of gamma variates over its sum. Tiny alphas underflow: kept above zero.
        low, high = self.spec.alpha_range
        # Nothing is drawn for a single alpha: episodes of a seed stay what they are.
        alpha = low if low == high else low * (high / low) ** random.random_sample((len(balanced), 1))
        gamma = np.maximum(random.standard_gamma(alpha, in_episode.shape), 1e-300) * in_episode
        share = gamma / gamma.sum(axis=1, keepdims=True) * balanced.sum(axis=1, keepdims=True)
        counts = np.minimum(np.floor(share).astype(int), room)
        # Largest remainder first, as long as the class has pictures left.
        while (missing := balanced.sum(axis=1) - counts.sum(axis=1)).any():
            remainder = np.where(in_episode & (counts < room), share - counts, -np.inf)
            counts[np.flatnonzero(missing), remainder.argmax(axis=1)[missing > 0]] += 1
        keep_balanced = random.random_sample(len(counts)) < self.spec.balanced_fraction
        return np.where(keep_balanced[:, None], balanced, counts)


def check_room_for_imbalance(labels: np.ndarray, spec: EpisodeSpec) -> None:
    """Raises an InputError if small classes would balance imbalanced episodes: one may have to give all queries."""
    needed = spec.shot[1] + spec.max_query
    smallest = np.unique(labels, return_counts=True)[1].min(initial=needed)  # Samplers refuse splits without classes.
    if spec.query_distribution == "dirichlet" and smallest < needed:
        raise InputError(
            f"{spec.describe()} needs classes of {needed} pictures, to draw any imbalance; the smallest has {smallest}."
        )


def fingerprint(rows: EpisodeRows) -> str:
    """SHA-256 of a list of episodes: equal hashes are the same rows, labels and masks in the same order."""
    digest = hashlib.sha256()
    for field in rows:
        digest.update(repr(field.shape).encode())
        digest.update(np.ascontiguousarray(field, dtype="<i4"))
    return digest.hexdigest()


def stream(sampler: EpisodeSampler, steps: int, batch_episodes: int, first_step: int = 0) -> tf.data.Dataset:
    """Yields `EpisodeRows` with axes `[steps, batch_episodes, ...]` for ever, drawn ahead in the background.

    Episode number `step * batch_episodes + i` goes to place i of outer step `step`, however many steps a call takes.
    """
    count = steps * batch_episodes

    def draw(step):
        rows = sampler.sample(count, int(step) * batch_episodes)
        return [field.reshape(steps, batch_episodes, *field.shape[1:]) for field in rows]

    example = draw(first_step)

    # Not `from_generator`: on Python 3.11 and later that has the allocator give freed memory back at once, for good
    # (github.com/tensorflow/tensorflow/issues/65675), and some steps then take four times as long.
    @tf.autograph.experimental.do_not_convert
    def fields(step):
        found = tf.numpy_function(draw, [step], [field.dtype for field in example], stateful=False)
        return EpisodeRows(*(tf.ensure_shape(f, e.shape) for f, e in zip(found, example, strict=True)))

    options = tf.data.Options()
    # There is nothing to tune, and at the end one would wait for the tuner, up to 20 seconds long.
    options.autotune.enabled = False
    return tf.data.Dataset.counter(first_step, steps).map(fields).prefetch(2).with_options(options)


def _draw(random, sizes: np.ndarray, largest: int, count: int) -> np.ndarray:
    """Draws `count <= largest` distinct numbers below each of `sizes`, in random order: `[...]` -> `[..., count]`.

    Where a size is below `count`, the places after the size-th hold numbers that must not be used.
    """
    keys = random.random_sample((*sizes.shape, largest))
    keys[np.arange(largest) >= sizes[..., None]] = 2.0
    chosen = np.argpartition(keys, count - 1, axis=-1)[..., :count]
    # The order within a partition differs between machines; that of the keys does not.
    order = np.argsort(np.take_along_axis(keys, chosen, -1), axis=-1)
    return np.take_along_axis(chosen, order, -1)


def _compact(keys, keep, length: int, rows, labels):
    """Moves the kept entries of each episode to the front, by key: `[episodes, way, depth]` -> `[episodes, length]`."""
    keys = np.where(keep, keys, np.inf).reshape(len(rows), -1)
    order = np.argsort(keys, axis=-1)[:, :length]
    mask = np.take_along_axis(keep.reshape(keys.shape), order, -1)

    def pick(values):
        return np.where(mask, np.take_along_axis(values.reshape(keys.shape), order, -1), 0).astype(np.int32)

    return pick(rows), pick(labels), mask
