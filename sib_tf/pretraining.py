"""Stage 1: the backbone learns to classify the meta-training classes; then only its features are used."""

import dataclasses
import os
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from sib_tf import augmentation, backbones, checkpoints, disk_errors, evaluation, features, history, run_lock
from sib_tf.config import BackboneConfig, EpisodeSpec, PretrainConfig
from sib_tf.datasets import MetaDataset
from sib_tf.episodes import EpisodeRows, EpisodeSampler
from sib_tf.errors import InputError
from sib_tf.layers import CosineClassifier
from sib_tf.optimizers import CoupledDecaySGD

VALIDATION_EPISODES = 1000
VALIDATION_SEED = 1
_WARMUP_STEPS = 6000
_WARMUP_FROM = 1e-7


def pretrain(
    data: MetaDataset, backbone_config: BackboneConfig, config: PretrainConfig, output_dir: str | os.PathLike
) -> float:
    """Trains a backbone, and keeps the one that is best at nearest prototypes on the validation classes.

    Writes to `output_dir`: `config.json` (all that is needed to do it again), `backbone.keras` (the best so far),
    `training/` (the state after the last epoch: the same call goes on from there), `history.csv`, `tensorboard/`.

    Returns:
        The best validation accuracy (nearest prototypes on fixed 5-way 1-shot episodes), in [0, 1].

    Raises:
        InputError: `output_dir` holds another run or is in use, pictures are smaller than the backbone wants, or the
            loss is NaN.
    """
    output_dir = Path(output_dir)
    if data.train.images.shape[1] < backbone_config.image_size:
        raise InputError(
            f"image_size {backbone_config.image_size} is more than the stored pictures' {data.train.images.shape[1]}."
        )
    classes, steps = len(data.train.class_names), len(data.train.labels) // config.batch_size
    if classes < 2:
        raise InputError(f"The train split must have at least 2 classes to tell apart; got {classes}.")
    if steps < 1:
        raise InputError(f"batch_size {config.batch_size} is more than the {len(data.train.labels)} training pictures.")
    episodes = _validation_episodes(data)  # Before the folder is claimed: a run that cannot start leaves nothing.
    with run_lock.held(output_dir), disk_errors.named(output_dir):
        checkpoints.claim_folder(output_dir, _run_record(data, backbone_config, config))
        return _train(data, backbone_config, config, episodes, output_dir)


def _train(
    data: MetaDataset, backbone_config: BackboneConfig, config: PretrainConfig, episodes: EpisodeRows, output_dir: Path
) -> float:
    keras.utils.set_random_seed(config.seed)
    backbone = backbones.build(backbone_config)
    classifier = CosineClassifier(len(data.train.class_names), config.logit_scale, name="classifier")
    model = keras.Sequential([backbone, classifier])
    steps = len(data.train.labels) // config.batch_size
    model.compile(
        CoupledDecaySGD(learning_rate(config, steps), coupled_weight_decay=config.weight_decay),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,  # Set apart from "auto", which would differ between machines.
    )
    keeper = _KeepBest(data, episodes, backbone, model, output_dir)
    first_epoch = keeper.restore()
    if first_epoch < config.epochs:
        model.fit(
            training_batches(data, backbone_config.image_size, config, first_epoch),
            epochs=config.epochs,
            initial_epoch=first_epoch,
            steps_per_epoch=steps,
            shuffle=False,  # The batches are.
            callbacks=[keeper, keras.callbacks.TensorBoard(output_dir / "tensorboard", write_graph=False)],
        )
    return keeper.best


def training_batches(data: MetaDataset, size: int, config: PretrainConfig, first_epoch: int = 0) -> tf.data.Dataset:
    """Yields (`[batch, size, size, 3]` float32 pictures, `[batch]` labels), from `first_epoch` to the last.

    The order of an epoch depends on (seed, epoch) alone and a batch's augmentation on (seed, step) alone, so that a
    run that is taken up again sees what an unbroken one would have seen.
    """
    with tf.device("CPU"):  # A GPU's memory is for the model.
        images, labels = tf.constant(data.train.images), tf.constant(data.train.labels)
    steps = len(labels) // config.batch_size

    def indices(epoch):
        order = tf.random.experimental.stateless_shuffle(tf.range(len(labels)), [config.seed, tf.cast(epoch, tf.int32)])
        return tf.data.Dataset.from_tensor_slices(order).batch(config.batch_size, drop_remainder=True)

    def load(step, rows):
        batch = tf.gather(images, rows)
        if config.augment:
            batch = augmentation.augment(batch, tf.stack([config.seed, step]), size, config)
        else:
            batch = tf.cast(features.centre_crop(batch, size), tf.float32)
        return batch, tf.gather(labels, rows)

    batches = tf.data.Dataset.range(first_epoch, config.epochs).flat_map(indices)
    batches = batches.enumerate(start=first_epoch * steps).map(
        lambda step, rows: load(tf.cast(step, tf.int32), rows), num_parallel_calls=tf.data.AUTOTUNE
    )
    # One private thread: the pictures of the next batch are ready before the model asks, and take no core from it.
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    return batches.prefetch(4).with_options(options)


