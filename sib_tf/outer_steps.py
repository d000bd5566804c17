"""The outer steps: many in one compiled call, each through the K unrolled inner steps, on one device or several."""

import functools
import math
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from sib_tf import distributions
from sib_tf.any_backbone import virtual_backbones
from sib_tf.config import EpisodeSpec, MetaTrainConfig
from sib_tf.devices import Devices
from sib_tf.episodes import Episode, EpisodeRows, one_by_one
from sib_tf.features import large
from sib_tf.optimizers import outer_optimizer
from sib_tf.sib import SIB


class Table(NamedTuple):
    """Features that steps gather from; of a `source` that stays on the disk those of a call."""

    values: tf.Tensor | tf.Variable
    source: np.memmap | None = None

    def fetched(self, rows: Sequence[EpisodeRows]) -> list[EpisodeRows]:
        """Puts the features of a call in place, and returns the episodes, whose rows are of these then."""
        if self.source is None:
            return list(rows)
        taken, rows = large.fetched(self.source, rows, self.values.shape[0])
        self.values.assign(taken)
        return rows


class _Kind(NamedTuple):
    """Episodes of one shape out of one table: one function computes them all.

    Attributes:
        table: its number.
        way: the most classes of an episode.
        members: numbers of the specifications, counted through cache by cache, and where in the table their rows begin.
    """

    table: int
    way: int
    members: tuple[tuple[int, int], ...]

    def joined(self, rows: Sequence[EpisodeRows]) -> EpisodeRows:
        """The episodes of all members side by side, with rows of the table: `[steps, episodes, ...]`."""
        if len(self.members) == 1:
            return rows[self.members[0][0]]
        each = [rows[i]._replace(support=rows[i].support + at, query=rows[i].query + at) for i, at in self.members]
        places = (max(field.shape[2] for field in fields) for fields in zip(*each, strict=True))
        return EpisodeRows(
            *(
                tf.concat([tf.pad(field, ((0, 0), (0, 0), (0, most - field.shape[2]))) for field in fields], axis=1)
                for most, fields in zip(places, zip(*each, strict=True), strict=True)
            )
        )


