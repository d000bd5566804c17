"""Optimisers and rates of both stages: the released code's, and Keras's own."""

import keras
import tensorflow as tf

from sib_tf.config import MetaTrainConfig, PretrainConfig

_WARMUP_STEPS = 6000
_WARMUP_FROM = 1e-7


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

    Keras's own `weight_decay` is decoupled: it shrinks the weight outside of momentum. `coupled_weight_decay`, >= 0, is
    the factor of the weight in the gradient; every variable decays, biases and normalisation included (released code).
    """

    def __init__(self, learning_rate=1e-3, momentum=0.9, coupled_weight_decay=0.0, nesterov=True, **kwargs):
        super().__init__(learning_rate=learning_rate, momentum=momentum, nesterov=nesterov, **kwargs)
        self.coupled_weight_decay = coupled_weight_decay

    def update_step(self, gradient, variable, learning_rate):
        decayed = gradient + self.coupled_weight_decay * keras.ops.cast(variable, gradient.dtype)
        super().update_step(decayed, variable, learning_rate)

    def get_config(self):
        return {**super().get_config(), "coupled_weight_decay": self.coupled_weight_decay}


def backbone_rate(config: PretrainConfig, steps_per_epoch: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """Returns pre-training's schedule, which `config.schedule` names; one step is one batch."""
    total, peak = config.epochs * steps_per_epoch, config.learning_rate
    if config.schedule == "paper":
        return PaperSchedule(peak, _WARMUP_STEPS, 50 * steps_per_epoch)
    warmup = int(0.3 * total) if config.schedule == "one_cycle" else min(steps_per_epoch, total // 5)
    return keras.optimizers.schedules.CosineDecay(
        peak / 25, decay_steps=max(total - warmup, 1), warmup_target=peak, warmup_steps=warmup, alpha=0.0
    )


class PaperSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """The released code's: linear from 1e-7 to `peak` over `warmup_steps`, then `peak`, a tenth from `drop_step` on."""

    def __init__(self, peak: float, warmup_steps: int, drop_step: int):
        self.peak, self.warmup_steps, self.drop_step = peak, warmup_steps, drop_step

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        warm = _WARMUP_FROM + (self.peak - _WARMUP_FROM) * tf.minimum(step / self.warmup_steps, 1.0)
        return tf.where(step < self.drop_step, warm, 0.1 * warm)
