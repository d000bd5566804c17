"""Stage 1: the backbone learns to classify the meta-training classes; then only its features are used."""

import dataclasses
import os
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from sib_tf import augmentation, backbones, checkpoints, evaluation, features, runs
from sib_tf.config import BackboneConfig, EpisodeSpec, PretrainConfig
from sib_tf.datasets import MetaDataset
from sib_tf.devices import Devices
from sib_tf.episodes import EpisodeRows, EpisodeSampler
from sib_tf.errors import InputError
from sib_tf.layers import CosineClassifier
from sib_tf.optimizers import CoupledDecaySGD, backbone_rate
from sib_tf.reports import history
from sib_tf.storage import preemption

VALIDATION_EPISODES = 1000
VALIDATION_SEED = 1


def pretrain(
    data: MetaDataset,
    backbone_config: BackboneConfig,
    config: PretrainConfig,
    output_dir: str | os.PathLike,
    devices: Devices | None = None,
    initial: keras.Model | None = None,
) -> float:
    """Trains a backbone, from scratch or further; keeps the best at nearest prototypes on the validation classes.

    Writes to `output_dir`: `config.json` (all that is needed to do it again), `backbone.keras` (the best so far),
    `training/` (the state after the last epoch: the same call goes on from there), `history.csv`, `tensorboard/`.

    Args:
        output_dir: the run's folder; the same one for all workers.
        devices: what to compute on; None: one device. Batches are the same ones, and so are the statistics of batch
            normalisation: the parameters are the same up to rounding.
        initial: the backbone that `backbone_config` describes, trained already, made in the scope of
            `devices.strategy`; it is what training starts from, and stays the best until one is better. With no
            epochs it is kept as it is. None: from scratch.

    Returns:
        The best validation accuracy (nearest prototypes on fixed episodes of `validation_spec`), in [0, 1].

    Raises:
        InputError: `output_dir` holds another run or is in use, `initial` cannot be trained, or the loss is NaN.
        Preempted: SIGTERM came; the state is saved.
    """
    output_dir, devices = Path(output_dir), devices or Devices()
    devices.check_shared("batch_size", config.batch_size)
    if devices.distributed and backbone_config.precision == "float16":
        raise InputError(
            "precision=float16 must have distribution=none (Keras's loss scaling looks at one replica alone); take "
            "precision=bfloat16, which needs no scaling."
        )
    if config.epochs == 0 and initial is None:
        raise InputError("epochs must be at least 1 for a backbone from scratch; 0 keeps an initial backbone as it is.")
    if config.epochs and initial is not None and not initial.trainable_variables:
        raise InputError(f"The initial backbone {initial.name} cannot be trained; keep it as it is with epochs=0.")
    if backbone_config.averaged_views > 1:
        raise InputError(
            f"averaged_views must be 1 for training; got {backbone_config.averaged_views}. Train the backbone that is "
            "averaged, and average it afterwards (train.average_views)."
        )
    classes, steps = len(data.train.class_names), len(data.train.labels) // config.batch_size
    if classes < 2:
        raise InputError(f"The train split must have at least 2 classes to tell apart; got {classes}.")
    if steps < 1:
        raise InputError(f"batch_size {config.batch_size} is more than the {len(data.train.labels)} training pictures.")
    episodes = validation_episodes(data)  # Before the folder is claimed: a run that cannot start leaves nothing.
    record = _run_record(data, backbone_config, config, initial)
    with runs.training(output_dir, record, config.seed, devices, "after the last whole epoch") as folder:
        with devices.strategy.scope():
            model = _compiled_model(initial or backbones.build(backbone_config), config, classes, steps)
        run = _Run(data, episodes, model, folder, devices, backbone_config.larger)
        run.restore(output_dir / "training")
        if initial is not None and run.best == 0:
            run.validate()
        run.train(config, steps)
    return run.best


def _compiled_model(backbone: keras.Model, config: PretrainConfig, classes: int, steps: int) -> keras.Model:
    model = keras.Sequential([backbone])
    model.add(CosineClassifier(classes, config.logit_scale, name="classifier"))
    optimizer = CoupledDecaySGD(backbone_rate(config, steps), coupled_weight_decay=config.weight_decay)
    if any(layer.compute_dtype == "float16" for layer in backbone.layers):
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(optimizer)  # The state of training then has both.
    optimizer.build(model.trainable_variables)  # In scope: Keras 3 fails to build one while a step is being traced.
    return model


