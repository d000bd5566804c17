"""Features of any backbone made alike: every episode chooses the centre that its unit rows are seen from.

Ours, not the paper's. Cosines of features that lie in a cone (after a ReLU, or of pictures unlike those of the
backbone's training) are all near 1; taking a common centre off spreads them. Which centre is safe depends on the
episode: the mean of the unlabelled rows helps where these are spread evenly over the classes and there are few
labelled ones, and harms where one class has nearly all. A small network reads what tells these cases apart, none of
which depends on D, and chooses; it is trained with the steps, through them.
"""

from typing import NamedTuple

import keras
from keras import ops

from sib_tf.layers import dense, norm, unit

# Queries at which their mean counts for half of what it may.
_HALF = 10.0
# Logit scale of the assignments that the context is read from.
_LOOK_SCALE = 40.0
CONTEXT = 17
# Where the gates begin: centre of the support, of the queries, of classes refined; two domains; scale; trust.
_START = (0.0, -1.0, -1.0, -3.0, 0.0, 2.0)


class Frame(NamedTuple):
    """Where an episode's rows lie, and how far the steps may trust what they see there.

    Attributes:
        support: `[episodes, support_rows, D]`, unit rows.
        query: `[episodes, queries, D]`, unit rows.
        centre: `[episodes, 1, D]`, of the queries, and of all that is classified later.
        scale: `[episodes, 1, 1]` above 0, what logits are multiplied by in the steps.
        trust: `[episodes, 1, 1]` in [0, 1], what the queries' gradient is multiplied by.
        context: `[episodes, 17]`, the numbers that all of these were chosen by.
    """

    support: object
    query: object
    centre: object
    scale: object
    trust: object
    context: object

    def behind(self, weights, class_mask):
        """The centre behind every class's w, `[episodes, way, 2 D]`; zeros behind padding."""
        centre = ops.where(ops.expand_dims(class_mask, -1), self.centre, 0.0)
        return ops.concatenate([weights, centre], axis=-1)


class Rows(NamedTuple):
    """Unit rows of an episode, and what counts of them.

    Attributes:
        support, query: `[episodes, rows, D]`.
        membership: `[episodes, support_rows, way]`.
        mask: `[episodes, queries, 1]` float32.
        counts: `[episodes, way, 1]`, labelled rows.
    """

    support: object
    query: object
    membership: object
    mask: object
    counts: object

    @classmethod
    def of(cls, support, membership, query, query_mask) -> "Rows":
        """Rows with a mask `[episodes, queries]`, or None: all count."""
        mask = ops.ones_like(query[..., 0]) if query_mask is None else ops.cast(query_mask, query.dtype)
        counts = ops.sum(membership, axis=1)
        return cls(support, query, membership, ops.expand_dims(mask, -1), ops.expand_dims(counts, -1))

    @property
    def classes(self):
        """`[episodes, way, 1]`, 1 for classes that there are."""
        return ops.cast(self.counts > 0, self.mask.dtype)

    @property
    def way(self):
        """`[episodes, 1, 1]`, their number."""
        return ops.maximum(ops.sum(self.classes, axis=1, keepdims=True), 1.0)

    @property
    def queries(self):
        """`[episodes, 1, 1]`, their number."""
        return ops.sum(self.mask, axis=1, keepdims=True)

    def class_mean(self, values):
        """Mean over the classes of `[episodes, way, n]`: `[episodes, 1, n]`."""
        return ops.matmul(ops.swapaxes(self.classes, 1, 2) / self.way, values)

    def query_mean(self, values):
        """Mean over the queries of `[episodes, queries, n]`: `[episodes, 1, n]`; 0 without any."""
        return ops.matmul(ops.swapaxes(self.mask, 1, 2) / ops.maximum(self.queries, 1.0), values)

    @property
    def share(self):
        """`[episodes, 1, 1]` in [0, 1): how far their number goes."""
        return self.queries / (self.queries + _HALF)

    @property
    def log_way(self):
        """`[episodes, 1, 1]` above 0."""
        return ops.log(ops.maximum(self.way, 1.0001))

    def joining(self, look, scale: float = _LOOK_SCALE):
        """What part of each query joins each class by its cosines, `[episodes, queries, way]`; 0 for padded classes."""
        return ops.softmax(scale * look, axis=-1)

    def unevenness(self, *joined):
        """0 where the queries join all classes alike, 5 where all join one: `[episodes, 1, n]`; less of few queries."""
        shares = ops.concatenate([self.query_mean(each) for each in joined], axis=1)
        terms = ops.expand_dims(ops.sum(shares * ops.log(shares + 1e-9), axis=-1), 1)
        most = 5.0 * self.share
        return most + most / self.log_way * terms

    def entropy(self, *joined):
        """How unsure the queries are of their class, in [0, 1]: `[episodes, 1, n]`."""
        terms = ops.concatenate([self.query_mean(each * ops.log(each + 1e-9)) for each in joined], axis=1)
        return ops.expand_dims(ops.sum(terms, axis=-1), 1) / -self.log_way

    def nearest(self, *looks):
        """Mean over the queries of the cosine with the class that is nearest, `[episodes, 1, n]`."""
        return self.query_mean(ops.concatenate([ops.max(look, axis=-1, keepdims=True) for look in looks], axis=-1))

    def own(self, look):
        """Mean over the labelled rows of what `look` `[episodes, support_rows, way]` says of their own class."""
        weights = self.membership / ops.maximum(ops.sum(self.counts, axis=1, keepdims=True), 1.0)
        return ops.sum(weights * look, axis=(1, 2), keepdims=True)

    def look(self, means, rows, centre=None):
        """Cosines of unit rows and class means seen from a centre, `[episodes, rows, way]`; -1e9 where is no class.

        Without a centre they are seen from the origin, where unit rows are what they are.
        """
        if centre is not None:
            rows, means = unit(rows - centre), means - centre
        return self.looks([means], rows)[0]

    def looks(self, several: list, rows) -> list:
        """`look` without a centre at several means of the classes, in one product."""
        together = ops.concatenate(several, axis=1) if several[1:] else several[0]
        cosine = ops.matmul(rows, ops.swapaxes(unit(together), 1, 2))
        padding = (ops.swapaxes(self.classes, 1, 2) - 1.0) * 1e9
        parts = ops.split(cosine, len(several), axis=-1) if several[1:] else [cosine]
        return [part + padding for part in parts]


