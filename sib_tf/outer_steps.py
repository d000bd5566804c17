"""The outer steps: many in one compiled call, each through the K unrolled inner steps, on one device or several."""

import functools
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from sib_tf import distributions
from sib_tf.config import MetaTrainConfig
from sib_tf.devices import Devices
from sib_tf.episodes import EpisodeRows, one_by_one
from sib_tf.features import large
from sib_tf.optimizers import outer_optimizer
from sib_tf.sib import SIB


class _Table(NamedTuple):
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
        # Of the kinds of episodes, cache by cache.
        self.ways = [spec.way[1] for spec in self.specs] * len(tables)
        self.optimizer = outer_optimizer(config)
        # Here, in scope: Keras 3 fails to build an optimiser while a step is being traced.
        self.optimizer.build(model.trainable_variables)
        self.together = bool(tf.config.list_physical_devices("GPU"))
        compiled = functools.partial(tf.function, jit_compile=True, autograph=False)
        self._part_gradients = compiled(self._gradients)
        if self.devices.distributed:
            self.parts = self.devices.replicas
            self.tables = [_Table(tf.Variable(table, trainable=False)) for table in tables]  # A copy on every device.
            self._update = self._apply
        else:
            self.parts = 1 if self.together else config.parts(cores or os.cpu_count())
            self.tables = [self._table(table) for table in tables]
            self._update = compiled(self._apply)
        whole = self.parts == 1 and not self.devices.distributed
        self._call = tf.function(self._take_steps, jit_compile=whole, autograph=False)

    @property
    def variables(self) -> list:
        """Everything that outer steps change."""
        return [*self.model.variables, *self.optimizer.variables]

    def steps(self, rows: Sequence[EpisodeRows]) -> tf.Tensor:
        """Takes outer steps: `[steps, episodes, ...]` rows of every specification -> the losses `[steps]`.

        Every worker is given the whole rows, and gets the losses over the whole batches.
        """
        kinds = len(self.specs)
        groups = [rows[i * kinds : (i + 1) * kinds] for i in range(len(self.tables))]
        rows = [each for table, group in zip(self.tables, groups, strict=True) for each in table.fetched(group)]
        losses = self._call(self.devices.split(rows, axis=1), len(rows[0].support))
        return tf.convert_to_tensor(self.devices.mean(losses))

    def _table(self, table) -> "_Table":
        if not large.is_large(table):
            return _Table(tf.convert_to_tensor(table))
        # As many pictures as the episodes of a call have places for.
        places = sum(spec.max_support + spec.max_query for spec in self.specs)
        places *= self.config.steps_per_call * self.config.batch_episodes
        return _Table(tf.Variable(tf.zeros((places, table.shape[1]))), table)

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

        def part(i: int):
            own = tf.nest.map_structure(lambda field: tf.split(field, here)[i], batch)
            return self._part_gradients(own, tf.convert_to_tensor(first + i))

        losses, gradients = zip(*map(part, range(here)), strict=True)
        # The optimiser adds up what replicas give it.
        self._update([tf.add_n(each) / self.parts for each in zip(*gradients, strict=True)])
        return tf.add_n(losses) / here

    def _gradients(self, rows: list[EpisodeRows], part: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Loss and gradients of the episodes `rows`, which are the batch's part number `part`."""
        noise = [self._noise(i, way, part) for i, way in enumerate(self.ways)]
        if self.together or rows[0].support.shape[0] == 1:
            return self._gradients_together(rows, noise)
        types = (tf.float32, [tf.float32] * len(self.model.trainable_variables))
        found = one_by_one(
            lambda one: tf.nest.map_structure(lambda each: each[None], self._gradients_together(*one)),
            (rows, noise),
            types,
        )
        return tf.nest.map_structure(lambda each: tf.reduce_mean(each, axis=0), found)

    def _gradients_together(self, rows: list[EpisodeRows], noise: list) -> tuple[tf.Tensor, list[tf.Tensor]]:
        tables = [table.values for table in self.tables for _ in self.specs]
        episodes = [each.gather(table) for each, table in zip(rows, tables, strict=True)]
        with tf.GradientTape() as tape:
            losses = [
                self.model.outer_loss(episode, way, own if self.model.samples else None)
                for episode, way, own in zip(episodes, self.ways, noise, strict=True)
            ]
            loss = tf.add_n(losses) / len(losses)
        variables = self.model.trainable_variables
        gradients = tape.gradient(loss, variables)
        # The bias cancels in a softmax: with K = 0 it has no gradient.
        return loss, [tf.zeros_like(v) if g is None else g for g, v in zip(gradients, variables, strict=True)]

    def _apply(self, gradients: list[tf.Tensor]) -> None:
        self.optimizer.apply(gradients, self.model.trainable_variables)

    def _noise(self, index: int, way: int, part: tf.Tensor):
        """What the posterior's samples are drawn with: new numbers for every outer step and specification, or ()."""
        samples = self.model.samples
        if not samples:
            return ()
        seed = tf.stack([self.config.seed, tf.cast(self.optimizer.iterations, tf.int32)])
        seed = tf.random.fold_in(seed, index)
        dim = self.model.config.feature_dim
        whole = distributions.random_noise(seed, self.config.batch_episodes, samples, way, dim)
        return tf.reshape(whole, (self.parts, -1, *whole.shape[1:]))[part]
