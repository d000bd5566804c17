"""SIB-Rot: zero-shot classification by unsupervised multi-source domain adaptation."""

from sib_tf.zero_shot.domain_adaptation.experiment import Plan, run
from sib_tf.zero_shot.domain_adaptation.model import AdaptiveHead
from sib_tf.zero_shot.domain_adaptation.training import Learner, train

__all__ = ["AdaptiveHead", "Learner", "Plan", "run", "train"]
