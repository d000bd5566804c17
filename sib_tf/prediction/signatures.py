"""What every exported file computes: embed, adapt, classify. Keras models in, TensorFlow functions out; no checks.

The K steps are those of `sib_tf.sib.SIB`. A class whose weights are all zero has no labelled picture: it gets no
probability, so that `classify` needs no mask beside the weights. The length of a class's weights means nothing to a
cosine classifier; with a calibration it carries the episode's temperature, as 1 / T, from `adapt` to `classify`.
"""

import keras
import tensorflow as tf
from keras import ops

from sib_tf.calibration import Calibration
from sib_tf.distributions import disagreement, fixed_noise, mixture_logits
from sib_tf.layers import norm, unit
from sib_tf.sib import MASKED_LOGIT, SIB

# Added to the weights of classes that there are: features of zero make weights of zero, which no class has. Far below
# the rounding of any other weights, and of cosines, and still no denormal number.
_THERE = 1e-30


class Signatures:
    """The three computations of one backbone and the SIB model that was meta-trained on its features.

    Args:
        backbone: from `sib_tf.backbones`; None: the head is all there is, and `embed` is not.
        sib: takes the backbone's features.
        calibration: makes the probabilities mean what they say; None: they are the softmax of the logits.
        samples: S, of a gaussian posterior's weights, that classify together; 0: its mean does. The weights of a class
            are then S classifiers side by side, S * D numbers.
    """

    def __init__(
        self, backbone: keras.Model | None, sib: SIB, calibration: Calibration | None = None, samples: int = 0
    ):
        self.backbone, self.sib, self.calibration, self.samples = backbone, sib, calibration, samples

    def embed(self, images) -> tf.Tensor:
        """`[pictures, size, size, 3]` (RGB, 0-255) -> features `[pictures, D]` float32."""
        return self.backbone(tf.cast(images, tf.float32), training=False)

    def adapt(self, support, support_labels, query, support_mask=None, query_mask=None, way=None) -> dict:
        """The K steps; arguments as for `SIB.adapt`.

        Returns:
            weights: `[episodes, way, D]`, theta^K; with samples `[episodes, way, S * D]`.
            weights_by_step: `[episodes, K + 1, way, D]`, theta^0 .. theta^K; with a calibration all of length 1 / T.
        """
        path, class_mask, seen = self.sib.adapt_seen(support, support_labels, query, support_mask, query_mask, way)
        steps = len(path)
        # Side by side as classes are, so that what follows is done once and not for every step.
        weights = tf.concat([self._weights(theta) for theta in path], axis=1)
        if self.calibration is None:
            weights = _by_step(weights, steps, 1)
        else:
            masks = tf.concat([class_mask] * steps, axis=1)
            sampled = self._logits(weights, query if self.samples else seen, masks)
            logits = tf.stack([self._mixture(each) for each in tf.split(sampled, steps, axis=-1)], axis=1)
            length = 1.0 / self.calibration.temperatures(logits, query_mask)
            weights = self._with_length(_by_step(self._units(weights), steps, 1), length)
        there = ops.expand_dims(tf.cast(class_mask, tf.float32), (1, 3))
        if self.samples:
            # A padded class has samples around zero: they are no class's.
            weights = tf.where(there > 0, weights, 0.0)
        weights = weights + _THERE * there
        return {"weights": weights[:, -1], "weights_by_step": weights}

    def classify(self, query, weights) -> dict:
        """Features `[episodes, queries, D]` under weights `[episodes, way, D]`, of samples `[episodes, way, S * D]`.

        Returns:
            logits, probabilities: `[episodes, queries, way]` float32; probability 0 for classes with weights of zero.
            uncertainty: with samples, `[episodes, queries]` float32, their disagreement in nats, before calibration.
        """
        class_mask = tf.reduce_any(weights != 0, axis=-1)
        sampled = self._logits(weights, query, class_mask)
        logits = self._mixture(sampled)
        if self.samples:
            logits = tf.where(class_mask[:, None], logits, MASKED_LOGIT)
        # Classes without weights have length 0, the others all the same.
        inverse = 1.0 if self.calibration is None else tf.reduce_max(norm(self._first(weights)), axis=1, keepdims=True)
        result = {"logits": logits, "probabilities": tf.nn.softmax(logits * inverse)}
        return {**result, "uncertainty": disagreement(sampled)} if self.samples else result

    @property
    def weights_dim(self) -> int | None:
        """Numbers of a class's weights: S * D, or D and as many of the centre; None where D is any."""
        dim = self.sib.config.feature_dim
        return dim and (max(self.samples, 1) if self.sib.normalizer is None else 2) * dim

    def _parts(self, weights) -> list:
        """The classifiers `[..., S * D]`, and what stands behind them: the centre, or nothing."""
        return [weights] if self.sib.normalizer is None else tf.split(weights, 2, axis=-1)

    def _units(self, weights):
        """Classifiers `[episodes, way, S * D]` of length 1 each, what stands behind them as it is."""
        if self.samples:
            return tf.reshape(unit(self._samples(weights)), tf.shape(weights))
        classifiers, *centre = self._parts(weights)
        return tf.concat([unit(classifiers), *centre], axis=-1)

    def _with_length(self, weights, length):
        """Classifiers of length 1, `[episodes, K + 1, way, S * D]`, of `length` `[episodes, K + 1]`."""
        classifiers, *centre = self._parts(weights)
        return tf.concat([classifiers * ops.expand_dims(length, (2, 3)), *centre], axis=-1)

    def _samples(self, weights):
        """`[episodes, way, S * D]` -> `[episodes, way, S, D]`."""
        return tf.reshape(weights, (*tf.unstack(tf.shape(weights))[:2], self.samples, self.weights_dim // self.samples))

    def _first(self, weights):
        """One classifier of each class, `[episodes, way, D]`."""
        return self._samples(weights)[:, :, 0] if self.samples else self._parts(weights)[0]

    def _weights(self, theta):
        """Classifiers of a step, and what stands behind them, `[episodes, way, S * D or 2 D]`."""
        if self.sib.normalizer is not None:
            return theta
        if not self.samples:
            return self.sib.mean_weights(theta)
        dim, way = self.sib.config.feature_dim, ops.shape(theta)[1]
        drawn = self.sib.posterior.draw(theta, fixed_noise(self.samples, way, dim))
        side_by_side = tf.transpose(tf.reshape(drawn, (-1, self.samples, way, dim)), (0, 2, 1, 3))
        return tf.reshape(side_by_side, (-1, way, self.weights_dim))

    def _logits(self, weights, query, class_mask):
        """Logits `[episodes, queries, way]`, of samples `[episodes, S, queries, way]`; weights as of `_weights`."""
        if not self.samples:
            return self.sib.weights_logits(weights, query, class_mask)
        samples, way = self.samples, tf.shape(weights)[1]
        weights = self._samples(weights)
        flat = tf.reshape(tf.transpose(weights, (0, 2, 1, 3)), (-1, way, weights.shape[-1]))
        logits = self.sib.weights_logits(
            flat, tf.repeat(query, samples, axis=0), tf.repeat(class_mask, samples, axis=0)
        )
        return tf.reshape(logits, (-1, samples, tf.shape(query)[1], way))

    def _mixture(self, logits):
        """One logit for each query and class, of `_logits`."""
        return mixture_logits(logits) if self.samples else logits


def _by_step(values, steps: int, axis: int):
    """What lies side by side along an axis, on an axis of its own behind the first."""
    return tf.stack(tf.split(values, steps, axis=axis), axis=1)