def training_batches(
    data: MetaDataset,
    size: int,
    config: PretrainConfig,
    first_epoch: int = 0,
    first_step: int = 0,
    larger: str = "crop",
) -> tf.data.Dataset:
    """Yields (`[batch, size, size, 3]` float32 pictures, `[batch]` labels) from one step on to the last epoch.

    The order of an epoch depends on (seed, epoch) alone and a batch's augmentation on (seed, step) alone, so that a
    run that is taken up again sees what an unbroken one would have seen.
    """
    with tf.device("CPU"):  # A GPU's memory is for the model.
        images, labels = tf.constant(data.train.images), tf.constant(data.train.labels)
    steps = len(labels) // config.batch_size

    # There is nothing to convert, and looking for it takes time.
    @tf.autograph.experimental.do_not_convert
    def indices(epoch):
        order = tf.random.experimental.stateless_shuffle(tf.range(len(labels)), [config.seed, tf.cast(epoch, tf.int32)])
        return tf.data.Dataset.from_tensor_slices(order).batch(config.batch_size, drop_remainder=True)

    @tf.autograph.experimental.do_not_convert
    def load(step, rows):
        batch = tf.gather(images, rows)
        if config.augment:
            seed = tf.stack([config.seed, tf.cast(step, tf.int32)])
            batch = augmentation.augment(batch, seed, size, config, larger)
        else:
            batch = augmentation.plain(batch, size, larger)
        return batch, tf.gather(labels, rows)

    batches = tf.data.Dataset.range(first_epoch, config.epochs).flat_map(indices)
    batches = batches.enumerate(start=first_epoch * steps).skip(first_step).map(load, tf.data.AUTOTUNE)
    # One private thread: the pictures of the next batch are ready before the model asks, and take no core from it.
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    return batches.prefetch(4).with_options(options)


def _run_record(data: MetaDataset, backbone_config: BackboneConfig, config: PretrainConfig, initial=None) -> dict:
    return {
        **({"initial_backbone": features.weights_fingerprint(initial)} if initial is not None else {}),
        "backbone": dataclasses.asdict(backbone_config),
        "pretraining": dataclasses.asdict(config),
        "dataset": {
            "name": data.name,
            "version": data.version,
            "classes": len(data.train.class_names),
            "train_fingerprint": data.train.fingerprint,
        },
    }


def validation_spec(data: MetaDataset) -> EpisodeSpec:
    """5-way 1-shot, 15 queries; fewer where the validation classes are few or small, as users' own may be."""
    sizes = np.bincount(data.validation.labels)
    if len(sizes) < 2:
        raise InputError(f"The validation split must have at least 2 classes to tell apart; got {len(sizes)}.")
    return EpisodeSpec(way=min(5, len(sizes)), query=max(1, min(15, int(sizes.min()) - 1)))


def validation_episodes(data: MetaDataset) -> EpisodeRows:
    """The episodes that the best backbone is chosen by; an InputError if the validation split is too small for them."""
    spec = validation_spec(data)
    try:
        return EpisodeSampler(data.validation.labels, spec, VALIDATION_SEED).sample(VALIDATION_EPISODES)
    except InputError as error:
        raise InputError(f"The validation split is too small to choose the best backbone with: {error}") from error


