"""Records of the two zero-shot experiments; see `sib_tf.config`. Importing this module is cheap too.

What a field is says its help, which is that of its flag.
"""

import dataclasses
import math

from sib_tf.config import GRADIENT_NETWORKS, Record
from sib_tf.errors import require, require_positive

DOMAIN_METHODS = ("source_only", "rot", "k0", "sib_rot")
DOMAIN_BACKBONES = ("conv4", "resnet18")


def _setting(default, text: str):
    return dataclasses.field(default=default, metadata={"help": text})


def help_texts(record: type[Record]) -> dict[str, str]:
    """The help of every field of a record of this module."""
    return {field.name: field.metadata["help"] for field in dataclasses.fields(record)}


@dataclasses.dataclass(frozen=True)
class SpinningLinesConfig(Record):
    """Zero-shot regression on lines that spin; see `sib_tf.zero_shot.spinning_lines.tasks`."""

    num_steps: int = _setting(5, "K, synthetic-gradient steps.")
    inner_learning_rate: float = _setting(1e-3, "eta, size of a step.")
    posterior_samples: int = _setting(8, "S, samples of the slope in each expectation, at least 1.")
    hidden_units: int = _setting(32, "Width of the synthetic gradient network's two hidden layers.")
    queries: int = _setting(32, "n, unlabelled points of a task, at least 2.")
    spread: float = _setting(1.0, "Standard deviation of a task's inputs around their mean, above 0.")
    noise: float = _setting(0.5, "Standard deviation of the targets around the line, above 0.")
    steps: int = _setting(3000, "Outer steps.")
    batch_tasks: int = _setting(32, "Tasks an outer step.")
    learning_rate: float = _setting(3e-3, "Of Adam, at its highest; see `optimization.adam`.")
    seed: int = _setting(0, "Seed of weights and tasks.")

    def __post_init__(self):
        _require_whole(self, 1, "posterior_samples", "hidden_units", "steps", "batch_tasks")
        _require_whole(self, 2, "queries")
        _require_steps(self.num_steps)
        for name in ("inner_learning_rate", "spread", "noise", "learning_rate"):
            require_positive(name, getattr(self, name))
        require("seed", self.seed, 0 <= self.seed < 2**31, "in [0, 2**31)")


@dataclasses.dataclass(frozen=True)
class DomainAdaptationConfig(Record):
    """Zero-shot classification: several labelled source domains, one without labels; see `domain_adaptation`."""

    CHOICES = {"backbone": DOMAIN_BACKBONES, "gradient_network": GRADIENT_NETWORKS}

    backbone: str = _setting("conv4", "What makes the features.")
    width: int = _setting(16, "Filters of conv4's blocks.")
    image_size: int | None = _setting(None, "Side of the pictures in pixels; None: glyph_domains 32, pacs 224.")
    shared_dim: int = _setting(64, "H, width of the shared layer between the backbone and both heads, which adapts.")
    num_steps: int = _setting(3, "K of the method sib_rot.")
    inner_learning_rate: float = _setting(0.1, "eta, of the synthetic-gradient steps.")
    gradient_network: str = _setting("per_class", "xi, of label logits alone.")
    rotation_learning_rate: float = _setting(0.03, "eta_rot, of the step by the rotation loss that makes theta^0.")
    rotation_weight: float = _setting(0.5, "Of the rotation loss in the outer loss, 0 or more.")
    target_in_training: bool = _setting(True, "Whether the target's pictures join the outer rotation loss.")
    minibatch: int = _setting(32, "n, pictures of one domain in a task, in training and in testing.")
    steps: int = _setting(300, "Outer steps; each takes a minibatch of every domain.")
    learning_rate: float = _setting(1e-2, "Of Adam, at its highest; see `optimization.adam`.")
    color_jitter: float = _setting(0.4, "Brightness, contrast and saturation factors are 1 +- this, in [0, 1).")
    mirror: bool = _setting(False, "Whether training pictures are mirrored; letters should not be.")
    validation_fraction: float = _setting(0.2, "Of every source domain's pictures, by class; they choose the step.")
    validations: int = _setting(4, "How often the sources are validated, evenly over the steps.")

    def __post_init__(self):
        super().__post_init__()
        _require_whole(self, 1, "width", "shared_dim", "steps", "validations")
        size, fraction = self.image_size, self.validation_fraction
        require("image_size", size, size is None or size >= 16, "at least 16 pixels")
        require("minibatch", self.minibatch, self.minibatch >= 2, "at least 2 pictures")
        _require_steps(self.num_steps)
        for name in ("inner_learning_rate", "rotation_learning_rate", "learning_rate"):
            require_positive(name, getattr(self, name))
        require("rotation_weight", self.rotation_weight, 0 <= self.rotation_weight < math.inf, "0 or more and finite")
        require("color_jitter", self.color_jitter, 0 <= self.color_jitter < 1, "in [0, 1)")
        require("validation_fraction", fraction, 0 < fraction < 1, "above 0 and below 1")


def _require_whole(record: Record, least: int, *names: str) -> None:
    for name in names:
        require(name, getattr(record, name), getattr(record, name) >= least, f"at least {least}")


def _require_steps(num_steps: int) -> None:
    require("num_steps", num_steps, 1 <= num_steps <= 100, "in [1, 100] (the steps are unrolled)")
