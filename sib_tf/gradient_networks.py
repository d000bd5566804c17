"""Synthetic gradient networks: from the logits of an episode's queries to d loss / d logits, without labels.

Both use each episode's own statistics (`EpisodeNormalization`), so both are transductive themselves.
"""

import keras
from keras import ops

from sib_tf.layers import EpisodeNormalization


def _torch_dense(units: int, inputs: int, name: str) -> keras.layers.Dense:
    """A Dense layer initialised as PyTorch's Linear: kernel and bias uniform in +-1/sqrt(inputs)."""
    bound = inputs**-0.5
    uniform = keras.initializers.RandomUniform(-bound, bound)
    # Initialisers draw the same numbers twice when shared, hence the clone.
    return keras.layers.Dense(units, kernel_initializer=uniform, bias_initializer=uniform.clone(), name=name)


@keras.saving.register_keras_serializable("sib_tf")
class JointGradientNetwork(keras.layers.Layer):
    """The paper's network: it reads all classes of a query at once, so it is built for one way.

    Dense -> ReLU -> norm -> Dense -> ReLU -> norm -> Dense (released code; normalisation comes after ReLU).

    Args:
        way: classes per episode.
        hidden_units: width of the hidden layers; None: 8 * way (released code).

    Call arguments:
        logits: `[episodes, queries, way]` float32.
        query_mask: `[episodes, queries]` bool or None.
        class_mask: must be None or all True: every episode has the same classes.

    Returns:
        Synthetic gradients `[episodes, queries, way]` float32.
    """

    def __init__(self, way: int, hidden_units: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.way, self.hidden_units = way, hidden_units
        units = hidden_units or 8 * way
        self.dense1 = _torch_dense(units, way, "dense1")
        self.norm1 = EpisodeNormalization(name="norm1")
        self.dense2 = _torch_dense(units, units, "dense2")
        self.norm2 = EpisodeNormalization(name="norm2")
        self.dense3 = _torch_dense(way, units, "dense3")

    def build(self, logits_shape, query_mask_shape=None, class_mask_shape=None):
        _build_chain(self, self.way)

    def call(self, logits, query_mask=None, class_mask=None):
        x = self.norm1(ops.relu(self.dense1(logits)), query_mask)
        x = self.norm2(ops.relu(self.dense2(x)), query_mask)
        return self.dense3(x)

    def get_config(self):
        return {**super().get_config(), "way": self.way, "hidden_units": self.hidden_units}


@keras.saving.register_keras_serializable("sib_tf")
class PerClassGradientNetwork(keras.layers.Layer):
    """One small network shared by all classes: equivariant to their order, for any way. Ours, not the paper's.

    For every query i and class c it reads p_ic, log p_ic, the entropy of p_i, the logit less its mean over classes, the
    log of the class's mean probability over the queries, and p_ic over that mean. Its output is centred over the
    classes, as a true cross-entropy gradient is.

    Args:
        hidden_units: width of the two hidden layers; None: 32.

    Call arguments:
        logits: `[episodes, queries, way]` float32.
        query_mask: `[episodes, queries]` bool or None.
        class_mask: `[episodes, way]` bool or None; False for padded classes, whose gradients are 0.

    Returns:
        Synthetic gradients `[episodes, queries, way]` float32.
    """

    _INPUTS = 6

    def __init__(self, hidden_units: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.hidden_units = hidden_units
        units = hidden_units or 32
        self.dense1 = _torch_dense(units, self._INPUTS, "dense1")
        self.norm1 = EpisodeNormalization(name="norm1")
        self.dense2 = _torch_dense(units, units, "dense2")
        self.norm2 = EpisodeNormalization(name="norm2")
        self.dense3 = _torch_dense(1, units, "dense3")

    def build(self, logits_shape, query_mask_shape=None, class_mask_shape=None):
        _build_chain(self, self._INPUTS)

    def call(self, logits, query_mask=None, class_mask=None):
        rows = ops.ones_like(logits[..., :1]) if query_mask is None else ops.cast(query_mask, logits.dtype)[..., None]
        classes = ops.ones_like(logits[:, :1]) if class_mask is None else ops.cast(class_mask, logits.dtype)[:, None]
        mask = rows * classes  # [episodes, queries, way]
        x = _class_inputs(logits, rows, classes)
        x = self.norm1(ops.relu(self.dense1(x)), mask)
        x = self.norm2(ops.relu(self.dense2(x)), mask)
        gradients = self.dense3(x)[..., 0]
        return (gradients - _mean(gradients, classes)) * mask

    def get_config(self):
        return {**super().get_config(), "hidden_units": self.hidden_units}


def _build_chain(network, inputs: int) -> None:
    units = network.dense1.units
    network.dense1.build((None, None, inputs))
    for layer in (network.norm1, network.dense2, network.norm2, network.dense3):
        layer.build((None, None, units))


def _class_inputs(logits, rows, classes):
    """The six numbers per query and class: `[episodes, queries, way, 6]`."""
    log_p = ops.log_softmax(logits + (classes - 1.0) * 1e9, axis=-1)
    # Padded classes get finite numbers that count for nothing.
    log_p = ops.maximum(log_p, -50.0)
    p = ops.exp(log_p) * classes
    entropy = -ops.sum(p * log_p, axis=-1, keepdims=True) * ops.ones_like(p)
    centred = logits - _mean(logits, classes)
    marginal = ops.sum(p * rows, axis=1, keepdims=True) / ops.maximum(ops.sum(rows, axis=1, keepdims=True), 1.0)
    marginal = ops.maximum(marginal, 1e-20)
    log_marginal = ops.log(marginal) * ops.ones_like(p)
    # Of unmasked rows the ratio is at most their number; of masked ones its square could be infinite, and NaN for all.
    ratio = p * rows / marginal
    return ops.stack([p, log_p, entropy, centred, log_marginal, ratio], axis=-1)


def _mean(values, classes):
    return ops.sum(values * classes, axis=-1, keepdims=True) / ops.maximum(
        ops.sum(classes, axis=-1, keepdims=True), 1.0
    )
