"""The outer steps: many in one compiled call, each through the K unrolled inner steps, on one device or several."""

import os
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from sib_tf import distributions
from sib_tf.config import MetaTrainConfig
from sib_tf.devices import Devices
from sib_tf.episodes import EpisodeRows
from sib_tf.optimizers import CoupledDecaySGD
from sib_tf.sib import SIB


class Trainer:
    """The compiled training step: many outer steps in one call, each through the K unrolled inner steps.

    Args:
        model: the SIB model, built.
        table: `[pictures, D]` float32 features of the meta-training split.
        config: the outer loop's settings.
        cores: that share a batch; None: all of this machine. Only speed depends on it, and rounding.
    """

    def __init__(self, model: SIB, table, config: MetaTrainConfig, cores: int | None = None):
        self.model, self.config = model, config
        self.table = tf.convert_to_tensor(table)
        self.ways = [spec.way[1] for spec in (config.episodes, *config.mixture)]
        self.optimizer = outer_optimizer(config)
        self.optimizer.build(model.trainable_variables)
        self.together = bool(tf.config.list_physical_devices("GPU"))
        self.parts = 1 if self.together else config.parts(cores or os.cpu_count())
        self._compiled_gradients = tf.function(self._gradients, jit_compile=True, autograph=False)
        self._compiled_apply = tf.function(self._apply, jit_compile=True, autograph=False)

    @property
    def variables(self) -> list:
        """Everything that outer steps change."""
        return [*self.model.variables, *self.optimizer.variables]

    def steps(self, rows: Sequence[EpisodeRows]) -> tf.Tensor:
        """Takes outer steps: `[steps, episodes, ...]` rows of every specification -> the losses `[steps]`."""
        return self._whole_steps(rows) if self.parts == 1 else self._steps_in_parts(rows)

    @tf.function(jit_compile=True, autograph=False)
    def _whole_steps(self, rows: Sequence[EpisodeRows]) -> tf.Tensor:
        def step(number):
            loss, gradients = self._gradients(_at(rows, number), 0)
            self._apply(gradients)
            return loss

        return _losses(step, rows[0].support.shape[0])

    @tf.function(autograph=False)
    def _steps_in_parts(self, rows: Sequence[EpisodeRows]) -> tf.Tensor:
        """The same for large batches: XLA uses one core, a plain graph has every core take a part."""

        def step(number):
            batch = _at(rows, number)
            found = [self._compiled_gradients(_part(batch, i, self.parts), tf.constant(i)) for i in range(self.parts)]
            self._compiled_apply([tf.add_n(each) / self.parts for each in zip(*(g for _, g in found), strict=True)])
            return tf.add_n([loss for loss, _ in found]) / self.parts

        return _losses(step, rows[0].support.shape[0])

    def _gradients(self, rows: Sequence[EpisodeRows], part) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Loss and gradients of the episodes `rows`, which are the batch's part number `part`."""
        noise = [self._noise(i, way, part) for i, way in enumerate(self.ways)]
        count = rows[0].support.shape[0]
        if count == 1 or self.together:
            return self._gradients_together(rows, noise)
        # On CPUs one episode after the other: each fits a core's cache, and XLA's products of one take half as long as
        # those of many side by side.
        types = (tf.float32, [tf.float32] * len(self.model.trainable_variables))
        found = tf.map_fn(
            lambda i: self._gradients_together(*_only(rows, noise, i)), tf.range(count), fn_output_signature=types
        )
        return tf.nest.map_structure(lambda each: tf.reduce_mean(each, axis=0), found)

    def _gradients_together(self, rows: Sequence[EpisodeRows], noise: Sequence) -> tuple[tf.Tensor, list[tf.Tensor]]:
        episodes = [each.gather(self.table) for each in rows]
        with tf.GradientTape() as tape:
            losses = [self.model.outer_loss(*each) for each in zip(episodes, self.ways, noise, strict=True)]
            loss = tf.add_n(losses) / len(losses)
        variables = self.model.trainable_variables
        gradients = tape.gradient(loss, variables)
        # The bias cancels in a softmax: with K = 0 it has no gradient.
        return loss, [tf.zeros_like(v) if g is None else g for g, v in zip(gradients, variables, strict=True)]

    def _apply(self, gradients: list[tf.Tensor]) -> None:
        self.optimizer.apply(gradients, self.model.trainable_variables)

    def _noise(self, index: int, way: int, part):
        """What the posterior's samples are drawn with: new numbers for every outer step and specification."""
        samples = self.model.samples
        if not samples:
            return None
        seed = tf.stack([self.config.seed, tf.cast(self.optimizer.iterations, tf.int32)])
        seed = tf.random.fold_in(seed, index)
        dim = self.model.config.feature_dim
        whole = distributions.random_noise(seed, self.config.batch_episodes, samples, way, dim)
        return tf.reshape(whole, (self.parts, -1, *whole.shape[1:]))[part]


