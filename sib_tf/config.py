"""Frozen, self-validating records: what a run was asked to do, saved as JSON beside what it made.

Importing this module is cheap: entry points take their choices and defaults from it before TensorFlow is loaded.
"""

import dataclasses
import math
import os
import typing
from collections.abc import Sequence
from typing import Self

from sib_tf import field_types
from sib_tf.errors import InputError, require, require_choice, require_positive
from sib_tf.storage import atomic

BACKBONES = ("conv4", "wide_resnet")
GRADIENT_NETWORKS = ("joint", "per_class")
STEP_REDUCTIONS = ("sum", "mean", "shrunk_mean")
PRIORS = ("none", "gaussian")
POSTERIORS = ("dirac", "gaussian")
QUERY_DISTRIBUTIONS = ("balanced", "dirichlet")
SCHEDULES = ("paper", "cosine", "one_cycle")
OPTIMIZERS = ("sgd", "adam", "adamw")
PRECISIONS = ("float32", "bfloat16", "float16")
DISTRIBUTIONS = ("none", "mirrored", "multi_worker", "tpu")

Range = tuple[int, int]
ALPHA = "above 0 and finite, or a range low-high of such"


def as_range(name: str, value: int | Sequence[int]) -> Range:
    """Returns (low, high) for a number or a pair; both at least 1 and in order.

    Raises:
        InputError: anything else.
    """
    pair = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(pair) != 2 or not all(isinstance(v, int) for v in pair) or not 1 <= pair[0] <= pair[1]:
        given = range_text(pair) if len(pair) == 2 else value
        raise InputError(f"{name} must be a whole number of at least 1, or a range low-high of such; got {given}.")
    return pair


def range_text(pair: Range) -> str:
    """Returns a range as flags and reports write it: "5", or "5-20"."""
    low, high = pair
    return str(low) if low == high else f"{low}-{high}"


def alpha_text(pair: tuple[float, float]) -> str:
    """Returns a range of concentrations as flags and reports write it: "2", or "0.1-5"."""
    low, high = pair
    return f"{low:g}" if low == high else f"{low:g}-{high:g}"


@dataclasses.dataclass(frozen=True)
class Record:
    """Base of the configuration records: JSON in and out, with errors that name the file and the field.

    `CHOICES` names, by field, what a text may be; it is checked here, and flags show it.
    """

    CHOICES: typing.ClassVar[dict[str, tuple[str, ...]]] = {}

    def __post_init__(self):
        for name, choices in self.CHOICES.items():
            require_choice(name, getattr(self, name), choices)

    def save(self, path: str | os.PathLike) -> None:
        """Writes the record as JSON to `path`, in one move."""
        atomic.write_json(path, dataclasses.asdict(self))

    @classmethod
    def load(cls, path: str | os.PathLike) -> Self:
        """Reads a record written by `save`.

        Raises:
            InputError: the file is missing, is not JSON, or its fields are not this record's.
        """
        return cls.from_dict(atomic.read_json(path, "Configuration"), path)

    @classmethod
    def from_dict(cls, values: dict, source: str | os.PathLike = "record") -> Self:
        """Builds the record from the dictionary that `save` writes; `source` names it in errors."""
        if not isinstance(values, dict):
            raise InputError(f"{source} must hold a JSON object; got {type(values).__name__}.")
        names = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - names):
            raise InputError(f"{source} has unknown fields {unknown}; a {cls.__name__} has {sorted(names)}.")
        for name, hint in typing.get_type_hints(cls).items():
            if name in values and not field_types.matches(values[name], hint):
                given = str(values[name])[:60]
                raise InputError(f"{source} must have {field_types.describe(hint)} as {name}; got {given}.")
        try:
            return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})
        except TypeError as error:
            raise InputError(f"{source} is not a whole {cls.__name__}: {error}.") from error


