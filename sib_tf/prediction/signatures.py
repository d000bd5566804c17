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
        path = [self._weights(theta) for theta in path]  # [episodes, way, S or 1, D] each
        if self.calibration is not None:
            seen = query if self.samples else seen  # Of all steps alike.
            logits = [mixture_logits(self._logits(weights, seen, class_mask)) for weights in path]
            temperatures = [self.calibration.temperature(x, step, query_mask) for step, x in enumerate(logits)]
            path = [self._with_length(weights, 1.0 / t) for weights, t in zip(path, temperatures, strict=True)]
        if self.samples:
            # A padded class has samples around zero: they are no class's.
            path = [tf.where(class_mask[..., None, None], weights, 0.0) for weights in path]
        there = _THERE * tf.cast(class_mask, tf.float32)[..., None, None]
        path = [weights + there for weights in path]
        path = [tf.reshape(weights, (*tf.unstack(tf.shape(weights))[:2], self.weights_dim or -1)) for weights in path]
        return {"weights": path[-1], "weights_by_step": tf.stack(path, axis=1)}

    def classify(self, query, weights) -> dict:
        """Features `[episodes, queries, D]` under weights `[episodes, way, D]`, of samples `[episodes, way, S * D]`.

        Returns:
            logits, probabilities: `[episodes, queries, way]` float32; probability 0 for classes with weights of zero.
            uncertainty: with samples, `[episodes, queries]` float32, their disagreement in nats, before calibration.
        """
        class_mask = tf.reduce_any(weights != 0, axis=-1)
        samples = max(self.samples, 1)
        dim = self.weights_dim // samples if self.weights_dim else -1
        weights = tf.reshape(weights, (*tf.unstack(tf.shape(weights))[:2], samples, dim))
        sampled = self._logits(weights, query, class_mask)
        logits = tf.where(class_mask[:, None], mixture_logits(sampled), MASKED_LOGIT)
        # Classes without weights have length 0, the others all the same.
        inverse = (
            1.0
            if self.calibration is None
            else tf.reduce_max(norm(self._parts(weights)[0][:, :, 0]), axis=1, keepdims=True)
        )
        result = {"logits": logits, "probabilities": tf.nn.softmax(logits * inverse)}
        return {**result, "uncertainty": disagreement(sampled)} if self.samples else result

    @property
    def weights_dim(self) -> int | None:
        """Numbers of a class's weights: S * D, or D and as many of the centre; None where D is any."""
        dim = self.sib.config.feature_dim
        return dim and (max(self.samples, 1) if self.sib.normalizer is None else 2) * dim

    def _parts(self, weights) -> list:
        """The classifiers `[..., D]`, and what stands behind them: the centre, or nothing."""
        return [weights] if self.sib.normalizer is None else tf.split(weights, 2, axis=-1)

    def _with_length(self, weights, length):
        """Classifiers of that length, `[episodes]`, in place of their own."""
        classifiers, *centre = self._parts(weights)
        return tf.concat([unit(classifiers) * length[:, None, None, None], *centre], axis=-1)

    def _weights(self, theta):
        """Classifiers of a step, `[episodes, way, S, D]`; S is 1 where nothing is sampled."""
        if self.sib.normalizer is not None:
            return theta[:, :, None]
        if not self.samples:
            return self.sib.mean_weights(theta)[:, :, None]
        dim, way = self.sib.config.feature_dim, ops.shape(theta)[1]
        drawn = self.sib.posterior.draw(theta, fixed_noise(self.samples, way, dim))
        return tf.transpose(tf.reshape(drawn, (-1, self.samples, way, dim)), (0, 2, 1, 3))

    def _logits(self, weights, query, class_mask):
        """Logits `[episodes, S, queries, way]` under weights `[episodes, way, S, D]`."""
        samples, way = max(self.samples, 1), tf.shape(weights)[1]
        if samples == 1:
            return self.sib.weights_logits(weights[:, :, 0], query, class_mask)[:, None]
        flat = tf.reshape(tf.transpose(weights, (0, 2, 1, 3)), (-1, way, weights.shape[-1]))
        logits = self.sib.weights_logits(
            flat, tf.repeat(query, samples, axis=0), tf.repeat(class_mask, samples, axis=0)
        )
        return tf.reshape(logits, (-1, samples, tf.shape(query)[1], way))