def _losses(step: Callable, count: int) -> tf.Tensor:
    """The losses `[count]` of the outer steps `step(0)`, `step(1)`, ..., one after the other.

    Not `tf.map_fn`, which costs a plain graph some per cent more.
    """

    def take(number, losses):
        return number + 1, losses.write(number, step(number))

    start = tf.constant(0), tf.TensorArray(tf.float32, count)
    return tf.while_loop(lambda number, _: number < count, take, start, parallel_iterations=1)[1].stack()


def _at(rows: Sequence[EpisodeRows], step) -> list[EpisodeRows]:
    """The batch of one step."""
    return [EpisodeRows(*(field[step] for field in each)) for each in rows]


def _part(batch: list[EpisodeRows], number: int, parts: int) -> list[EpisodeRows]:
    return [EpisodeRows(*(tf.split(field, parts)[number] for field in each)) for each in batch]


def _only(rows: Sequence[EpisodeRows], noise: Sequence, i) -> tuple[list[EpisodeRows], list]:
    """Episode number `i` of a batch as a batch of one, and its noise."""
    alone = [EpisodeRows(*(field[i, None] for field in each)) for each in rows]
    return alone, [None if each is None else each[i, None] for each in noise]


class ReplicatedTrainer(Trainer):
    """The same steps on several devices: each takes its part of every batch of episodes, all take the mean gradient.

    XLA cannot compile what devices exchange. So it compiles the loss and gradient of each, and a plain graph exchanges
    and applies them; a call is many outer steps here too.

    Args:
        model: the SIB model, built in the scope of `devices.strategy`, which this has to be called in too.
        table: `[pictures, D]` float32 features of the meta-training split.
        config: the outer loop's settings.
        devices: what to compute on.
    """

    def __init__(self, model: SIB, table, config: MetaTrainConfig, devices: Devices):
        # The optimiser is built here, in scope: Keras 3 fails to build one while a step is being traced.
        super().__init__(model, table, config)
        self.table = tf.Variable(table, trainable=False)  # A copy on every device.
        self.devices, self.parts = devices, devices.replicas

    def steps(self, rows: Sequence[EpisodeRows]) -> tf.Tensor:
        """Takes outer steps: `[steps, episodes, ...]` rows of every specification -> the losses `[steps]`.

        Every worker is given the whole rows, and gets the losses over the whole batches.
        """
        return tf.constant(self.devices.mean(self._replicated_steps(self.devices.split(list(rows), axis=1))))

    @tf.function(autograph=False)
    def _replicated_steps(self, rows) -> tf.Tensor:
        strategy = self.devices.strategy

        def step(number):
            found = strategy.experimental_local_results(strategy.run(self._replica_step, (rows, number)))
            return tf.add_n(found) / len(found)

        return _losses(step, strategy.experimental_local_results(rows)[0][0].support.shape[0])

    def _replica_step(self, rows: Sequence[EpisodeRows], step: tf.Tensor) -> tf.Tensor:
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        loss, gradients = self._compiled_gradients(_at(rows, step), number)
        # The optimiser adds up what replicas give it.
        self._apply([gradient / self.devices.replicas for gradient in gradients])
        return loss


def outer_optimizer(config: MetaTrainConfig) -> keras.optimizers.Optimizer:
    """Returns the optimiser that `config` names. Only "sgd" couples its weight decay (released code)."""
    rate = config.learning_rate
    if config.cosine_decay:
        rate = keras.optimizers.schedules.CosineDecay(rate, config.steps)
    if config.optimizer == "sgd":
        return CoupledDecaySGD(rate, config.momentum, coupled_weight_decay=config.weight_decay)
    if config.optimizer == "adam":
        return keras.optimizers.Adam(rate)
    return keras.optimizers.AdamW(rate, weight_decay=config.weight_decay)
