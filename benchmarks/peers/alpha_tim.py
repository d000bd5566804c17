"""alpha-TIM (Veilleux, Boudiaf, Piantanida, Ben Ayed: *Realistic Evaluation of Transductive Few-Shot Learning*,
NeurIPS 2021): TIM-GD with Tsallis' entropies, which ask less for balanced predictions."""

import dataclasses

import tensorflow as tf

from benchmarks.peers.tim import TIMGD, TINY


@dataclasses.dataclass(frozen=True)
class AlphaTIM(TIMGD):
    """TIM-GD with H_a(p) = (1 - sum_c p_c^a) / (a - 1) (Tsallis) in both entropies.

    The cross-entropy stays Shannon's and all weights are 1, as in the configuration that the authors released.

    Attributes:
        alpha: a, above 0 and not 1. The authors chose 2 at 1 shot and 7 at 5 and more (`benchmarks.peers.authors`).
    """

    alpha: float = 5.0
    support_weight: float = 1.0
    marginal_weight: float = 1.0
    conditional_weight: float = 1.0

    def entropy(self, shares):
        """Tsallis', over the last axis."""
        return (1.0 - tf.reduce_sum((shares + TINY) ** self.alpha, axis=-1)) / (self.alpha - 1.0)