class _Run:
    """One run. After every epoch: validates by nearest prototypes, keeps the best backbone, saves the state."""

    def __init__(
        self,
        data: MetaDataset,
        episodes: EpisodeRows,
        model: keras.Model,
        output_dir: Path,
        devices: Devices,
        larger: str,
    ):
        self.data, self.model, self.folder, self.devices, self.larger = data, model, output_dir, devices, larger
        self.backbone = model.layers[0]
        self.evaluator = evaluation.Evaluator(episodes)
        self.prototypes = evaluation.prototypes(self.backbone.output_shape[-1], self.evaluator.way)
        self.epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.best_so_far = tf.Variable(0.0, trainable=False)
        # Of the epoch that is under way: steps taken, and sums over pictures of loss, 1, hits, 1.
        self.steps_taken = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.sums = tf.Variable(tf.zeros(4), trainable=False)

    @property
    def best(self) -> float:
        return float(self.best_so_far.numpy())

    def restore(self, folder: Path) -> None:
        """Restores the state in `folder`, where there is one, and saves it there from now on."""
        self.state = checkpoints.TrainingState(
            folder,
            added={"steps_taken": self.steps_taken, "metrics": self.sums},
            writes=self.devices.chief,
            model=self.model,
            epoch=self.epoch,
            best=self.best_so_far,
        )
        self.state.restore()
        self.devices.agree("checkpoints (does every worker see output_dir?): they", self._place())

    def train(self, config: PretrainConfig, steps: int) -> None:
        """Trains from where the state is to the last epoch; each has so many `steps`."""
        first, taken = self._place()
        self.moments_move = not config.frozen_statistics
        size = self.backbone.input_shape[1]
        batches = iter(training_batches(self.data, size, config, first, taken, self.larger))
        bar = {"unit": "step", "desc": "pretrain", "disable": not self.devices.chief}
        with (
            tqdm(total=config.epochs * steps, initial=first * steps + taken, **bar) as progress,
            tf.summary.create_file_writer(str(self.folder / "tensorboard")).as_default(),
            preemption.notice() as notice,
        ):
            for epoch in range(first, config.epochs):
                for step in range(int(self.steps_taken.numpy()), steps):
                    self.sums.assign_add(self._step(*self.devices.split(next(batches))))
                    progress.update()
                    if self.devices.any(notice.given):
                        self._leave(step + 1)
                self._end_epoch(epoch, progress)

    def _place(self) -> tuple[int, int]:
        """Where training goes on: whole epochs done, and steps of the next one."""
        return int(self.epoch.numpy()), int(self.steps_taken.numpy())

    @tf.function(autograph=False)
    def _step(self, images, labels) -> tf.Tensor:
        """Takes a step on all replicas; returns the mean over them of what it adds to `sums`."""
        return self.devices.run(self._replica_step, images, labels)

    def _replica_step(self, images, labels) -> tf.Tensor:
        optimizer, variables = self.model.optimizer, self.model.trainable_variables
        with tf.GradientTape() as tape:
            logits = self.model(images, training=self.moments_move)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
            scaled = optimizer.scale_loss(loss)
        # The optimiser adds up what replicas give it.
        optimizer.apply([g / self.devices.replicas for g in tape.gradient(scaled, variables)], variables)
        right = tf.argmax(logits, axis=-1, output_type=labels.dtype) == labels
        count = float(labels.shape[0])
        return tf.stack([count * loss, count, tf.reduce_sum(tf.cast(right, tf.float32)), count])

    def _leave(self, steps_taken: int) -> None:
        """Saves the state within an epoch and raises `Preempted`."""
        self.steps_taken.assign(steps_taken)
        self.sums.assign(self.devices.mean(self.sums.numpy()))
        self.state.save()
        raise preemption.Preempted(
            f"The state of step {steps_taken} of epoch {self.epoch.numpy() + 1} is saved; the same command goes on "
            "from there."
        )

    def validate(self) -> float:
        """Measures nearest prototypes on the validation classes, in [0, 1]; keeps the backbone if it is the best."""
        table = features.embed(self.backbone, self.data.validation.images, self.larger)
        accuracy = float(self.evaluator(self.prototypes, table).accuracy[-1].mean())
        if accuracy > self.best:
            checkpoints.save_model(self.backbone, self.folder / backbones.FILE)
            self.best_so_far.assign(accuracy)
        return accuracy

    def _end_epoch(self, epoch: int, progress: tqdm) -> None:
        loss, count, hits, _ = self.devices.mean(self.sums.numpy())
        figures = {"accuracy": float(hits / count), "loss": float(loss / count)}
        # Pooling and ReLU can hide a NaN from the loss, so the weights are looked at too.
        if not all(np.isfinite(value).all() for value in (loss, *self.model.get_weights())):
            raise InputError(
                f"The loss ({figures['loss']}) or a weight became NaN or infinite in epoch {epoch + 1}; lower "
                f"learning_rate. The state before that epoch and the best backbone are kept in {self.folder}."
            )
        accuracy = figures["val_prototype_accuracy"] = self.validate()
        self.epoch.assign(epoch + 1)
        self.steps_taken.assign(0)
        self.sums.assign(tf.zeros(4))
        history.add(self.folder / "history.csv", {"epoch": epoch, **figures})
        for name, value in figures.items():
            tf.summary.scalar(name, value, step=epoch)
        self.state.save()  # Last: a run broken off before takes this epoch again, and writes all of it again.
        best = f"{100 * self.best:.2f}%"
        progress.set_postfix(loss=f"{loss / count:.3f}", val=f"{100 * accuracy:.2f}%", best=best)
