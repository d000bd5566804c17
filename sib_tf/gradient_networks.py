"""Synthetic gradient networks: from the logits of an episode's queries to d loss / d logits, without labels.

Both use each episode's own statistics (`EpisodeNormalization`), so both are transductive themselves.
"""

import keras
from keras import ops

from sib_tf.layers import EpisodeNormalization

# Of the second output of the per-class network, so that at the start both outputs pull about as hard.
_PULL = 0.2
# Of probabilities, as a power: nearly all of it goes to the most probable class.
_SHARPENING = 20.0
# Added to a class's share of the queries: a class without any moves little, and by a finite number.
_LEAST_SHARE = 0.02


def _torch_dense(units: int, inputs: int, name: str) -> keras.layers.Dense:
    """A Dense layer initialised as PyTorch's Linear: kernel and bias uniform in +-1/sqrt(inputs)."""
    bound = inputs**-0.5
    uniform = keras.initializers.RandomUniform(-bound, bound)
    # Initialisers draw the same numbers twice when shared, hence the clone.
    return keras.layers.Dense(units, kernel_initializer=uniform, bias_initializer=uniform.clone(), name=name)


class _ThreeLayers(keras.layers.Layer):
    """Dense -> ReLU -> norm -> Dense -> ReLU -> norm -> Dense (released code; normalisation comes after ReLU)."""

    def __init__(self, inputs: int, units: int, outputs: int, **kwargs):
        super().__init__(**kwargs)
        self._inputs = inputs
        self.dense1 = _torch_dense(units, inputs, "dense1")
        self.norm1 = EpisodeNormalization(name="norm1")
        self.dense2 = _torch_dense(units, units, "dense2")
        self.norm2 = EpisodeNormalization(name="norm2")
        self.dense3 = _torch_dense(outputs, units, "dense3")

    def build(self, logits_shape, support_counts_shape=None, query_mask_shape=None, class_mask_shape=None):
        self.dense1.build((None, None, self._inputs))
        for layer in (self.norm1, self.dense2, self.norm2, self.dense3):
            layer.build((None, None, self.dense1.units))


@keras.saving.register_keras_serializable("sib_tf")
class JointGradientNetwork(_ThreeLayers):
    """The paper's network: it reads all classes of a query at once, so it is built for one way.

    Called as `PerClassGradientNetwork`, it ignores the counts, and the mask of the classes: every episode has all.
    Its hidden layers are `hidden_units` wide, or 8 * way (released code).
    """

    def __init__(self, way: int, hidden_units: int | None = None, **kwargs):
        super().__init__(way, hidden_units or 8 * way, way, **kwargs)
        self.way, self.hidden_units = way, hidden_units

    def call(self, logits, support_counts=None, query_mask=None, class_mask=None):
        x = self.norm1(ops.relu(self.dense1(logits)), query_mask)
        x = self.norm2(ops.relu(self.dense2(x)), query_mask)
        return self.dense3(x)

    def get_config(self):
        return {**super().get_config(), "way": self.way, "hidden_units": self.hidden_units}


@keras.saving.register_keras_serializable("sib_tf")
class PerClassGradientNetwork(_ThreeLayers):
    """One small network shared by all classes: equivariant to their order, for any way. Ours, not the paper's.

    For every query i and class c it reads p_ic, log p_ic, the entropy of p_i, the logit less its mean over classes, the
    log of the class's mean probability over the queries, p_ic over that mean, and the log of the number of the class's
    labelled pictures. What is the same for a whole episode (how sure, how balanced, how many queries, shots and
    classes) would not survive the normalisation: a second small network turns it into a factor and an offset for every
    hidden unit (feature-wise modulation; Perez et al., AAAI 2018).

    There are two outputs, a_ic and b_ic; returned is a_ic - mean_c a_ic + b_ic * p_ic / share_c, where share_c is the
    mean of p_ic over the queries. The first is centred over the classes, as a true loss gradient is; the second moves
    a class that few queries belong to as far as one that many do. The two hidden layers are `hidden_units` wide, or 32.

    Call arguments:
        logits: `[episodes, queries, way]` float32.
        support_counts: `[episodes, way]` float32, labelled pictures of every class.
        query_mask: `[episodes, queries]` bool or None.
        class_mask: `[episodes, way]` bool or None; False for padded classes, whose gradients are 0.

    Returns:
        Synthetic gradients `[episodes, queries, way]` float32.
    """

    def __init__(self, hidden_units: int | None = None, **kwargs):
        units = hidden_units or 32
        super().__init__(7, units, 2, **kwargs)
        self.hidden_units = hidden_units
        self.context = keras.layers.Dense(32, activation="relu", name="context")
        # Zeros: at the start nothing is modulated.
        self.modulation = keras.layers.Dense(4 * units, kernel_initializer="zeros", name="modulation")

    def build(self, logits_shape, support_counts_shape=None, query_mask_shape=None, class_mask_shape=None):
        super().build(logits_shape)
        self.context.build((None, 6))
        self.modulation.build((None, self.context.units))

    def call(self, logits, support_counts, query_mask=None, class_mask=None):
        rows = ops.ones_like(logits[..., :1]) if query_mask is None else ops.cast(query_mask, logits.dtype)[..., None]
        classes = ops.ones_like(logits[:, :1]) if class_mask is None else ops.cast(class_mask, logits.dtype)[:, None]
        mask = rows * classes  # [episodes, queries, way]
        x = _class_inputs(logits, support_counts, rows, classes)
        p, log_p = x[..., 0] * rows, x[..., 1]
        modulation = self.modulation(self.context(_episode_context(p, log_p, support_counts, rows, classes)))
        factor1, offset1, factor2, offset2 = ops.split(modulation[:, None, None], 4, axis=-1)
        x = self.norm1(ops.relu(self.dense1(x)), mask) * (1.0 + factor1) + offset1
        x = self.norm2(ops.relu(self.dense2(x)), mask) * (1.0 + factor2) + offset2
        x = self.dense3(x)
        centred = (x[..., 0] - _mean(x[..., 0], classes)) * mask
        share = ops.sum(p, axis=1, keepdims=True) / ops.maximum(ops.sum(rows, axis=1, keepdims=True), 1.0)
        return centred + _PULL * x[..., 1] * p * classes / (share + _LEAST_SHARE)

    def get_config(self):
        return {**super().get_config(), "hidden_units": self.hidden_units}


