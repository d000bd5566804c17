"""The spinning lines: zero-shot regression, where the distance to the true posterior can be computed."""

from sib_tf.zero_shot.spinning_lines.experiment import run
from sib_tf.zero_shot.spinning_lines.model import PredictionGradientNetwork, SpinningLines

__all__ = ["PredictionGradientNetwork", "SpinningLines", "run"]
