"""Trains one method on labelled source domains and the target's unlabelled pictures, and predicts the target's labels.

No label of the target comes in here: what is returned is predictions, for others to score.
"""

import dataclasses
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from tqdm import tqdm

from sib_tf import augmentation
from sib_tf.config import PretrainConfig
from sib_tf.errors import InputError
from sib_tf.zero_shot.domain_adaptation import tasks
from sib_tf.zero_shot.domain_adaptation.model import TURNS, AdaptiveHead

# Tasks embedded in one call when nothing is learned.
_EVALUATION_TASKS = 4


class Checkpoint(NamedTuple):
    """A model at one outer step.

    Attributes:
        step: outer steps taken.
        validation_accuracy: on the held-out source pictures, the mean over the source domains.
        prediction: `[minibatches, n]` classes of the target's pictures, in the order of `tasks.fixed`; None: not made.
        weights: of backbone and head; None: not kept.
    """

    step: int
    validation_accuracy: float
    prediction: np.ndarray | None
    weights: list | None


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """Attributes: `chosen`, the checkpoint of the best source validation; `all`, in order; `losses`, `[steps, 2]`.

    Losses are the labels' cross-entropy and the rotation loss, in nats; the latter is 0 where the method has none.
    """

    chosen: Checkpoint
    all: list[Checkpoint]
    losses: np.ndarray