class Trainer:
    """The training step: many outer steps in one call, each through the K unrolled inner steps.

    A batch has equal parts, one for each replica; on a CPU alone one for each core, as XLA uses a single one. XLA
    compiles the whole call where there is one part. It cannot compile what parts exchange: of several it compiles each
    one's loss and gradient, and a plain graph takes their mean.

    Args:
        model: the SIB model, built in the scope of `devices.strategy`, which this has to be called in too.
        tables: `[pictures, D]` float32 features of the meta-training split, a table for every cache.
        cores: that share a batch; None: all of this machine. Only speed depends on it, and rounding.
    """

    def __init__(
        self,
        model: SIB,
        tables: Sequence,
        config: MetaTrainConfig,
        cores: int | None = None,
        devices: Devices | None = None,
    ):
        self.model, self.config, self.devices = model, config, devices or Devices()
        self.specs = (config.episodes, *config.mixture)
        stacks = _stacks(tables)
        self.kinds = _kinds(self.specs, tables, stacks)
        self.optimizer = outer_optimizer(config)
        # Here, in scope: Keras 3 fails to build an optimiser while a step is being traced.
        self.optimizer.build(model.trainable_variables)
        self.together = bool(tf.config.list_physical_devices("GPU"))
        compiled = functools.partial(tf.function, jit_compile=True, autograph=False)
        self._part_gradients = compiled(self._gradients)
        if self.devices.distributed:
            self.parts = self.devices.replicas
            # A copy on every device.
            self.tables = [Table(tf.Variable(_stacked(tables, stack), trainable=False)) for stack in stacks]
            self._update = self._apply
        else:
            episodes = math.gcd(*(config.batch_episodes * len(kind.members) for kind in self.kinds))
            self.parts = 1 if self.together else config.parts(cores or os.cpu_count(), episodes)
            self.tables = [self._table(_stacked(tables, stack)) for stack in stacks]
            self._update = compiled(self._apply)
        self.virtual = bool(config.virtual_backbones or config.domain_gaps)
        whole = self.parts == 1 and not self.devices.distributed and not self.virtual
        self._call = tf.function(self._take_steps, jit_compile=whole, autograph=False)

    @property
    def variables(self) -> list:
        """Everything that outer steps change."""
        return [*self.model.variables, *self.optimizer.variables]

    def steps(self, rows: Sequence[EpisodeRows]) -> tf.Tensor:
        """Takes outer steps: `[steps, episodes, ...]` rows of every specification, cache by cache -> losses `[steps]`.

        Every worker is given the whole rows, and gets the losses over the whole batches.
        """
        joined = [kind.joined(rows) for kind in self.kinds]
        for number, table in enumerate(self.tables):
            own = [i for i, kind in enumerate(self.kinds) if kind.table == number]
            for i, found in zip(own, table.fetched([joined[i] for i in own]), strict=True):
                joined[i] = found
        losses = self._call(self.devices.split(joined, axis=1), len(joined[0].support))
        return tf.convert_to_tensor(self.devices.mean(losses))

    def _table(self, table) -> "Table":
        if not large.is_large(table):
            return Table(tf.convert_to_tensor(table))
        # As many pictures as the episodes of a call have places for, and row 0, which padding to another's shape names.
        places = sum(spec.max_support + spec.max_query for spec in self.specs)
        places *= self.config.steps_per_call * self.config.batch_episodes
        return Table(tf.Variable(tf.zeros((places + 1, table.shape[1]))), table)

    def _take_steps(self, rows, count: int) -> tf.Tensor:
        """The losses of `count` outer steps, one after the other."""

        def take(number, losses):
            return number + 1, losses.write(number, self.devices.run(self._step, rows, number))

        # Not `tf.map_fn`, which costs a plain graph some per cent more.
        start = tf.constant(0), tf.TensorArray(tf.float32, count)
        return tf.while_loop(lambda number, _: number < count, take, start, parallel_iterations=1)[1].stack()

    def _step(self, rows: list[EpisodeRows], number: tf.Tensor) -> tf.Tensor:
        """One replica's part of outer step `number`: its loss."""
        batch, here = tf.nest.map_structure(lambda field: field[number], rows), self.parts // self.devices.replicas
        first = tf.distribute.get_replica_context().replica_id_in_sync_group * here

        if self.virtual:
            batch = [
                self._seen_through(i, each, first * (each.support.shape[0] // here)) for i, each in enumerate(batch)
            ]

        def part(i: int):
            own = tf.nest.map_structure(lambda field: tf.split(field, here)[i], batch)
            return self._part_gradients(own, tf.convert_to_tensor(first + i))

        losses, gradients = zip(*map(part, range(here)), strict=True)
        # The optimiser adds up what replicas give it.
        self._update([tf.add_n(each) / self.parts for each in zip(*gradients, strict=True)])
        return tf.add_n(losses) / here

    def _gradients(self, rows: list[EpisodeRows], part: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Loss and gradients of the episodes `rows`, which are the batch's part number `part`."""
        found = [self._gradients_of(i, each, part) for i, each in enumerate(rows)]
        shares = [len(kind.members) for kind in self.kinds]
        if len(shares) == 1:
            return found[0]
        return tf.nest.map_structure(
            lambda *each: tf.add_n([one * (n / sum(shares)) for one, n in zip(each, shares, strict=True)]), *found
        )

    def _gradients_of(self, index: int, rows: EpisodeRows, part: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Those of kind number `index`: means over its episodes."""
        batch = rows, self._noise(index, part)
        if self.together or rows.support.shape[0] == 1:
            return self._gradients_together(index, *batch)
        types = (tf.float32, [tf.float32] * len(self.model.trainable_variables))
        found = one_by_one(
            lambda one: tf.nest.map_structure(lambda each: each[None], self._gradients_together(index, *one)),
            batch,
            types,
        )
        return tf.nest.map_structure(lambda each: tf.reduce_mean(each, axis=0), found)

    def _gradients_together(self, index: int, rows: EpisodeRows | Episode, noise) -> tuple[tf.Tensor, list[tf.Tensor]]:
        kind = self.kinds[index]
        # Those that virtual backbones show have features already.
        episode = rows if self.virtual else rows.gather(self.tables[kind.table].values)
        with tf.GradientTape() as tape:
            loss = self.model.outer_loss(episode, kind.way, noise if self.model.samples else None)
        variables = self.model.trainable_variables
        gradients = tape.gradient(loss, variables)
        # The bias cancels in a softmax: with K = 0 it has no gradient.
        return loss, [tf.zeros_like(v) if g is None else g for g, v in zip(gradients, variables, strict=True)]

    def _apply(self, gradients: list[tf.Tensor]) -> None:
        self.optimizer.apply(gradients, self.model.trainable_variables)

    def _noise(self, index: int, part: tf.Tensor):
        """What the posterior's samples are drawn with: new numbers for every outer step and kind, or ()."""
        samples, kind = self.model.samples, self.kinds[index]
        if not samples:
            return ()
        seed = self._seed(index)
        episodes = self.config.batch_episodes * len(kind.members)
        whole = distributions.random_noise(seed, episodes, samples, kind.way, self.model.config.feature_dim)
        return tf.reshape(whole, (self.parts, -1, *whole.shape[1:]))[part]

    def _seen_through(self, index: int, rows: EpisodeRows, first) -> Episode:
        """The episodes `rows` of kind `index`, which are a batch's from number `first` on, through virtual backbones.

        Not compiled by XLA: that would take minutes for the random numbers.
        """
        kind, config = self.kinds[index], self.config
        count = rows.support.shape[0]
        draws = virtual_backbones.Draws(self._seed(index), config.batch_episodes * len(kind.members), first, count)
        episodes = rows.gather(self.tables[kind.table].values)
        return virtual_backbones.seen_through(episodes, draws, config.virtual_backbones, config.domain_gaps)

    def _seed(self, index: int):
        return tf.random.fold_in(tf.stack([self.config.seed, tf.cast(self.optimizer.iterations, tf.int32)]), index)


def _stacks(tables: Sequence) -> list[list[int]]:
    """The numbers of the tables that are put one below the other: those of one D that are held in memory."""
    alike, alone = {}, []
    for number, table in enumerate(tables):
        if large.is_large(table):
            alone.append([number])
        else:
            alike.setdefault(table.shape[1], []).append(number)
    return [*alike.values(), *alone]


def _stacked(tables: Sequence, stack: list[int]):
    return tables[stack[0]] if len(stack) == 1 else np.concatenate([np.asarray(tables[i]) for i in stack])


def _kinds(specs: Sequence[EpisodeSpec], tables: Sequence, stacks: list[list[int]]) -> list[_Kind]:
    found = []
    for number, stack in enumerate(stacks):
        begins = np.cumsum([0, *(len(tables[i]) for i in stack)])
        alike = {}
        for cache, at in zip(stack, begins[:-1].tolist(), strict=True):
            for i, spec in enumerate(specs):
                # Of several caches those of one way are padded to one shape: compiling a shape takes half a minute.
                shape = (spec.max_support, spec.max_query) if len(tables) == 1 else ()
                alike.setdefault((spec.way[1], *shape), []).append((cache * len(specs) + i, at))
        found += [_Kind(number, way, tuple(members)) for (way, *_), members in alike.items()]
    return found