def build(kind: str, way: int | None, hidden_units: int | None = None, name: str = "gradient_network"):
    """Returns the network that `kind`, one of `config.GRADIENT_NETWORKS`, names; `way` counts for "joint" alone."""
    if kind == "joint":
        return JointGradientNetwork(way, hidden_units, name=name)
    return PerClassGradientNetwork(hidden_units, name=name)


def _class_inputs(logits, support_counts, rows, classes):
    """The seven numbers per query and class: `[episodes, queries, way, 7]`."""
    log_p = ops.log_softmax(logits + (classes - 1.0) * 1e9, axis=-1)
    # Padded classes get finite numbers that count for nothing.
    log_p = ops.maximum(log_p, -50.0)
    p = ops.exp(log_p) * classes
    everywhere = ops.ones_like(p)
    entropy = -ops.sum(p * log_p, axis=-1, keepdims=True) * everywhere
    centred = logits - _mean(logits, classes)
    queries = ops.sum(rows, axis=1, keepdims=True)
    marginal = ops.sum(p * rows, axis=1, keepdims=True) / ops.maximum(queries, 1.0)
    marginal = ops.maximum(marginal, 1e-20)
    log_marginal = ops.log(marginal) * everywhere
    # Of unmasked rows the ratio is at most their number; of masked ones its square could be infinite, and NaN for all.
    ratio = p * rows / marginal
    log_shots = ops.log(ops.maximum(support_counts, 1.0))[:, None] * everywhere
    return ops.stack([p, log_p, entropy, centred, log_marginal, ratio, log_shots], axis=-1)


def _episode_context(p, log_p, support_counts, rows, classes):
    """Six numbers of every episode, bounded or nearly so: `[episodes, 6]`.

    Mean entropy of the queries; by how much the classes' shares are less even than possible, once from the
    probabilities as they are and once from sharpened ones; mean log number of shots; queries and classes.
    """
    queries = ops.maximum(ops.sum(rows, axis=(1, 2)), 1.0)
    way = ops.maximum(ops.sum(classes, axis=(1, 2)), 1.0)
    entropy = -ops.sum(p * log_p, axis=(1, 2)) / queries
    sharp = ops.softmax(_SHARPENING * log_p + (classes - 1.0) * 1e9, axis=-1) * rows
    unevenness = [
        ops.log(way) + ops.sum(share * ops.log(share + 1e-9) * classes[:, 0], axis=-1)
        for share in (ops.sum(each, axis=1) / queries[:, None] for each in (p, sharp))
    ]
    shots = ops.sum(ops.log(ops.maximum(support_counts, 1.0)) * classes[:, 0], axis=-1) / way
    # Factors of five: all six are of the order of one.
    uneven, uneven_sharp = (5.0 * each for each in unevenness)
    return ops.stack([entropy, uneven, uneven_sharp, shots, queries / (queries + 10.0), 1.0 / way], axis=-1)


def _mean(values, classes):
    count = ops.maximum(ops.sum(classes, axis=-1, keepdims=True), 1.0)
    return ops.sum(values * classes, axis=-1, keepdims=True) / count
