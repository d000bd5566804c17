"""The outer optimisers: the released code's coupled weight decay, and Keras's own."""

import keras

from sib_tf.config import MetaTrainConfig


def outer_optimizer(config: MetaTrainConfig) -> keras.optimizers.Optimizer:
    """Returns the optimiser that `config` names. Only "sgd" couples its weight decay (released code)."""
    rate = config.learning_rate
    if config.cosine_decay:
        rate = keras.optimizers.schedules.CosineDecay(rate, config.steps)
    if config.optimizer == "sgd":
        return CoupledDecaySGD(rate, config.momentum, coupled_weight_decay=config.weight_decay)
    if config.optimizer == "adam":
        return keras.optimizers.Adam(rate)
    return keras.optimizers.AdamW(rate, weight_decay=config.weight_decay)


@keras.saving.register_keras_serializable("sib_tf")
class CoupledDecaySGD(keras.optimizers.SGD):
    """SGD whose weight decay is added to the gradient before momentum, as PyTorch's SGD and the released code do.

    Keras's own `weight_decay` is decoupled: it shrinks the weight outside of momentum.

    Args:
        learning_rate: a number or a `LearningRateSchedule`.
        momentum: in [0, 1).
        coupled_weight_decay: factor of the weight in the gradient, >= 0. Every variable decays, biases and
            normalisation included (released code).
        **kwargs: those of `keras.optimizers.SGD`; `nesterov` defaults to True.
    """

    def __init__(self, learning_rate=1e-3, momentum=0.9, coupled_weight_decay=0.0, nesterov=True, **kwargs):
        super().__init__(learning_rate=learning_rate, momentum=momentum, nesterov=nesterov, **kwargs)
        self.coupled_weight_decay = coupled_weight_decay

    def update_step(self, gradient, variable, learning_rate):
        decayed = gradient + self.coupled_weight_decay * keras.ops.cast(variable, gradient.dtype)
        super().update_step(decayed, variable, learning_rate)

    def get_config(self):
        return {**super().get_config(), "coupled_weight_decay": self.coupled_weight_decay}
