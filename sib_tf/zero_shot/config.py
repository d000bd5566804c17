"""Records of the two zero-shot experiments; see `sib_tf.config`. Importing this module is cheap too.

What a field is says its help, which is that of its flag.
"""

import dataclasses

from sib_tf.config import GRADIENT_NETWORKS
from sib_tf.records import ABOVE_0, BELOW_1, FROM_0, SEED, Bound, Record, at_least, setting

DOMAIN_METHODS = ("source_only", "rot", "k0", "sib_rot")
# Of features alone, with nothing to train: the classes are those of the sources.
UNTRAINED_METHODS = ("prototypes", "shipped_head")
DOMAIN_BACKBONES = ("conv4", "resnet18", "imported")
_STEPS = Bound(lambda value: 1 <= value <= 100, "in [1, 100] (the steps are unrolled)")


@dataclasses.dataclass(frozen=True)
class SpinningLinesConfig(Record):
    """Zero-shot regression on lines that spin; see `sib_tf.zero_shot.spinning_lines.tasks`."""

    num_steps: int = setting(5, "K, synthetic-gradient steps.", _STEPS)
    inner_learning_rate: float = setting(1e-3, "eta, size of a step.", ABOVE_0)
    posterior_samples: int = setting(8, "S, samples of the slope in each expectation.", at_least(1))
    hidden_units: int = setting(32, "Width of the synthetic gradient network's two hidden layers.", at_least(1))
    queries: int = setting(32, "n, unlabelled points of a task.", at_least(2))
    spread: float = setting(1.0, "Standard deviation of a task's inputs around their mean.", ABOVE_0)
    noise: float = setting(0.5, "Standard deviation of the targets around the line.", ABOVE_0)
    steps: int = setting(3000, "Outer steps.", at_least(1))
    batch_tasks: int = setting(32, "Tasks an outer step.", at_least(1))
    learning_rate: float = setting(3e-3, "Of Adam, at its highest; see `optimization.adam`.", ABOVE_0)
    seed: int = setting(0, "Seed of weights and tasks.", SEED)


@dataclasses.dataclass(frozen=True)
class DomainAdaptationConfig(Record):
    """Zero-shot classification: several labelled source domains, one without labels; see `domain_adaptation`."""

    backbone: str = setting("conv4", "What makes the features; an imported one is not trained.", DOMAIN_BACKBONES)
    width: int = setting(16, "Filters of conv4's blocks.", at_least(1))
    image_size: int | None = setting(
        None,
        "Side of the pictures in pixels; None: glyph_domains 32, pacs 224, or the imported backbone's.",
        at_least(16, "pixels"),
    )
    shared_dim: int = setting(64, "H, width of the layer between backbone and heads, which adapts.", at_least(1))
    num_steps: int = setting(3, "K of the method sib_rot.", _STEPS)
    inner_learning_rate: float = setting(0.1, "eta, of the synthetic-gradient steps.", ABOVE_0)
    gradient_network: str = setting("per_class", "xi, of label logits alone.", GRADIENT_NETWORKS)
    rotation_learning_rate: float = setting(0.03, "eta_rot, of the rotation loss's step to theta^0.", ABOVE_0)
    rotation_weight: float = setting(0.5, "Of the rotation loss in the outer loss.", FROM_0)
    target_in_training: bool = setting(True, "Whether the target's pictures join the outer rotation loss.")
    minibatch: int = setting(32, "n, pictures of one domain in a task.", at_least(2, "pictures"))
    steps: int = setting(300, "Outer steps; each takes a minibatch of every domain.", at_least(1))
    learning_rate: float = setting(1e-2, "Of Adam, at its highest; see `optimization.adam`.", ABOVE_0)
    color_jitter: float = setting(0.4, "Brightness, contrast and saturation factors are 1 +- this, in [0, 1).", BELOW_1)
    mirror: bool = setting(False, "Whether training pictures are mirrored; letters should not be.")
    validation_fraction: float = setting(
        0.2,
        "Of every source domain's pictures, by class; they choose the step.",
        Bound(lambda share: 0 < share < 1, "above 0 and below 1"),
    )
    validations: int = setting(4, "How often the sources are validated, evenly over the steps.", at_least(1))
