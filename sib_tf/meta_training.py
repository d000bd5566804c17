"""Stage 2: meta-training of the SIB model on cached features, through its K unrolled steps."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from sib_tf import checkpoints, disk_errors, distributions, history, preemption, run_lock
from sib_tf.config import MetaTrainConfig, SIBConfig
from sib_tf.devices import Devices
from sib_tf.episodes import EpisodeRows, EpisodeSampler, fingerprint, stream
from sib_tf.errors import InputError
from sib_tf.evaluation import Evaluator, mean_and_ci95, negative_bound
from sib_tf.features import FeatureCache
from sib_tf.optimizers import CoupledDecaySGD
from sib_tf.sib import SIB

# The validation list is the same for every run, so that runs can be compared.
VALIDATION_SEED = 1
_GOING_ON = "Start all workers again with the same command: they go on from the last validation."


class DivergenceError(InputError):
    """A loss that is not finite: the settings are too wild.

    Attributes:
        step: the outer step of that loss, counted from 1.
    """

    def __init__(self, message: str, step: int):
        super().__init__(message)
        self.step = step


def meta_train(
    cache: FeatureCache,
    model_config: SIBConfig,
    config: MetaTrainConfig,
    output_dir: str | os.PathLike,
    devices: Devices | None = None,
) -> float:
    """Meta-trains a SIB model and keeps the one that is best on the validation list.

    Writes to `output_dir`: `config.json`, `best.keras`, `last.keras`, `training/` (the state that the same call goes
    on from), `tensorboard/`.

    Args:
        cache: the features.
        model_config: the model.
        config: its training.
        output_dir: the run's folder; the same one for all workers.
        devices: what to compute on; None: one device. The parameters are the same up to rounding.

    Returns:
        The best validation accuracy, in [0, 1].

    Raises:
        InputError: the folder holds another run or is in use, the split is too small for the episodes, or replicas
            cannot share them evenly.
        DivergenceError: a loss is not finite; the message names the step, and the state before it is kept.
        Preempted: SIGTERM came; the state is saved.
    """
    output_dir, devices = Path(output_dir), devices or Devices()
    devices.share("batch_episodes", config.batch_episodes)  # Before the folder is claimed.
    train, validation = cache.table("train"), cache.table("validation")
    lists = validation_lists(cache, config)
    samplers = training_samplers(cache, config)
    defaults = {"model": dataclasses.asdict(SIBConfig()), "meta_training": dataclasses.asdict(MetaTrainConfig())}
    record = run_record(cache, model_config, config, lists)
    devices.agree("settings and features", record)
    with devices.own_folder(output_dir) as own_folder, run_lock.held(own_folder), devices.lost_worker(_GOING_ON):
        checkpoints.claim_folder(own_folder, record, defaults)
        keras.utils.set_random_seed(config.seed)
        with devices.strategy.scope():
            model = SIB(model_config, name="sib")  # By default the name counts the models of the process.
            model.build()
            trainer = (
                ReplicatedTrainer(model, train, config, devices)
                if devices.distributed
                else Trainer(model, train, config)
            )
        run = _Run(trainer, [Evaluator(rows) for rows in lists], validation, own_folder, devices)
        run.resume(output_dir / "training")
        with disk_errors.named(output_dir):
            run.train(samplers)
    return run.best


def training_samplers(cache: FeatureCache, config: MetaTrainConfig) -> list[EpisodeSampler]:
    """Returns a sampler for each specification of the training episodes, with seeds apart."""
    labels, specs = cache.labels("train"), (config.episodes, *config.mixture)
    return [EpisodeSampler(labels, spec, config.seed + (i << 32), cache.views) for i, spec in enumerate(specs)]


def validation_lists(cache: FeatureCache, config: MetaTrainConfig) -> list[EpisodeRows]:
    """Returns the fixed validation list of each specification."""
    labels, specs = cache.labels("validation"), (config.validation, *config.mixture)
    return [EpisodeSampler(labels, spec, VALIDATION_SEED).sample(config.validation_episodes) for spec in specs]


def run_record(cache: FeatureCache, model_config: SIBConfig, config: MetaTrainConfig, lists: list[EpisodeRows]) -> dict:
    """Returns what `config.json` holds: the model, its training, the features it belongs to, the validation lists."""
    return {
        "model": dataclasses.asdict(model_config),
        "meta_training": dataclasses.asdict(config),
        "features": cache.identity,
        "validation_episode_hashes": [fingerprint(rows) for rows in lists],
    }


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
        self._compiled_gradients = tf.function(self._gradients, jit_compile=True)
        self._compiled_apply = tf.function(self._apply, jit_compile=True)

    def steps(self, rows: Sequence[EpisodeRows]) -> tf.Tensor:
        """Takes outer steps: `[steps, episodes, ...]` rows of every specification -> the losses `[steps]`."""
        return self._whole_steps(rows) if self.parts == 1 else self._steps_in_parts(rows)

    @tf.function(jit_compile=True)
    def _whole_steps(self, rows: Sequence[EpisodeRows]) -> tf.Tensor:
        count = rows[0].support.shape[0]
        losses = tf.TensorArray(tf.float32, count)
        for step in tf.range(count):
            loss, gradients = self._gradients(_at(rows, step), 0)
            self._apply(gradients)
            losses = losses.write(step, loss)
        return losses.stack()

    @tf.function
    def _steps_in_parts(self, rows: Sequence[EpisodeRows]) -> tf.Tensor:
        """The same for large batches: XLA uses one core, a plain graph has every core take a part."""
        count = rows[0].support.shape[0]
        losses = tf.TensorArray(tf.float32, count)
        for step in tf.range(count):
            batch = _at(rows, step)
            found = [self._compiled_gradients(_part(batch, i, self.parts), tf.constant(i)) for i in range(self.parts)]
            self._compiled_apply([tf.add_n(each) / self.parts for each in zip(*(g for _, g in found), strict=True)])
            losses = losses.write(step, tf.add_n([loss for loss, _ in found]) / self.parts)
        return losses.stack()

    @tf.autograph.experimental.do_not_convert  # There is nothing to convert, and looking for it takes seconds.
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
            losses = [episode_loss(self.model, *each) for each in zip(episodes, self.ways, noise, strict=True)]
            loss = tf.add_n(losses) / len(losses)
        variables = self.model.trainable_variables
        gradients = tape.gradient(loss, variables)
        # The bias cancels in a softmax: with K = 0 it has no gradient.
        return loss, [tf.zeros_like(v) if g is None else g for g, v in zip(gradients, variables, strict=True)]

    def _apply(self, gradients: list[tf.Tensor]) -> None:
        self.optimizer.apply(gradients, self.model.trainable_variables)

    def _noise(self, index: int, way: int, part):
        """What the posterior's samples are drawn with: new numbers for every outer step and specification."""
        samples = self.model.posterior.samples
        if not samples:
            return None
        seed = tf.stack([self.config.seed, tf.cast(self.optimizer.iterations, tf.int32)])
        seed = tf.random.fold_in(seed, index)
        dim = self.model.config.feature_dim
        whole = distributions.random_noise(seed, self.config.batch_episodes, samples, way, dim)
        return tf.reshape(whole, (self.parts, -1, *whole.shape[1:]))[part]


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

    @tf.function
    def _replicated_steps(self, rows) -> tf.Tensor:
        strategy = self.devices.strategy
        count = strategy.experimental_local_results(rows)[0][0].support.shape[0]
        losses = tf.TensorArray(tf.float32, count)
        for step in tf.range(count):
            found = strategy.experimental_local_results(strategy.run(self._replica_step, (rows, step)))
            losses = losses.write(step, tf.add_n(found) / len(found))
        return losses.stack()

    def _replica_step(self, rows: Sequence[EpisodeRows], step: tf.Tensor) -> tf.Tensor:
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        loss, gradients = self._compiled_gradients(_at(rows, step), number)
        # The optimiser adds up what replicas give it.
        self._apply([gradient / self.devices.replicas for gradient in gradients])
        return loss