@keras.saving.register_keras_serializable("sib_tf")
class EpisodeNormalizer(keras.layers.Layer):
    """Chooses the centre of an episode; a pure function of its features, whatever their length.

    The centre is a * m_s + n / (n + 10) * (b * (m_q - m_s) + c * (m_r - m_s)): m_s is the mean of the support, all
    classes alike; m_q that of the n queries; m_r that of the classes after the queries joined them. Where labelled and
    unlabelled rows come from two domains, each goes some way to its own mean. a, b, c and that way are gates in (0, 1).
    """

    def __init__(self, units: int = 24, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.hidden1 = keras.layers.Dense(units, activation="relu", name="hidden1")
        self.hidden2 = keras.layers.Dense(units, activation="relu", name="hidden2")
        # Zeros: at the start all episodes are treated alike.
        self.gates = keras.layers.Dense(len(_START), kernel_initializer="zeros", name="gates")

    def build(self, *_):
        self.hidden1.build((None, CONTEXT))
        self.hidden2.build((None, self.units))
        self.gates.build((None, self.units))

    def call(self, support, membership, query, query_mask=None) -> Frame:
        """Features `[episodes, rows, D]`, the support's `membership` `[episodes, support_rows, way]`, and a mask."""
        support, query = unit(support), unit(query)
        rows = Rows.of(support, membership, query, query_mask)
        sums = ops.matmul(ops.swapaxes(membership, 1, 2), support)
        means = sums / ops.maximum(rows.counts, 1.0)
        of_support, of_query = rows.class_mean(means), rows.query_mean(query)
        share = rows.share
        middle = of_support + 0.5 * share * (of_query - of_support)
        seen = rows.look(means, query, middle)
        joined = rows.joining(seen) * rows.mask
        refined = sums + ops.matmul(ops.swapaxes(joined, 1, 2), query)
        refined = refined / ops.maximum(rows.counts + ops.expand_dims(ops.sum(joined, axis=1), -1), 1e-6)
        of_refined = rows.class_mean(refined)
        context = _context(rows, means, middle, seen, joined, share, refined)
        chosen = dense(self.gates, dense(self.hidden2, dense(self.hidden1, context)))
        chosen = ops.expand_dims(chosen + ops.convert_to_tensor(_START, query.dtype), 1)
        scale = ops.split(chosen, len(_START), axis=-1)[4]
        a, b, c, own, _, trust = ops.split(ops.sigmoid(chosen), len(_START), axis=-1)
        to_query, to_refined = share * b, share * c
        common = a * of_support + to_query * (of_query - of_support) + to_refined * (of_refined - of_support)
        centre = common + own * share * (of_query - common)
        support = unit(support - (common + own * (of_support - common)))
        return Frame(support, unit(query - centre), centre, ops.exp(ops.clip(scale, -2.0, 2.0)), trust, context)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def _context(rows: Rows, means, middle, seen, joined, share, refined):
    """What the gates read, of the order of one and none of it of length D: `[episodes, 17]`.

    Queries, classes, shots and their spread; how far apart the two means are, and by how much the classes as they are
    joined do not explain it (two domains); how narrow the cone is; how near the queries are to classes, how sure and
    how evenly spread they look, from the middle, from the origin, and once the classes are refined; how the labelled
    rows fit their own classes.
    """
    of_support, of_query = rows.class_mean(means), rows.query_mean(rows.query)
    of_refined = rows.class_mean(refined)
    plain, again = rows.look(means, rows.query), rows.look(refined, rows.query, of_refined)
    log_shots = ops.log(ops.maximum(rows.counts, 1.0))
    shots = rows.class_mean(log_shots)
    spread = ops.sqrt(rows.class_mean(ops.square(log_shots - shots)) + 1e-6)
    explained = ops.matmul(rows.query_mean(joined), means)
    vectors = [of_query - of_support, of_query - explained, of_support, of_query, of_refined - of_support]
    one = ops.ones_like(share)
    lengths = ops.swapaxes(norm(ops.concatenate(vectors, axis=1)), 1, 2)
    lengths = lengths * ops.concatenate([share, share, one, share, one], axis=-1)
    parts = [
        share,
        1.0 / rows.way,
        shots,
        spread,
        lengths[..., :4],
        rows.nearest(seen, plain, again),
        rows.entropy(joined),
        rows.unevenness(joined, rows.joining(plain), rows.joining(again)),
        rows.own(rows.look(means, rows.support, middle)),
        lengths[..., 4:],
    ]
    return ops.concatenate(parts, axis=-1)[:, 0]
