"""Frozen, self-validating records: what a run was asked to do, saved as JSON beside what it made.

Importing this module is cheap: entry points take their choices and defaults from it before TensorFlow is loaded.
"""

import dataclasses

from sib_tf.episode_spec import SHARE, WHOLE, EpisodeSpec
from sib_tf.errors import require, require_choice
from sib_tf.records import ABOVE_0, BELOW_1, FROM_0, SEED, Bound, Record, at_least, setting

BACKBONES = ("conv4", "wide_resnet")
GRADIENT_NETWORKS = ("joint", "per_class")
STEP_REDUCTIONS = ("sum", "mean", "shrunk_mean")
NORMALIZATIONS = ("none", "episode")
PRIORS = ("none", "gaussian")
POSTERIORS = ("dirac", "gaussian")
SCHEDULES = ("paper", "cosine", "one_cycle")
OPTIMIZERS = ("sgd", "adam", "adamw")
FITS = ("crop", "reduce")
AVERAGED_VIEWS = (1, 2, 4)
PRECISIONS = ("float32", "bfloat16", "float16")
DISTRIBUTIONS = ("none", "mirrored", "multi_worker", "tpu")


def backbone_name(backbone: str, views: int) -> str:
    """Returns what features of a backbone averaged over `views` views of a picture are said to be of."""
    return backbone if views == 1 else f"{backbone}, views={views}"


@dataclasses.dataclass(frozen=True)
class BackboneConfig(Record):
    """A backbone's shape and the pictures that it takes.

    Attributes:
        name: "conv4" or "wide_resnet"; of an imported backbone its own, and width and depth mean nothing there.
        mean, std: per RGB channel, 0-255; the first layer applies them. Imported backbones have their own inside.
        source: what `pretrained.import_backbone` made it from; None: it is trained from scratch.
        larger: what becomes of larger stored pictures: "crop" to the middle, or "reduce". Smaller ones are enlarged.
        averaged_views: views of a picture that its features are the mean over, as `averaged_views` has them.
    """

    name: str = "conv4"
    width: int = setting(64, "conv4: filters (default 64); wide_resnet: widening factor (default 10).", at_least(1))
    depth: int = setting(28, "wide_resnet only: layers, 6 * blocks + 4.")
    image_size: int = setting(32, "Side in pixels of the square pictures that it takes.", at_least(16, "pixels"))
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    precision: str = setting("float32", "What convolutions compute in; weights and features are float32.", PRECISIONS)
    source: str | None = None
    larger: str = "crop"
    averaged_views: int = 1

    def __post_init__(self):
        if self.source is None:
            require_choice("backbone", self.name, BACKBONES)
        require_choice("larger", self.larger, FITS)
        require("averaged_views", self.averaged_views, self.averaged_views in AVERAGED_VIEWS, "1, 2 or 4")
        super().__post_init__()
        if self.name == "wide_resnet" and self.source is None:
            require("depth", self.depth, self.depth >= 10 and (self.depth - 4) % 6 == 0, "6 * blocks + 4 (10, 16, 28)")
        require("std", self.std, len(self.std) == 3 and min(self.std) > 0, "three numbers above 0")
        require("mean", self.mean, len(self.mean) == 3, "three numbers")


