"""Synthetic gradient networks: from the logits of an episode's queries to d loss / d logits, without labels.

Both use each episode's own statistics (`EpisodeNormalization`), so both are transductive themselves.
"""

from typing import NamedTuple

import keras
from keras import ops

from sib_tf.layers import EpisodeNormalization, dense, normalized, row_weights

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
        x = self.norm1(ops.relu(dense(self.dense1, logits)), query_mask)
        x = self.norm2(ops.relu(dense(self.dense2, x)), query_mask)
        return dense(self.dense3, x)

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
        counted = _Counted.of(logits, support_counts, query_mask, class_mask)
        p, share, inputs, context = _seen(logits, counted)
        scale1, shift1, scale2, shift2 = self._modulated(context)
        weights = row_weights(inputs[..., :1], counted.mask)
        x = normalized(ops.relu(dense(self.dense1, inputs)), weights, scale1, shift1, self.norm1.epsilon)
        x = normalized(ops.relu(dense(self.dense2, x)), weights, scale2, shift2, self.norm2.epsilon)
        first, second = ops.unstack(dense(self.dense3, x), 2, axis=-1)
        centred = (first - counted.class_mean(first)) * counted.mask
        return centred + second * p * (_PULL / (share + _LEAST_SHARE))

    def _modulated(self, context) -> list:
        """Scale and shift of both normalisations, `[episodes, 1, 1, units]` each: gamma and beta, modulated.

        What depends on weights alone comes first: files have the result of it.
        """
        layer, gammas, betas = self.modulation, (self.norm1.gamma, self.norm2.gamma), (self.norm1.beta, self.norm2.beta)

        def modulated(values, one: float):
            factor1, offset1, factor2, offset2 = ops.split(values, 4, axis=-1)
            parts = []
            for factor, offset, gamma, beta in zip((factor1, factor2), (offset1, offset2), gammas, betas, strict=True):
                parts += [gamma * (factor + one), beta * (factor + one) + offset]
            return ops.concatenate(parts, axis=-1)

        found = dense(self.context, context) @ modulated(layer.kernel, 0.0) + modulated(layer.bias, 1.0)
        return ops.split(ops.expand_dims(found, (1, 2)), 4, axis=-1)

    def get_config(self):
        return {**super().get_config(), "hidden_units": self.hidden_units}


def build(kind: str, way: int | None, hidden_units: int | None = None, name: str = "gradient_network"):
    """Returns the network that `kind`, one of `config.GRADIENT_NETWORKS`, names; `way` counts for "joint" alone."""
    if kind == "joint":
        return JointGradientNetwork(way, hidden_units, name=name)
    return PerClassGradientNetwork(hidden_units, name=name)


class _Counted(NamedTuple):
    """What counts of an episode, in every step the same.

    Attributes:
        rows: `[episodes, queries, 1]` float32, 1 for queries that count.
        classes: `[episodes, 1, way]` float32, 1 for classes that there are.
        mask: `[episodes, queries, way]`, both.
        row_shares: `[episodes, 1, queries]`, what each query counts for in a mean.
        class_shares: `[episodes, 1, way]`, and what each class does.
        queries, way: `[episodes, 1]`, their numbers, at least 1.
        log_shots: `[episodes, 1, way]`, of the labelled pictures of every class.
    """

    rows: object
    classes: object
    mask: object
    row_shares: object
    class_shares: object
    queries: object
    way: object
    log_shots: object

    @classmethod
    def of(cls, logits, support_counts, query_mask=None, class_mask=None) -> "_Counted":
        """Masks and counts as the networks take them."""
        query_mask = ops.ones_like(logits[..., 0]) if query_mask is None else ops.cast(query_mask, logits.dtype)
        class_mask = ops.ones_like(logits[:, 0]) if class_mask is None else ops.cast(class_mask, logits.dtype)
        queries, way = (ops.maximum(ops.sum(mask, -1, keepdims=True), 1.0) for mask in (query_mask, class_mask))
        rows, classes = ops.expand_dims(query_mask, -1), ops.expand_dims(class_mask, 1)
        row_shares, class_shares = (ops.expand_dims(m / n, 1) for m, n in ((query_mask, queries), (class_mask, way)))
        log_shots = ops.expand_dims(ops.log(ops.maximum(support_counts, 1.0)), 1)
        return cls(rows, classes, rows * classes, row_shares, class_shares, queries, way, log_shots)

    def query_mean(self, values):
        """Mean over the queries of `[episodes, queries, way]`: `[episodes, 1, way]`."""
        return ops.matmul(self.row_shares, values)

    def class_mean(self, values):
        """Mean over the classes of `[episodes, queries, way]`: `[episodes, queries, 1]`."""
        return ops.sum(values * self.class_shares, axis=-1, keepdims=True)


def _seen(logits, counted: _Counted) -> tuple:
    """What the per-class network sees of logits `[episodes, queries, way]`.

    Returns:
        p: `[episodes, queries, way]`, probabilities; 0 for padded classes and masked queries.
        share: `[episodes, 1, way]`, their mean over the queries.
        inputs: `[episodes, queries, way, 7]`, the seven numbers per query and class.
        context: `[episodes, 6]`, of `_episode_context`.
    """
    unpadded = logits + (counted.classes - 1.0) * 1e9
    p = ops.softmax(unpadded, axis=-1) * counted.rows
    # Padded classes get finite numbers that count for nothing.
    log_p = ops.maximum(ops.log_softmax(unpadded, axis=-1), -50.0)
    surprise, share = p * log_p, counted.query_mean(p)
    everywhere = ops.ones_like(counted.mask)
    entropy = ops.sum(surprise, axis=-1, keepdims=True) * -everywhere
    centred = logits - counted.class_mean(logits)
    marginal = ops.maximum(share, 1e-20)
    # Of unmasked rows the ratio is at most their number; of masked ones its square could be infinite, and NaN for all.
    ratio = p / marginal
    inputs = [p, log_p, entropy, centred, ops.log(marginal) * everywhere, ratio, counted.log_shots * everywhere]
    return p, share, ops.stack(inputs, axis=-1), _episode_context(log_p, surprise, share, counted)


def _episode_context(log_p, surprise, share, counted: _Counted):
    """Six numbers of every episode, bounded or nearly so: `[episodes, 6]`.

    Mean entropy of the queries; by how much the classes' shares are less even than possible, once from the
    probabilities as they are and once from sharpened ones; mean log number of shots; queries and classes.
    """
    shares = ops.concatenate([share, counted.query_mean(ops.softmax(_SHARPENING * log_p, axis=-1))], axis=1)
    terms = ops.concatenate([counted.query_mean(surprise), shares * ops.log(shares + 1e-9)], axis=1)
    # Factors of five: all six are of the order of one.
    uneven = ops.sum(terms, axis=-1) * ops.array([-1.0, 5.0, 5.0], terms.dtype)
    uneven = uneven + ops.log(counted.way) * ops.array([0.0, 5.0, 5.0], terms.dtype)
    shots = ops.sum(counted.log_shots * counted.class_shares, axis=-1)
    return ops.concatenate([uneven, shots, counted.queries / (counted.queries + 10.0), 1.0 / counted.way], axis=-1)
