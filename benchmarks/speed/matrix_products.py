"""The floor: the matrix products of a meta-training step and nothing else, in the order and shapes of the head."""

import tensorflow as tf


class MatrixProducts:
    """Forward and backward products of the `joint` head: K steps and a last classification.

    Neither norms nor normalisation, activations, losses, gathering or optimiser: what no implementation of these
    products can go below. Products with the queries' gradient are left out: features are not trained. A call takes
    `steps` training steps.
    """

    def __init__(self, queries: int, way: int, feature_dim: int, num_steps: int, steps: int):
        random = tf.random.Generator.from_seed(0)
        # Lengths that keep the chain of products from growing or fading.
        self.query = random.normal((queries, feature_dim), stddev=1.7 * feature_dim**-0.5)
        # Both orders, as the head keeps them: the right factor of a product is read as it lies in memory.
        self.columns = tf.transpose(self.query)
        self.theta = random.normal((way, feature_dim))
        self.members = tf.eye(way)
        units = 8 * way
        shapes = ((way, units), (units, units), (units, way))
        self.weights = [random.normal(shape, stddev=shape[0] ** -0.5) for shape in shapes]
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
            layers = [tf.transpose(tf.matmul(theta, self.columns))]
            for weight in weights:
                layers.append(tf.matmul(layers[-1], weight))
            theta = tf.matmul(tf.transpose(layers[-1]), self.query)
            kept.append(layers)
        gradient = tf.matmul(tf.matmul(theta, self.columns), self.query)
        totals = [tf.zeros_like(w) for w in weights]
        for layers in reversed(kept):
            back = tf.transpose(tf.matmul(gradient, self.columns))
            for i in (2, 1, 0):
                totals[i] += tf.matmul(layers[i], back, transpose_a=True)
                back = tf.matmul(back, weights[i], transpose_b=True)
            gradient = tf.matmul(tf.transpose(back), self.query)
        return tf.matmul(self.members, gradient), totals
