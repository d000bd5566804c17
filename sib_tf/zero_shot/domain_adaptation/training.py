"""Trains one method on labelled source domains and the target's unlabelled pictures, and predicts the target's labels.

No label of the target comes in here: what is returned is predictions, for others to score.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from tqdm import tqdm

from sib_tf import augmentation
from sib_tf.config import PretrainConfig
from sib_tf.zero_shot import optimization
from sib_tf.zero_shot.domain_adaptation import tasks
from sib_tf.zero_shot.domain_adaptation.model import AdaptiveHead

# Tasks embedded in one call when nothing is learned.
_EVALUATION_TASKS = 4


class Checkpoint(NamedTuple):
    """A model after outer step `step`; its accuracy on held-out pictures is the mean over the source domains.

    `prediction` is `[minibatches, n]` classes of the target's pictures, in the order of `tasks.fixed`; None: not made.
    """

    step: int
    validation_accuracy: float
    prediction: np.ndarray | None


class Trained(NamedTuple):
    """The checkpoint of the best source validation; all, in order; the losses `[steps, 2]` as of `Learner.step`."""

    chosen: Checkpoint
    all: list[Checkpoint]
    losses: np.ndarray


class Learner:
    """A backbone and an adaptive head, learned together.

    The convolutions of XLA take four to eight times as long as TensorFlow's own on a CPU (conv4, 256 and 512 pictures,
    2 cores), so the step is compiled by XLA on accelerators only.
    """

    def __init__(self, backbone: keras.Model, head: AdaptiveHead, seed: int):
        self.backbone, self.head, self.config, self.seed = backbone, head, head.config, seed
        head.build()
        self.optimizer = optimization.adam(self.config)
        self.variables = backbone.trainable_variables + head.trainable_variables
        self.optimizer.build(self.variables)
        self.augmentation = PretrainConfig(color_jitter=self.config.color_jitter, mirror=self.config.mirror)
        compiled = bool(tf.config.list_physical_devices("GPU"))
        self.step = tf.function(self._step, jit_compile=compiled, autograph=False)
        self.predict = tf.function(self._predict, jit_compile=compiled, autograph=False)

    def _step(self, images, labels):
        """One outer step of what `_batches` yields; returns the labels' cross-entropy and the rotation loss, in nats.

        The latter is 0 where the method has none.
        """
        sources = labels.shape[0]
        images = self.augmented(images)
        with tf.GradientTape() as tape:
            features, turned = self.embed(images, self.head.turns_pictures, training=True)
            theta = self.head.adapt(features[:sources], None if turned is None else turned[:sources])[-1]
            logits = self.head.label_logits(theta, features[:sources])
            label_loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
            rotation_loss = tf.constant(0.0)
            if turned is not None:
                start = ops.broadcast_to(self.head.start, (images.shape[0], *self.head.start.shape))
                rotation_loss = tf.reduce_mean(self.head.rotation_loss(start, turned))
            loss = label_loss + self.config.rotation_weight * rotation_loss
        optimization.apply_clipped(self.optimizer, tape.gradient(loss, self.variables), self.variables, norm=5.0)
        return tf.stack([label_loss, rotation_loss])

    def augmented(self, images):
        """The training pictures `[tasks, n, size, size, 3]`, otherwise in every step."""
        shape, iteration = images.shape, tf.cast(self.optimizer.iterations, tf.int32)
        flat = tf.reshape(images, (-1, *shape[2:]))
        flat = augmentation.augment(flat, tf.stack([self.seed, iteration]), shape[2], self.augmentation)
        return tf.reshape(flat, shape)

    def embed(self, images, turns: bool, training: bool):
        """Features `[tasks, n, F]` and, with `turns`, those of the turned pictures `[tasks, 4 n, F]`, else None.

        While training, batch normalisation takes the statistics of all tasks together; otherwise the stored ones, so
        that no task sees another.
        """
        count, n, *size = images.shape
        images = tf.cast(images, tf.float32)
        pictures = tasks.turn(images) if turns else images
        features = self.backbone(tf.reshape(pictures, (-1, *size)), training=training)
        rows = tf.reshape(features, (count, -1, features.shape[-1]))
        return rows[:, :n], rows if turns else None

    def _predict(self, images):
        """Classes `[tasks, n]` of pictures `[tasks, n, size, size, 3]` under the method's theta."""
        return tf.argmax(self.head(*self.embed(images, self.head.adapts, training=False)), axis=-1)

    def save(self, folder: Path) -> None:
        """Writes what was learned: `head.keras`, and `backbone.keras` where there is one."""
        self.head.save(folder / "head.keras")
        if self.backbone.layers:
            self.backbone.save(folder / "backbone.keras")

    def predict_all(self, images: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Classes `[minibatches, n]` of the minibatches `rows` `[minibatches, n]` of `images`."""
        parts = np.split(rows, range(_EVALUATION_TASKS, len(rows), _EVALUATION_TASKS))
        return np.concatenate([self.predict(tf.constant(images[part])).numpy() for part in parts])


class FeatureLearner(Learner):
    """An adaptive head alone, learned on features of a backbone that stays as it is.

    Where `Learner` takes pictures `[tasks, n, size, size, 3]`, this takes features of `turned_features`,
    `[tasks, n, 4, F]`, which are not augmented.
    """

    def __init__(self, head: AdaptiveHead, seed: int):
        super().__init__(keras.Sequential(), head, seed)

    def augmented(self, images):
        return images

    def embed(self, images, turns: bool, training: bool):
        rows = tf.reshape(ops.swapaxes(images, 1, 2), (images.shape[0], -1, images.shape[-1]))
        return images[:, :, 0], rows if turns else None


def train(learner: Learner, sources: tasks.Sources, every_prediction: bool = False) -> Trained:
    """Trains, chooses the checkpoint by source validation, sets the learner to it, and predicts the target.

    With `every_prediction` the target is predicted at every validation too. An InputError if the loss is not finite.
    """
    config, name = learner.config, f"{learner.head.method}, seed {learner.seed}"
    batches = _batches(learner, sources)
    target_rows = tasks.fixed(np.arange(len(sources.target)), config.minibatch)
    due = {round(config.steps * (i + 1) / config.validations) for i in range(config.validations)}
    best, weights, found, losses = None, None, [], []
    for step in tqdm(range(1, config.steps + 1), unit="step", desc=name):
        losses.append(learner.step(*next(batches)).numpy())
        rates = "learning_rate, inner_learning_rate or rotation_learning_rate"
        optimization.require_finite(losses[-1], f"at step {step} of {name}", rates)
        if step in due:
            prediction = learner.predict_all(sources.target, target_rows) if every_prediction else None
            found.append(Checkpoint(step, _validate(learner, sources), prediction))
            # Of equals the later one.
            if best is None or found[-1].validation_accuracy >= best.validation_accuracy:
                best, weights = found[-1], (learner.backbone.get_weights(), learner.head.get_weights())
    learner.backbone.set_weights(weights[0])
    learner.head.set_weights(weights[1])
    chosen = best._replace(prediction=learner.predict_all(sources.target, target_rows))
    return Trained(chosen, found, np.array(losses))


def _batches(learner: Learner, sources: tasks.Sources) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """Yields (images `[tasks, n, size, size, 3]` uint8, labels `[sources, n]`) for ever; the target's come last."""
    seen = {domain: (pictures.images, rows) for domain, (pictures, rows) in sources.train.items()}
    if learner.head.turns_pictures and learner.config.target_in_training:
        seen["target"] = sources.target, np.arange(len(sources.target))
    orders = [tasks.endless(rows, learner.config.minibatch, learner.seed, name) for name, (_, rows) in seen.items()]
    while True:
        taken = [next(order) for order in orders]
        images = [images[rows] for (images, _), rows in zip(seen.values(), taken, strict=True)]
        labels = [pictures.labels[rows] for (pictures, _), rows in zip(sources.train.values(), taken, strict=False)]
        yield tf.constant(np.stack(images)), tf.constant(np.stack(labels))


def _validate(learner: Learner, sources: tasks.Sources) -> float:
    accuracies = []
    for pictures, rows in sources.validation.values():
        minibatches = tasks.fixed(rows, learner.config.minibatch)
        accuracies.append(np.mean(learner.predict_all(pictures.images, minibatches) == pictures.labels[minibatches]))
    return float(np.mean(accuracies))