@dataclasses.dataclass(frozen=True)
class PretrainConfig(Record):
    """Stage 1: how the backbone is trained on the meta-training classes.

    Defaults are the released code's: SGD with Nesterov momentum 0.9 and coupled weight decay, batches of 64, 6,000
    warm-up steps from 1e-7, 60 epochs, a tenth of the rate after epoch 50.
    """

    schedule: str = setting("paper", "Learning rate: as released; warm-up and cosine; 30 % up, 70 % down.", SCHEDULES)
    learning_rate: float = setting(0.1, "Highest learning rate of the schedule.", ABOVE_0)
    epochs: int = setting(60, "Passes over the training pictures; 0: an initial backbone stays as it is.", at_least(0))
    batch_size: int = setting(64, "Pictures per step.", at_least(2, "(batch normalisation)"))
    weight_decay: float = setting(5e-4, "Added to the gradient, times the weight, before momentum.", FROM_0)
    # Of the released code, for 64 classes. With many hundred, 10 is so flat a softmax that training starts slowly.
    logit_scale: float = setting(10.0, "Start of the cosine classifier's learned scale.", ABOVE_0)
    augment: bool = setting(True, "Random crop (padded by 4 at 32 pixels, by 8 at 80), colour jitter and mirror.")
    mirror: bool = setting(True, "Whether augmentation mirrors; letters should not be.")
    color_jitter: float = setting(0.4, "Brightness, contrast and saturation factors are 1 +- this, in [0, 1).", BELOW_1)
    frozen_statistics: bool = setting(False, "Keep an initial backbone's batch statistics: where pictures are few.")
    seed: int = setting(0, "Seed of weights, order and augmentation.", SEED)


_UP_TO_100 = Bound(lambda value: 0 <= value <= 100, "in [0, 100]")
_UNROLLED = _UP_TO_100._replace(expected="in [0, 100] (the steps are unrolled)")


@dataclasses.dataclass(frozen=True)
class SIBConfig(Record):
    """The SIB model. Symbols are the paper's (Hu et al., ICLR 2020); defaults are the released code's."""

    feature_dim: int | None = setting(
        256,
        "D, length of a feature; None: nothing that is learned depends on it, and features may have any length.",
        Bound(lambda value: value is None or value >= 1, "at least 1, or None"),
    )
    way: int | None = setting(5, "Classes that the joint network is built for; None for per_class, which takes any.")
    num_steps: int = setting(3, "K, synthetic-gradient steps; 0 is nearest prototypes.", _UNROLLED)
    inner_learning_rate: float = setting(1e-3, "eta, size of a synthetic-gradient step.", ABOVE_0)
    gradient_network: str = setting(
        "joint", "Synthetic gradient network: the paper's, for one way, or ours, for any.", GRADIENT_NETWORKS
    )
    hidden_units: int | None = setting(None, "Its hidden width. Default: joint 8 * way, per_class 32.", at_least(1))
    step_reduction: str = setting(
        "sum",
        "How the n queries of a step add up: sum (released code), mean (the paper's 1/n), or ours, shrunk_mean: the "
        "mean times (n - 1) / (n - 1 + way), so that few move the classifier little, and one alone, which there is "
        "nothing to compare with, not at all.",
        STEP_REDUCTIONS,
    )
    separate_steps: bool = setting(False, "A synthetic gradient network for every step, instead of one for all.")
    learned_initialization: bool = setting(True, "Learn the vector a of theta^0, or keep 1: nearest prototypes.")
    support_gradient: bool = setting(False, "Every step takes the support's gradient too, by learned sizes. Ours.")
    normalization: str = setting(
        "none", "Of features: none but to unit length, or a centre that every episode chooses. Ours.", NORMALIZATIONS
    )
    blend: bool = setting(
        False, "A learned share of what the steps changed is kept, chosen by what it was; needs normalization. Ours."
    )
    prior: str = setting("none", "p(w): gaussian is a learned mean and scales, the same for every class.", PRIORS)
    posterior: str = setting("dirac", "q_theta(w); gaussian needs a prior.", POSTERIORS)
    posterior_samples: int = setting(4, "S, samples of w from a gaussian posterior; 0: its mean.", _UP_TO_100)
    kl_weight: float = setting(
        1.0, "Of KL(q || p) in steps and outer loss, where cross-entropies are summed; 1: evidence lower bound.", FROM_0
    )

    def __post_init__(self):
        super().__post_init__()
        needs_prior = "dirac without a prior: nothing else keeps a gaussian from becoming a point"
        require("posterior", self.posterior, self.posterior == "dirac" or self.prior != "none", needs_prior)
        if self.feature_dim is None:
            require(
                "prior", self.prior, self.prior == "none", "none for features of any length: it has weights of each"
            )
        if self.normalization != "none":
            require("prior", self.prior, self.prior == "none", "none with normalization: it is of features as they are")
        require("blend", self.blend, not self.blend or self.normalization != "none", "False without normalization")
        if self.gradient_network == "joint":
            require("way", self.way, self.way is not None and self.way >= 2, "2 or more for the joint network")

    @property
    def fixed_way(self) -> int | None:
        """The only way that the model takes; None: it takes any."""
        return self.way if self.gradient_network == "joint" else None

    @property
    def hidden_width(self) -> int:
        """Width of the synthetic gradient network's hidden layers."""
        return self.hidden_units or (8 * self.way if self.gradient_network == "joint" else 32)

    def takes_way(self, way: int) -> bool:
        """Returns whether the model takes episodes of `way` classes."""
        return self.fixed_way in (None, way)

    def check_takes(self, spec: EpisodeSpec) -> None:
        """An InputError if `spec` has a range of ways and the model takes one way only."""
        if self.fixed_way is not None:
            spec.fixed_way()


