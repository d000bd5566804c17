"""The floor: the matrix products of a meta-training step and nothing else, in the order and shapes of the head."""

import itertools

import tensorflow as tf


class MatrixProducts:
    """Forward and backward products of a head: K steps and a last classification.

    Neither norms nor normalisation, activations, losses, gathering or optimiser: what no implementation of these
    products can go below. Products with the queries' gradient are left out: features are not trained. A call takes
    `steps` training steps. Of one episode, too, products are of three axes: XLA folds the transposes into those of two,
    which then take more than twice as long. The network is `joint`'s, or `per_class`'s, whose rows are pairs of a query
    and a class, of seven numbers.
    """

    def __init__(
        self,
        episodes: int,
        queries: int,
        way: int,
        feature_dim: int,
        num_steps: int,
        steps: int,
        gradient_network: str = "joint",
    ):
        random = tf.random.Generator.from_seed(0)
        # Lengths that keep the chain of products from growing or fading.
        self.query = random.normal((episodes, queries, feature_dim), stddev=1.7 * feature_dim**-0.5)
        # Both orders, as the head keeps them: the right factor of a product is read as it lies in memory.
        self.columns = tf.transpose(self.query, (0, 2, 1))
        self.theta = random.normal((episodes, way, feature_dim))
        self.members = tf.eye(way, batch_shape=[episodes])
        self.by_pairs = gradient_network == "per_class"
        self.sizes = (7, 32, 32, 2) if self.by_pairs else (way, 8 * way, 8 * way, way)
        self.weights = [random.normal(shape, stddev=shape[0] ** -0.5) for shape in itertools.pairwise(self.sizes)]
        self.num_steps, self.count = num_steps, steps

    @tf.function(jit_compile=True)
    def steps(self, start: tf.Tensor) -> tf.Tensor:
        """Does the products of all steps, each from what the one before left, so that none can be left out.

        Calls with different `start`, a number, are not one call.
        """
        theta, weights = self.theta + 1e-30 * start, self.weights
        for _ in tf.range(self.count):
            gradient, by_weights = self._step(theta, weights)
            theta = self.theta + 1e-30 * gradient
            weights = [w + 1e-30 * g for w, g in zip(self.weights, by_weights, strict=True)]
        return tf.reduce_sum(theta) + tf.add_n([tf.reduce_sum(w) for w in weights])

    def _step(self, theta, weights):
        theta = tf.matmul(self.members, theta)
        kept = []
        for _ in range(self.num_steps):
            layers = [self._flat(tf.matmul(theta, self.columns), self.sizes[0])]
            for weight in weights:
                layers.append(tf.matmul(layers[-1], weight))
            theta = tf.matmul(self._by_class(layers[-1]), self.query)
            kept.append(layers)
        gradient = tf.matmul(tf.matmul(theta, self.columns), self.query)
        totals = [tf.zeros_like(w) for w in weights]
        for layers in reversed(kept):
            back = self._flat(tf.matmul(gradient, self.columns), self.sizes[-1])
            for i in (2, 1, 0):
                totals[i] += tf.matmul(layers[i], back, transpose_a=True)
                back = tf.matmul(back, weights[i], transpose_b=True)
            gradient = tf.matmul(self._by_class(back), self.query)
        return tf.matmul(self.members, gradient), totals

    def _flat(self, by_class, width: int):
        """`[episodes, way, queries]` -> `[episodes * queries, way]`, or a row of `width` for every number."""
        if self.by_pairs:
            return tf.broadcast_to(tf.reshape(by_class, (-1, 1)), (tf.size(by_class), width))
        return tf.reshape(tf.transpose(by_class, (0, 2, 1)), (-1, width))

    def _by_class(self, flat):
        episodes, queries, _ = self.query.shape
        if self.by_pairs:
            return tf.reshape(flat[:, 0], (episodes, -1, queries))
        return tf.transpose(tf.reshape(flat, (episodes, queries, flat.shape[-1])), (0, 2, 1))