def episode_loss(model: SIB, episode, way: int, noise=None) -> tf.Tensor:
    """The outer loss, mean over episodes, in nats per query: minus the evidence lower bound over the n queries.

    E_q[mean over the queries of -log p(y | x, w)] + kl_weight * KL(q || p) / n, under theta^K; masked queries do not
    count. Without a prior it is the mean query cross-entropy (released code). An episode is a task with its own w, so
    KL / n does not depend on how many episodes a batch has, nor on how many queries other episodes have.

    Args:
        model: the SIB model.
        episode: an `Episode`.
        way: columns of the logits.
        noise: of the posterior's samples; None: fixed numbers.
    """
    total = negative_bound(model, episode, way, model.config.kl_weight, noise)
    queries = tf.reduce_sum(tf.cast(episode.query_mask, total.dtype), axis=1)
    return tf.reduce_mean(total / tf.maximum(queries, 1.0))


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


class _Run:
    """One run in one folder: trains between validations, keeps best and last, shows where it is."""

    def __init__(self, trainer: Trainer, evaluators: list[Evaluator], validation, output_dir: Path, devices: Devices):
        self.trainer, self.evaluators, self.output_dir = trainer, evaluators, output_dir
        self.validation = tf.convert_to_tensor(validation)
        self.devices = devices
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.best_so_far = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        # Losses since the last validation, of a run that was asked to end between two.
        self.losses = tf.Variable(np.zeros(trainer.config.validate_every, np.float32), trainable=False)

    @property
    def best(self) -> float:
        return float(self.best_so_far.numpy())

    def resume(self, folder: Path) -> None:
        """Goes on from the state in `folder`, where there is one, and saves it there from now on."""
        self.state = self.devices.training_state(
            folder,
            added={"losses": self.losses},
            model=self.trainer.model,
            optimizer=self.trainer.optimizer,
            step=self.step,
            best=self.best_so_far,
        )
        self.state.restore()
        self.devices.agree("checkpoints (does every worker see output_dir?): they", int(self.step.numpy()))

    def train(self, samplers: list[EpisodeSampler]) -> None:
        config = self.trainer.config
        first = int(self.step.numpy())
        writer = tf.summary.create_file_writer(str(self.output_dir / "tensorboard"))
        bar = tqdm(total=config.steps, initial=first, unit="step", desc="meta-train", disable=not self.devices.chief)
        with writer.as_default(), bar as progress, preemption.notice() as notice:
            batches = [_Batches(sampler, config, first) for sampler in samplers]
            while (step := int(self.step.numpy())) < config.steps:
                target = min(step - step % config.validate_every + config.validate_every, config.steps)
                losses = self._advance(batches, step, target, progress, notice)
                accuracy, half = self._validate(target)
                row = {"step": target, "loss": losses.mean(), "validation_accuracy": accuracy, "validation_ci95": half}
                history.add(self.output_dir / "history.csv", row)
                tf.summary.scalar("loss", losses.mean(), target)
                tf.summary.scalar("validation_accuracy", accuracy, target)
                writer.flush()
                self.state.save()  # Last: a run broken off before takes these steps again, and logs them again.
                progress.set_postfix(
                    loss=f"{losses.mean():.3f}", val=f"{100 * accuracy:.2f}%", best=f"{100 * self.best:.2f}%"
                )

    def _advance(
        self, batches: list["_Batches"], step: int, target: int, progress: tqdm, notice: preemption.Notice
    ) -> np.ndarray:
        losses = [self.losses.numpy()[: step % self.trainer.config.validate_every]]
        while step < target:
            if self.devices.any(notice.given):
                self._leave(step, np.concatenate(losses))
            count = min(self.trainer.config.steps_per_call, target - step)
            losses.append(self.trainer.steps([each.take(count) for each in batches]).numpy())
            if not np.isfinite(losses[-1]).all():
                wrong = step + int(np.argmin(np.isfinite(losses[-1]))) + 1
                raise DivergenceError(
                    f"The loss became {losses[-1][wrong - step - 1]} at step {wrong}; lower learning_rate or "
                    f"inner_learning_rate. The state of step {int(self.step.numpy())} and the best model are kept in "
                    f"{self.output_dir}.",
                    wrong,
                )
            step += count
            progress.update(count)
        return np.concatenate(losses)

    def _leave(self, step: int, losses: np.ndarray) -> None:
        """Saves the state between two validations and raises `Preempted`."""
        self.losses.assign(np.pad(losses, (0, self.losses.shape[0] - len(losses))))
        self.step.assign(step)
        self.state.save()
        raise preemption.Preempted(f"The state of step {step} is saved; the same command goes on from there.")

    def _validate(self, step: int) -> tuple[float, float]:
        model = self.trainer.model
        lists = [evaluator(model, self.validation).accuracy[-1] for evaluator in self.evaluators]
        accuracy, half = mean_and_ci95(np.mean(lists, axis=0))
        if accuracy > self.best:
            checkpoints.save_model(model, self.output_dir / checkpoints.BEST)
            self.best_so_far.assign(accuracy)
        self.step.assign(step)
        checkpoints.save_model(model, self.output_dir / checkpoints.LAST)
        return accuracy, half


class _Batches:
    """Hands out `[steps, batch_episodes, ...]` rows; the usual number of steps comes drawn ahead."""

    def __init__(self, sampler: EpisodeSampler, config: MetaTrainConfig, first_step: int):
        self.sampler, self.config, self.step = sampler, config, first_step
        self._usual = min(config.steps_per_call, config.validate_every)
        self._ahead, self._ahead_step = None, -1

    def take(self, count: int) -> EpisodeRows:
        size = self.config.batch_episodes
        if count != self._usual:
            flat = self.sampler.sample(count * size, self.step * size)
            rows = EpisodeRows(*(field.reshape(count, size, *field.shape[1:]) for field in flat))
        else:
            if self._ahead_step != self.step:
                self._ahead = iter(stream(self.sampler, count, size, self.step))
            rows = next(self._ahead)
            self._ahead_step = self.step + count
        self.step += count
        return rows