# Episodes: smaller parts of a batch would take longer to hand out than they gain.
_LEAST_PART = 4


@dataclasses.dataclass(frozen=True)
class MetaTrainConfig(Record):
    """Stage 2: how the SIB model is meta-trained on cached features.

    Attributes:
        episodes: the specification that training episodes are drawn from.
        validation: the specification of the fixed validation list.
        mixture: further specifications: every outer step takes `batch_episodes` episodes of each too, and every one has
            a validation list as well. Loss and validation accuracy are the means over all specifications.
    """

    episodes: EpisodeSpec = EpisodeSpec()
    validation: EpisodeSpec = EpisodeSpec()
    mixture: tuple[EpisodeSpec, ...] = ()
    steps: int = setting(50_000, "Outer steps.", at_least(1))
    batch_episodes: int = setting(1, "B, episodes per outer step and specification.", at_least(1))
    optimizer: str = setting("sgd", "Outer optimiser.", OPTIMIZERS)
    learning_rate: float = setting(1e-3, "Outer learning rate.", ABOVE_0)
    momentum: float = setting(0.9, "Nesterov momentum of sgd.", BELOW_1)
    weight_decay: float = setting(5e-4, "sgd: coupled; adamw: decoupled; adam: none.", FROM_0)
    cosine_decay: bool = setting(False, "Let the outer learning rate fall to zero along half a cosine.")
    validation_episodes: int = setting(1000, "Length of each fixed validation list.", at_least(1))
    validate_every: int = setting(1000, "Outer steps between validations.", at_least(1))
    steps_per_call: int = setting(100, "Outer steps per compiled call; only speed.", at_least(1))
    virtual_backbones: float = setting(0.0, "Share of episodes that a random, virtual backbone shows.", SHARE)
    domain_gaps: float = setting(0.0, "Share of episodes whose unlabelled rows a virtual gap sets apart.", SHARE)
    feature_length: int | None = setting(
        None,
        "Length that training gives features of any: longer ones are projected at random, shorter ones padded with "
        "zeros, and cosines stay nearly as they are. All caches share one compiled step then.",
        WHOLE,
    )
    seed: int = setting(0, "Seed of weights and episodes.", SEED)

    def __post_init__(self):
        for name in ("episodes", "validation"):
            object.__setattr__(self, name, EpisodeSpec.from_dict(getattr(self, name), name))
        object.__setattr__(self, "mixture", tuple(EpisodeSpec.from_dict(each, "mixture") for each in self.mixture))
        super().__post_init__()

    def parts(self, cores: int, episodes: int | None = None) -> int:
        """How many equal parts of a batch are computed at a time: one for each of `cores`, of at least 4 episodes.

        `episodes` of a kind come together; None: `batch_episodes`.
        """
        episodes = episodes or self.batch_episodes
        most = min(cores, episodes // _LEAST_PART)
        return max((n for n in range(1, most + 1) if episodes % n == 0), default=1)
