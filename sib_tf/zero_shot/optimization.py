"""What both experiments train with."""

import keras
import numpy as np
import tensorflow as tf

from sib_tf.errors import InputError
from sib_tf.zero_shot.config import DomainAdaptationConfig, SpinningLinesConfig


def adam(config: SpinningLinesConfig | DomainAdaptationConfig) -> keras.optimizers.Adam:
    """Adam whose rate reaches `learning_rate` after a tenth of the steps and falls to zero along half a cosine.

    Slowly at first: steps of an untrained network that are too long run off.
    """
    warm_up = max(1, config.steps // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, config.steps - warm_up), warmup_target=config.learning_rate, warmup_steps=warm_up
    )
    return keras.optimizers.Adam(schedule)


def apply_clipped(optimizer: keras.optimizers.Optimizer, gradients: list, variables: list, norm: float) -> None:
    """Takes a step with gradients of at most `norm` all together: one bad batch must not undo many steps."""
    clipped, _ = tf.clip_by_global_norm(gradients, norm)
    optimizer.apply(clipped, variables)


def require_finite(losses: np.ndarray, when: str, rates: str) -> None:
    """Raises an InputError, which says what to lower, unless all losses are finite."""
    if not np.isfinite(losses).all():
        raise InputError(f"The loss became {losses[~np.isfinite(losses)][0]} {when}; lower {rates}.")