class Learner(tf.Module):
    """A backbone and an adaptive head, learned together.

    The convolutions of XLA take four to eight times as long as TensorFlow's own on a CPU (conv4, 256 and 512 pictures,
    2 cores), so the step is compiled by XLA on accelerators only.
    """

    def __init__(self, backbone: keras.Model, head: AdaptiveHead, seed: int):
        super().__init__()
        self.backbone, self.head, self.config = backbone, head, head.config
        self.seed = seed
        head.build()
        config = self.config
        warm_up = max(1, config.steps // 10)
        schedule = keras.optimizers.schedules.CosineDecay(
            0.0, max(1, config.steps - warm_up), warmup_target=config.learning_rate, warmup_steps=warm_up
        )
        self.optimizer = keras.optimizers.Adam(schedule)
        self.variables_ = backbone.trainable_variables + head.learned_variables
        self.optimizer.build(self.variables_)
        self.augmentation = PretrainConfig(color_jitter=config.color_jitter, mirror=config.mirror)
        compiled = bool(tf.config.list_physical_devices("GPU"))
        self.step = tf.function(self._step, jit_compile=compiled, autograph=False)
        self.predict = tf.function(self._predict, jit_compile=compiled, autograph=False)

    def _step(self, images, labels):
        """One outer step; returns the two losses `[2]`.

        Args:
            images: `[tasks, n, size, size, 3]` uint8, those of the target after the sources' (if at all).
            labels: `[sources, n]`.
        """
        shape, sources = images.shape, labels.shape[0]
        seed = tf.stack([self.seed, tf.cast(self.optimizer.iterations, tf.int32)])
        flat = augmentation.augment(tf.reshape(images, (-1, *shape[2:])), seed, shape[2], self.augmentation)
        images = tf.reshape(flat, shape)
        with tf.GradientTape() as tape:
            features, turned = self.embed(images, training=True)
            theta = self.head.adapt(features[:sources], None if turned is None else turned[:sources])[-1]
            logits = self.head.label_logits(theta, features[:sources])
            label_loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
            rotation_loss = tf.constant(0.0)
            if turned is not None:
                start = ops.broadcast_to(self.head.start, (shape[0], *self.head.start.shape))
                rotation_loss = tf.reduce_mean(self.head.rotation_loss(start, turned))
            loss = label_loss + self.config.rotation_weight * rotation_loss
        gradients = tape.gradient(loss, self.variables_)
        # As for the spinning lines: one bad minibatch must not undo many steps.
        gradients, _ = tf.clip_by_global_norm(gradients, 5.0)
        self.optimizer.apply(gradients, self.variables_)
        return tf.stack([label_loss, rotation_loss])

    def embed(self, images, training: bool, turns: bool | None = None):
        """Features `[tasks, n, F]` and, where the method turns pictures, those of the turned ones `[tasks, 4, n, F]`.

        While training, batch normalisation takes the statistics of all tasks together; otherwise the stored ones, so
        that no task sees another.
        """
        turns = self.head.turns_pictures if turns is None else turns
        images = tf.cast(images, tf.float32)
        tasks_, n, *size = images.shape
        pictures = tasks.turn(images) if turns else images
        features = self.backbone(tf.reshape(pictures, (-1, *size)), training=training)
        if not turns:
            return tf.reshape(features, (tasks_, n, -1)), None
        turned = tf.reshape(features, (tasks_, TURNS, n, -1))
        return turned[:, 0], turned

    def _predict(self, images):
        """Classes `[tasks, n]` of pictures `[tasks, n, size, size, 3]` under the method's theta."""
        features, turned = self.embed(images, training=False, turns=self.head.adapts)
        return tf.argmax(self.head(features, turned), axis=-1)

    def predict_all(self, images: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Classes `[minibatches, n]` of the minibatches `rows` `[minibatches, n]` of `images`."""
        found = []
        for first in range(0, len(rows), _EVALUATION_TASKS):
            part = rows[first : first + _EVALUATION_TASKS]
            found.append(self.predict(tf.constant(images[part])).numpy())
        return np.concatenate(found)

    def weights(self) -> list:
        """Copies of all weights, in an order that `set_weights` knows."""
        return [self.backbone.get_weights(), self.head.get_weights()]

    def set_weights(self, weights: list) -> None:
        """Takes what `weights` gave."""
        self.backbone.set_weights(weights[0])
        self.head.set_weights(weights[1])


def train(learner: Learner, sources: tasks.Sources, every_prediction: bool = False) -> Trained:
    """Trains, chooses the checkpoint by source validation, sets the learner to it, and predicts the target.

    Args:
        learner: at its start.
        sources: what may be seen.
        every_prediction: whether the target is predicted at every validation, not at the chosen one only.

    Raises:
        InputError: the loss is not finite, or there are too few pictures for a minibatch.
    """
    config = learner.config
    batches = _Batches(learner, sources)
    target_rows = tasks.fixed(np.arange(len(sources.target)), config.minibatch)
    due = {round(config.steps * (i + 1) / config.validations) for i in range(config.validations)}
    best, found, losses = None, [], []
    name = f"{learner.head.method}, seed {learner.seed}"
    for step in tqdm(range(1, config.steps + 1), unit="step", desc=name):
        losses.append(learner.step(*next(batches)).numpy())
        if not np.isfinite(losses[-1]).all():
            raise InputError(
                f"The loss of {name} became {losses[-1].sum()} at step {step}; lower learning_rate, "
                "inner_learning_rate or rotation_learning_rate."
            )
        if step in due:
            accuracy = _validate(learner, sources)
            prediction = learner.predict_all(sources.target, target_rows) if every_prediction else None
            found.append(Checkpoint(step, accuracy, prediction, None))
            # Of equals the later one.
            if best is None or accuracy >= best.validation_accuracy:
                best = found[-1]._replace(weights=learner.weights())
    learner.set_weights(best.weights)
    chosen = best._replace(prediction=learner.predict_all(sources.target, target_rows))
    return Trained(chosen, found, np.array(losses))


class _Batches:
    """Yields (images `[tasks, n, size, size, 3]`, labels `[sources, n]`) for ever."""

    def __init__(self, learner: Learner, sources: tasks.Sources):
        size, seed = learner.config.minibatch, learner.seed
        self.sources = [
            (rows.pictures, tasks.endless(rows.rows, size, tasks.training_seed(seed, domain)))
            for domain, rows in sources.train.items()
        ]
        self.target = None
        if learner.head.turns_pictures and learner.config.target_in_training:
            order = tasks.endless(np.arange(len(sources.target)), size, tasks.training_seed(seed, "target"))
            self.target = (sources.target, order)

    def __next__(self):
        rows = [next(order) for _, order in self.sources]
        images = [pictures.images[own] for (pictures, _), own in zip(self.sources, rows, strict=True)]
        labels = [pictures.labels[own] for (pictures, _), own in zip(self.sources, rows, strict=True)]
        if self.target is not None:
            images.append(self.target[0][next(self.target[1])])
        return tf.constant(np.stack(images)), tf.constant(np.stack(labels))


def _validate(learner: Learner, sources: tasks.Sources) -> float:
    accuracies = []
    for rows in sources.validation.values():
        minibatches = tasks.fixed(rows.rows, learner.config.minibatch)
        predicted = learner.predict_all(rows.pictures.images, minibatches)
        accuracies.append(np.mean(predicted == rows.pictures.labels[minibatches]))
    return float(np.mean(accuracies))