@dataclasses.dataclass(frozen=True)
class EpisodeSpec(Record):
    """What an episode looks like. A range (low, high) is inclusive; each episode draws from it uniformly.

    Attributes:
        way: classes in an episode, >= 1.
        shot: labelled pictures of each class, >= 1.
        query: unlabelled pictures *per class on average*, >= 1: an episode has way * query of them.
        query_distribution: "balanced": exactly `query` of every class; "dirichlet": class proportions of the
            way * query unlabelled pictures are drawn from a symmetric Dirichlet distribution for every episode
            (Veilleux et al., NeurIPS 2021), so that a class may have none.
        dirichlet_alpha: concentration of that distribution, > 0; small is imbalanced. 2.0 is Veilleux et al.'s. A range
            (low, high) is drawn from for every episode, uniformly in the logarithm.
        balanced_fraction: probability that an episode is balanced all the same, in [0, 1]; for "dirichlet" only.
        total_query: unlabelled pictures in all, >= 1, instead of classes * query. What is left of an even division goes
            to classes drawn at random, one picture each.
        query_classes: classes of an episode that its unlabelled pictures come from, drawn at random, in [1, way]; the
            others have support only. None: all of them. The number of pictures stays the same.
    """

    CHOICES = {"query_distribution": QUERY_DISTRIBUTIONS}

    way: Range = (5, 5)
    shot: Range = (1, 1)
    query: Range = (15, 15)
    query_distribution: str = "balanced"
    dirichlet_alpha: float | tuple[float, float] = 2.0
    balanced_fraction: float = 0.0
    total_query: int | None = None
    query_classes: int | None = None

    def __post_init__(self):
        for name in ("way", "shot", "query"):
            object.__setattr__(self, name, as_range(name, getattr(self, name)))
        super().__post_init__()
        low, high = self.alpha_range
        require("dirichlet_alpha", alpha_text((low, high)), 0 < low <= high < math.inf, ALPHA)
        require("balanced_fraction", self.balanced_fraction, 0 <= self.balanced_fraction <= 1, "in [0, 1]")
        total, classes, way = self.total_query, self.query_classes, self.way[0]
        for name, value, most in (("total_query", total, math.inf), ("query_classes", classes, way)):
            expected = "a whole number of at least 1" + (f" and at most the smallest way, {way}" if most == way else "")
            require(name, value, value is None or (isinstance(value, int) and 1 <= value <= most), expected)

    @property
    def alpha_range(self) -> tuple[float, float]:
        """(low, high) of `dirichlet_alpha`; the same number twice where it is one."""
        alpha = self.dirichlet_alpha
        return alpha if isinstance(alpha, tuple) else (alpha, alpha)

    @property
    def max_support(self) -> int:
        """Rows of the padded support set."""
        return self.way[1] * self.shot[1]

    @property
    def max_query(self) -> int:
        """Rows of the padded query set."""
        return self.total_query or self.way[1] * self.query[1]

    @property
    def max_query_per_class(self) -> int:
        """The most queries of one class where they are balanced."""
        if self.total_query:
            return -(-self.total_query // (self.query_classes or self.way[0]))
        return self.query[1] if self.query_classes is None else -(-self.max_query // self.query_classes)

    def fixed_way(self) -> int:
        """Returns the way, if all episodes have the same.

        Raises:
            InputError: it is a range.
        """
        low, high = self.way
        require("way", f"{low}-{high}", low == high, "one number for gradient_network=joint (per_class takes any way)")
        return high

    def describe(self) -> str:
        """Returns the specification in a few words, as reports print it."""
        way, shot, query = map(range_text, (self.way, self.shot, self.query))
        text = f"{way}-way {shot}-shot, "
        text += f"queries: {self.total_query}" if self.total_query else f"{query} queries a class"
        if self.query_distribution == "dirichlet":
            text += "" if self.total_query else " on average"
            text += f", Dirichlet({alpha_text(self.alpha_range)})"
            if self.balanced_fraction:
                text += f", {100 * self.balanced_fraction:g} % balanced"
        if self.query_classes:
            text += f", all from {self.query_classes} of the classes"
        return text


@dataclasses.dataclass(frozen=True)
class BackboneConfig(Record):
    """A backbone's shape and the pictures that it takes.

    Attributes:
        name: "conv4" or "wide_resnet".
        width: conv4: filters of each block (64); wide_resnet: the widening factor (10).
        depth: wide_resnet only: 6 * blocks + 4 layers (28).
        image_size: side in pixels of the square pictures that the backbone takes.
        mean, std: per RGB channel, on the 0-255 scale; the backbone's first layer applies them.
        precision: what convolutions compute in. Weights, batch statistics and features are float32 always.
    """

    CHOICES = {"precision": PRECISIONS}

    name: str = "conv4"
    width: int = 64
    depth: int = 28
    image_size: int = 32
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    precision: str = "float32"

    def __post_init__(self):
        require_choice("backbone", self.name, BACKBONES)
        super().__post_init__()
        require("width", self.width, self.width >= 1, "at least 1")
        require("image_size", self.image_size, self.image_size >= 16, "at least 16 pixels")
        if self.name == "wide_resnet":
            require("depth", self.depth, self.depth >= 10 and (self.depth - 4) % 6 == 0, "6 * blocks + 4 (10, 16, 28)")
        require("std", self.std, len(self.std) == 3 and min(self.std) > 0, "three numbers above 0")
        require("mean", self.mean, len(self.mean) == 3, "three numbers")


@dataclasses.dataclass(frozen=True)
class PretrainConfig(Record):
    """Stage 1: how the backbone is trained on the meta-training classes.

    Defaults are the released code's: SGD with Nesterov momentum 0.9 and coupled weight decay, batches of 64, 6,000
    warm-up steps from 1e-7, 60 epochs, a tenth of the rate after epoch 50.

    Attributes:
        schedule: "paper" (above), "cosine" (one epoch of warm-up, then to zero) or "one_cycle" (30 % up, 70 % down).
        learning_rate: the highest rate of the schedule.
        epochs, batch_size: as they say.
        weight_decay: added to the gradient, times the weight, before momentum.
        logit_scale: start of the cosine classifier's learned scale; 10 in the released code, for 64 classes. With many
            hundred classes, 10 is so flat a softmax that training starts slowly.
        augment: random crop (padded by an eighth, 4 at 32 pixels, or a tenth, 8 at 80), colour jitter, mirror.
        mirror: whether augmentation mirrors pictures; letters should not be.
        color_jitter: range of brightness, contrast and saturation factors, 1 +- this, in [0, 1).
        seed: of weights, order and augmentation.
    """

    CHOICES = {"schedule": SCHEDULES}

    schedule: str = "paper"
    learning_rate: float = 0.1
    epochs: int = 60
    batch_size: int = 64
    weight_decay: float = 5e-4
    logit_scale: float = 10.0
    augment: bool = True
    mirror: bool = True
    color_jitter: float = 0.4
    seed: int = 0

    def __post_init__(self):
        super().__post_init__()
        require_positive("learning_rate", self.learning_rate)
        require("epochs", self.epochs, self.epochs >= 1, "at least 1")
        require("batch_size", self.batch_size, self.batch_size >= 2, "at least 2 (batch normalisation)")
        require("weight_decay", self.weight_decay, 0 <= self.weight_decay < math.inf, "0 or more and finite")
        require_positive("logit_scale", self.logit_scale)
        require("color_jitter", self.color_jitter, 0 <= self.color_jitter < 1, "in [0, 1)")
        require("seed", self.seed, 0 <= self.seed < 2**31, "in [0, 2**31)")


@dataclasses.dataclass(frozen=True)
class SIBConfig(Record):
    """The SIB model. Symbols are the paper's (Hu et al., ICLR 2020).

    Attributes:
        feature_dim: D, length of a feature.
        way: classes per episode that the joint network is built for; None for `per_class`, which takes any way.
        num_steps: K, synthetic-gradient steps; 0 is nearest prototypes.
        inner_learning_rate: eta, the step size.
        gradient_network: "joint" (the paper's) or "per_class" (shared over classes).
        hidden_units: width of the two hidden layers; None: 8 * way for joint (released code), 32 for per_class.
        step_reduction: how the n queries of a step add up: "sum" (released code), "mean" (the paper's 1/n), or
            "shrunk_mean", the mean times (n - 1) / (n - 1 + way): few queries move the classifier little, and one
            alone, which there is nothing to compare with, not at all. Ours.
        learned_initialization: whether the initialisation network's vector a is learned (released code); otherwise it
            stays 1, and theta^0 is nearest prototypes.
        separate_steps: whether every step has a synthetic gradient network of its own, or all the same (released code).
        support_gradient: whether every step also takes the gradient of the labelled pictures' cross-entropy, which is
            known, by a learned step size each. Ours.
        prior: p(w), "none" (released code) or "gaussian": learned mean and scales, the same for every class.
        posterior: q_theta(w), "dirac" (released code) or "gaussian", which needs a prior.
        posterior_samples: S, samples of w in the expectations of a gaussian posterior; 0: its mean stands for them.
        kl_weight: of KL(q || p) against the cross-entropy summed over the queries, >= 0, in steps and outer loss; 1 is
            the evidence lower bound.
    """

    CHOICES = {
        "gradient_network": GRADIENT_NETWORKS,
        "step_reduction": STEP_REDUCTIONS,
        "prior": PRIORS,
        "posterior": POSTERIORS,
    }

    feature_dim: int = 256
    way: int | None = 5
    num_steps: int = 3
    inner_learning_rate: float = 1e-3
    gradient_network: str = "joint"
    hidden_units: int | None = None
    step_reduction: str = "sum"
    separate_steps: bool = False
    learned_initialization: bool = True
    support_gradient: bool = False
    prior: str = "none"
    posterior: str = "dirac"
    posterior_samples: int = 4
    kl_weight: float = 1.0

    def __post_init__(self):
        require("feature_dim", self.feature_dim, self.feature_dim >= 1, "at least 1")
        require("num_steps", self.num_steps, 0 <= self.num_steps <= 100, "in [0, 100] (the steps are unrolled)")
        require_positive("inner_learning_rate", self.inner_learning_rate)
        super().__post_init__()
        needs_prior = "dirac without a prior: nothing else keeps a gaussian from becoming a point"
        require("posterior", self.posterior, self.posterior == "dirac" or self.prior != "none", needs_prior)
        require("posterior_samples", self.posterior_samples, 0 <= self.posterior_samples <= 100, "in [0, 100]")
        require("kl_weight", self.kl_weight, 0 <= self.kl_weight < math.inf, "0 or more and finite")
        require("hidden_units", self.hidden_units, self.hidden_units is None or self.hidden_units >= 1, "at least 1")
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
        """Raises an InputError if `spec` has a range of ways and the model takes one way only."""
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
        steps: outer steps.
        batch_episodes: B, episodes per outer step and specification; the loss is their mean.
        optimizer: "sgd" (Nesterov momentum, coupled weight decay: released code), "adam" or "adamw".
        learning_rate, momentum, weight_decay: of the outer optimiser.
        cosine_decay: whether the learning rate falls to zero along half a cosine; constant otherwise (released code).
        validation_episodes: length of each fixed validation list.
        validate_every: outer steps between validations.
        steps_per_call: outer steps inside one compiled call; only speed depends on it.
        seed: of weights and episodes.
    """

    CHOICES = {"optimizer": OPTIMIZERS}

    episodes: EpisodeSpec = EpisodeSpec()
    validation: EpisodeSpec = EpisodeSpec()
    mixture: tuple[EpisodeSpec, ...] = ()
    steps: int = 50_000
    batch_episodes: int = 1
    optimizer: str = "sgd"
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 5e-4
    cosine_decay: bool = False
    validation_episodes: int = 1000
    validate_every: int = 1000
    steps_per_call: int = 100
    seed: int = 0

    def __post_init__(self):
        for name in ("episodes", "validation"):
            if isinstance(getattr(self, name), dict):
                object.__setattr__(self, name, EpisodeSpec.from_dict(getattr(self, name), name))
        mixture = (EpisodeSpec.from_dict(s, "mixture") if isinstance(s, dict) else s for s in self.mixture)
        object.__setattr__(self, "mixture", tuple(mixture))
        for name in ("steps", "batch_episodes", "validation_episodes", "validate_every", "steps_per_call"):
            require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        super().__post_init__()
        require_positive("learning_rate", self.learning_rate)
        require("momentum", self.momentum, 0 <= self.momentum < 1, "in [0, 1)")
        require("weight_decay", self.weight_decay, 0 <= self.weight_decay < math.inf, "0 or more and finite")
        require("seed", self.seed, 0 <= self.seed < 2**31, "in [0, 2**31)")

    def parts(self, cores: int) -> int:
        """How many equal parts of a batch are computed at a time: one for each of `cores`, of at least 4 episodes."""
        most = min(cores, self.batch_episodes // _LEAST_PART)
        return max((n for n in range(1, most + 1) if self.batch_episodes % n == 0), default=1)