def learning_rate(config: PretrainConfig, steps_per_epoch: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """Returns the schedule that `config.schedule` names; one step is one batch."""
    total, peak = config.epochs * steps_per_epoch, config.learning_rate
    if config.schedule == "paper":
        return PaperSchedule(peak, _WARMUP_STEPS, 50 * steps_per_epoch)
    warmup = int(0.3 * total) if config.schedule == "one_cycle" else min(steps_per_epoch, total // 5)
    return keras.optimizers.schedules.CosineDecay(
        peak / 25, decay_steps=max(total - warmup, 1), warmup_target=peak, warmup_steps=warmup, alpha=0.0
    )


@keras.saving.register_keras_serializable("sib_tf")
class PaperSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """The released code's: linear from 1e-7 to `peak` over `warmup_steps`, then `peak`, a tenth from `drop_step` on."""

    def __init__(self, peak: float, warmup_steps: int, drop_step: int):
        self.peak, self.warmup_steps, self.drop_step = peak, warmup_steps, drop_step

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        warm = _WARMUP_FROM + (self.peak - _WARMUP_FROM) * tf.minimum(step / self.warmup_steps, 1.0)
        return tf.where(step < self.drop_step, warm, 0.1 * warm)

    def get_config(self):
        return {"peak": self.peak, "warmup_steps": self.warmup_steps, "drop_step": self.drop_step}


def _run_record(data: MetaDataset, backbone_config: BackboneConfig, config: PretrainConfig) -> dict:
    return {
        "backbone": dataclasses.asdict(backbone_config),
        "pretraining": dataclasses.asdict(config),
        "dataset": {
            "name": data.name,
            "version": data.version,
            "classes": len(data.train.class_names),
            "train_fingerprint": data.train.fingerprint,
        },
    }


def _validation_episodes(data: MetaDataset) -> EpisodeRows:
    """5-way 1-shot, 15 queries; fewer where the validation classes are few or small, as users' own may be."""
    sizes = np.bincount(data.validation.labels)
    if len(sizes) < 2:
        raise InputError(f"The validation split must have at least 2 classes to tell apart; got {len(sizes)}.")
    spec = EpisodeSpec(way=min(5, len(sizes)), query=max(1, min(15, int(sizes.min()) - 1)))
    try:
        return EpisodeSampler(data.validation.labels, spec, VALIDATION_SEED).sample(VALIDATION_EPISODES)
    except InputError as error:
        raise InputError(f"The validation split is too small to choose the best backbone with: {error}") from error


class _KeepBest(keras.callbacks.Callback):
    """After every epoch: validates by nearest prototypes, keeps the best backbone, saves the state to go on from."""

    def __init__(
        self, data: MetaDataset, episodes: EpisodeRows, backbone: keras.Model, model: keras.Model, output_dir: Path
    ):
        super().__init__()
        self.data, self.backbone = data, backbone
        self.evaluator = evaluation.Evaluator(episodes)
        self.prototypes = evaluation.prototypes(backbone.output_shape[-1], self.evaluator.way)
        self.path, self.history = output_dir / backbones.FILE, output_dir / "history.csv"
        self.epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.best_so_far = tf.Variable(0.0, trainable=False)
        self.state = checkpoints.TrainingState(
            output_dir / "training", model=model, epoch=self.epoch, best=self.best_so_far
        )

    @property
    def best(self) -> float:
        return float(self.best_so_far.numpy())

    def restore(self) -> int:
        self.state.restore()
        return int(self.epoch.numpy())

    def on_epoch_end(self, epoch, logs=None):
        # Pooling and ReLU can hide a NaN from the loss, so the weights are looked at too.
        if not all(np.isfinite(value).all() for value in (logs["loss"], *self.model.get_weights())):
            raise InputError(
                f"The loss ({logs['loss']}) or a weight became NaN or infinite in epoch {epoch + 1}; lower "
                f"learning_rate. The state before that epoch and the best backbone are kept in {self.path.parent}."
            )
        table = features.embed(self.backbone, self.data.validation.images)
        accuracy = float(self.evaluator(self.prototypes, table).accuracy[-1].mean())
        logs["val_prototype_accuracy"] = accuracy
        if accuracy > self.best:
            checkpoints.save_model(self.backbone, self.path)
            self.best_so_far.assign(accuracy)
        self.epoch.assign(epoch + 1)
        history.add(self.history, {"epoch": epoch, **{name: float(logs[name]) for name in sorted(logs)}})
        self.state.save()  # Last: a run broken off before takes this epoch again, and writes all of it again.
