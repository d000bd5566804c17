"""Records of the two zero-shot experiments; see `sib_tf.config`. Importing this module is cheap too."""

import dataclasses
import math

from sib_tf.config import GRADIENT_NETWORKS, Record
from sib_tf.errors import require, require_choice, require_positive

DOMAIN_DATASETS = ("pacs", "glyph_domains")
DOMAIN_METHODS = ("source_only", "rot", "k0", "sib_rot")
DOMAIN_BACKBONES = ("conv4", "resnet18")


@dataclasses.dataclass(frozen=True)
class SpinningLinesConfig(Record):
    """Zero-shot regression on lines that spin; see `sib_tf.zero_shot.spinning_lines.tasks`.

    Attributes:
        num_steps: K.
        inner_learning_rate: eta.
        posterior_samples: S, samples of the slope in each expectation, >= 1.
        hidden_units: width of the synthetic gradient network's two hidden layers.
        queries: n, unlabelled points of a task, >= 2.
        spread: standard deviation of a task's inputs around their mean, > 0.
        noise: standard deviation of the targets around the line, > 0.
        steps: outer steps.
        batch_tasks: tasks an outer step.
        learning_rate: of Adam; reached after a tenth of the steps, it falls to zero along half a cosine.
        seed: of weights and tasks.
    """

    num_steps: int = 5
    inner_learning_rate: float = 1e-3
    posterior_samples: int = 8
    hidden_units: int = 32
    queries: int = 32
    spread: float = 1.0
    noise: float = 0.5
    steps: int = 3000
    batch_tasks: int = 32
    learning_rate: float = 3e-3
    seed: int = 0

    def __post_init__(self):
        require("num_steps", self.num_steps, 1 <= self.num_steps <= 100, "in [1, 100] (the steps are unrolled)")
        for name in ("posterior_samples", "hidden_units", "steps", "batch_tasks"):
            require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        require("queries", self.queries, self.queries >= 2, "at least 2")
        for name in ("inner_learning_rate", "spread", "noise", "learning_rate"):
            require_positive(name, getattr(self, name))
        require("seed", self.seed, 0 <= self.seed < 2**31, "in [0, 2**31)")


@dataclasses.dataclass(frozen=True)
class DomainAdaptationConfig(Record):
    """Zero-shot classification: several labelled source domains, one without labels; see `domain_adaptation`.

    Attributes:
        backbone: "conv4" or "resnet18".
        width: of conv4's blocks.
        image_size: side of the pictures in pixels; None: the data set's own.
        shared_dim: H, width of the shared layer between the backbone and both heads.
        num_steps: K of the method sib_rot.
        inner_learning_rate: eta, of the synthetic-gradient steps.
        gradient_network: xi, "joint" or "per_class"; both see label logits only.
        rotation_learning_rate: eta_rot, of the step by the rotation loss that makes theta^0.
        rotation_weight: of the rotation loss in the outer loss, >= 0.
        target_in_training: whether the target's unlabelled pictures join the outer rotation loss.
        minibatch: n, pictures of one domain in a task, in training and in testing.
        steps: outer steps; each takes a minibatch of every domain.
        learning_rate: of Adam; reached after a tenth of the steps, it falls to zero along half a cosine.
        color_jitter: range of brightness, contrast and saturation factors, 1 +- this, in [0, 1).
        mirror: whether training pictures are mirrored; letters should not be.
        validation_fraction: share of every source domain's pictures, by class, held out to choose the step by.
        validations: how often that is done, evenly over the steps.
    """

    backbone: str = "conv4"
    width: int = 16
    image_size: int | None = None
    shared_dim: int = 64
    num_steps: int = 3
    inner_learning_rate: float = 0.1
    gradient_network: str = "per_class"
    rotation_learning_rate: float = 0.03
    rotation_weight: float = 0.5
    target_in_training: bool = True
    minibatch: int = 32
    steps: int = 300
    learning_rate: float = 1e-2
    color_jitter: float = 0.4
    mirror: bool = False
    validation_fraction: float = 0.2
    validations: int = 4

    def __post_init__(self):
        require_choice("backbone", self.backbone, DOMAIN_BACKBONES)
        require_choice("gradient_network", self.gradient_network, GRADIENT_NETWORKS)
        for name in ("width", "shared_dim", "steps", "validations"):
            require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        size = self.image_size
        require("image_size", size, size is None or size >= 16, "at least 16 pixels")
        require("num_steps", self.num_steps, 1 <= self.num_steps <= 100, "in [1, 100] (the steps are unrolled)")
        require("minibatch", self.minibatch, self.minibatch >= 2, "at least 2 pictures")
        for name in ("inner_learning_rate", "rotation_learning_rate", "learning_rate"):
            require_positive(name, getattr(self, name))
        require("rotation_weight", self.rotation_weight, 0 <= self.rotation_weight < math.inf, "0 or more and finite")
        require("color_jitter", self.color_jitter, 0 <= self.color_jitter < 1, "in [0, 1)")
        fraction = self.validation_fraction
        require("validation_fraction", fraction, 0 < fraction < 1, "above 0 and below 1")
