"""Zero-shot classification of a domain without labels: theta^0 from a rotation loss, then K synthetic-gradient steps.

A task is a minibatch of n pictures of one domain. theta is the weights of the one layer between the backbone and both
heads, `[tasks, F + 1, H]` with the biases in the last row:

    h = relu([f, 1] theta),  label logits = h V + v,  rotation logits = h R + r

    theta^0     = lambda - eta_rot * d rotation loss / d theta, of the minibatch's pictures turned by 0, 90, 180, 270
    theta^(k+1) = theta^k - eta * J^T xi(label logits under theta^k)

The method is SIB-Rot of the paper (Hu et al., ICLR 2020), which adapts a ResNet-18 on PACS. Ours, where its text is
not at hand: the non-linearity of the shared layer, a step size eta_rot of its own, the outer rotation loss
under lambda, and the choice of synthetic gradient networks.

Axes: `tasks`; n, pictures of a task; F, of a feature; H, of the shared layer; `classes`.
"""

import dataclasses

import keras
from keras import ops

from sib_tf import gradient_networks
from sib_tf.errors import require_choice
from sib_tf.sib import descend
from sib_tf.zero_shot.config import DOMAIN_METHODS, DomainAdaptationConfig

TURNS = 4


@keras.saving.register_keras_serializable("sib_tf")
class AdaptiveHead(keras.Model):
    """The shared layer and both heads, over features of length F.

    theta is lambda for the methods "source_only" and "rot", theta^0 for "k0", and theta^K for "sib_rot".
    """

    def __init__(self, config: DomainAdaptationConfig | dict, feature_dim: int, classes: int, method: str, **kwargs):
        super().__init__(**kwargs)
        require_choice("method", method, DOMAIN_METHODS)
        self.config = DomainAdaptationConfig.from_dict(config, "config")
        self.feature_dim, self.classes, self.method = feature_dim, classes, method
        self.label_head = keras.layers.Dense(classes, name="label_head")
        # Where there is no rotation loss, the head of the turns is not learned.
        self.rotation_head = keras.layers.Dense(TURNS, name="rotation_head", trainable=self.turns_pictures)
        self.gradient_network = (
            gradient_networks.build(self.config.gradient_network, classes) if self.num_steps else None
        )

    @property
    def num_steps(self) -> int:
        """K of this method."""
        return self.config.num_steps if self.method == "sib_rot" else 0

    @property
    def adapts(self) -> bool:
        """Whether theta depends on the minibatch."""
        return self.method in ("k0", "sib_rot")

    @property
    def turns_pictures(self) -> bool:
        """Whether the method has a rotation loss at all."""
        return self.method != "source_only"

    def build(self, input_shape=None):
        dim = self.config.shared_dim
        # The last row is the biases; a normal number there does no harm.
        start = keras.initializers.HeNormal()
        self.start = self.add_weight(name="lambda", shape=(self.feature_dim + 1, dim), initializer=start)
        self.label_head.build((None, None, dim))
        self.rotation_head.build((None, None, dim))
        if self.gradient_network is not None:
            self.gradient_network.build((None, None, self.classes), (None, self.classes))
            # Zeros: training starts from theta^K = theta^0, and not from K steps in a random direction.
            for variable in self.gradient_network.dense3.weights:
                variable.assign(ops.zeros_like(variable))

    def call(self, features, turned=None):
        """Label logits `[tasks, n, classes]` under the method's theta; arguments as for `adapt`."""
        return self.label_logits(self.adapt(features, turned)[-1], features)

    def adapt(self, features, turned=None) -> list:
        """The path theta^0 .. theta^K of every task, `[tasks, F + 1, H]` each, from features `[tasks, n, F]`.

        `turned` `[tasks, 4 n, F]` are those of the same pictures turned by 0, then by 90, 180 and 270 degrees; None
        where the method does not adapt.
        """
        theta = ops.broadcast_to(self.start, (ops.shape(features)[0], *self.start.shape))
        if self.adapts:
            theta = theta - self.config.rotation_learning_rate * self.rotation_gradient(theta, turned)

        def step(theta, k):
            logits = self.label_logits(theta, features)
            # There are no labelled pictures to count.
            synthetic = self.gradient_network(logits, ops.zeros_like(logits[:, 0]))
            # The mean over the minibatch (the paper's 1/n), so that eta does not depend on n.
            rate = self.config.inner_learning_rate / ops.cast(ops.shape(features)[1], features.dtype)
            return rate * self.pull_back(theta, features, synthetic, self.label_head)

        return descend(theta, self.num_steps, step)

    def label_logits(self, theta, features):
        """`[tasks, n, classes]` from theta `[tasks, F + 1, H]` and features `[tasks, n, F]`."""
        return self.label_head(ops.relu(_project(theta, features)))

    def rotation_logits(self, theta, turned):
        """`[tasks, 4 n, 4]` from features of turned pictures `[tasks, 4 n, F]`."""
        return self.rotation_head(ops.relu(_project(theta, turned)))

    def rotation_loss(self, theta, turned):
        """Mean cross-entropy of the turns in nats, `[tasks]`."""
        logits = self.rotation_logits(theta, turned)
        return -ops.mean(ops.sum(_turn_targets(turned) * ops.log_softmax(logits, axis=-1), axis=-1), axis=-1)

    def rotation_gradient(self, theta, turned):
        """d `rotation_loss` / d theta in closed form, shape of theta; differentiable itself."""
        error = ops.softmax(self.rotation_logits(theta, turned), axis=-1) - _turn_targets(turned)
        return self.pull_back(theta, turned, error, self.rotation_head) / ops.cast(ops.shape(turned)[1], error.dtype)

    def pull_back(self, theta, features, gradient, head):
        """J^T g, shape of theta: from g, the gradient `[tasks, n, outputs]` of a head's logits, to that of theta.

        d logits / d theta through relu: sum over pictures of [f, 1] (g W^T * [h > 0]), W being the head's kernel.
        """
        hidden = ops.matmul(gradient, ops.transpose(head.kernel))
        hidden = hidden * ops.cast(_project(theta, features) > 0, hidden.dtype)
        return ops.matmul(ops.swapaxes(_with_one(features), 1, 2), hidden)

    def get_config(self):
        own = {"config": dataclasses.asdict(self.config), "feature_dim": self.feature_dim, "classes": self.classes}
        return {**super().get_config(), **own, "method": self.method}


def _with_one(features):
    """Adds the input that the biases belong to: `[tasks, n, F]` -> `[tasks, n, F + 1]`."""
    return ops.concatenate([features, ops.ones_like(features[..., :1])], axis=-1)


def _project(theta, features):
    return ops.matmul(_with_one(features), theta)


def _turn_targets(turned):
    """One-hot turns `[1, 4 n, 4]`."""
    return ops.repeat(ops.eye(TURNS, dtype=turned.dtype), ops.shape(turned)[1] // TURNS, axis=0)[None]
