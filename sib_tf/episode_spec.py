"""What an episode looks like, as a record. Cheap to import, as `sib_tf.config` is, which shows it too."""

import dataclasses
import math

from sib_tf.errors import require
from sib_tf.records import ALPHA, BELOW_1, Bound, Range, Record, alpha_text, as_range, range_text, setting

QUERY_DISTRIBUTIONS = ("balanced", "dirichlet")
# Bounds of a share, and of a number of things.
SHARE = Bound(lambda share: 0 <= share <= 1, "in [0, 1]")
WHOLE = Bound(lambda value: isinstance(value, int) and value >= 1, "a whole number of at least 1")


@dataclasses.dataclass(frozen=True)
class EpisodeSpec(Record):
    """What an episode looks like. A range (low, high) is inclusive; each episode draws from it uniformly."""

    way: Range = setting((5, 5), "Classes of an episode: a number, or a range such as 5-20.")
    shot: Range = setting((1, 1), "Labelled pictures of each class: a number or a range.")
    query: Range = setting((15, 15), "Unlabelled pictures of each class, on average: a number or a range.")
    query_distribution: str = setting(
        "balanced",
        "How an episode's unlabelled pictures are spread over its classes: balanced, the same number of each, or "
        "dirichlet, in proportions drawn from a symmetric Dirichlet distribution (Veilleux et al., NeurIPS 2021), so "
        "that a class may have none.",
        QUERY_DISTRIBUTIONS,
    )
    dirichlet_alpha: float | tuple[float, float] = setting(
        2.0,
        "Concentration of the Dirichlet distribution; small is imbalanced. A number (2 is Veilleux et al.'s), or a "
        "range such as 0.1-5, drawn from uniformly in the logarithm.",
    )
    balanced_fraction: float = setting(0.0, "Share of balanced episodes among Dirichlet ones.", SHARE)
    total_query: int | None = setting(
        None,
        "Unlabelled pictures in all, instead of classes * query. What is left of an even division goes to classes that "
        "are drawn at random, one picture each.",
        WHOLE,
    )
    query_classes: int | None = setting(
        None,
        "Classes of an episode that its unlabelled pictures come from, drawn at random; the others have support only. "
        "None: all of them. The number of pictures stays the same.",
        WHOLE,
    )
    shot_distribution: str = setting(
        "even",
        "Numbers of labelled pictures: even, the same for all classes of an episode, or uneven, one out of the range "
        "shot for every class by itself, uniform in the logarithm.",
        ("even", "uneven"),
    )
    flipped_labels: float = setting(0.0, "Share of labels that are another class's, never all of a class.", BELOW_1)

    def __post_init__(self):
        for name in ("way", "shot", "query"):
            object.__setattr__(self, name, as_range(name, getattr(self, name)))
        super().__post_init__()
        low, high = self.alpha_range
        require("dirichlet_alpha", alpha_text((low, high)), 0 < low <= high < math.inf, ALPHA)
        classes, way = self.query_classes, self.way[0]
        require("query_classes", classes, (classes or 1) <= way, f"at most the smallest way, {way}")

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
        if self.total_query or self.query_classes:
            return -(-self.max_query // (self.query_classes or self.way[0]))
        return self.query[1]

    def fixed_way(self) -> int:
        """Returns the way that all episodes have; an InputError if it is a range."""
        low, high = self.way
        require("way", f"{low}-{high}", low == high, "one number for gradient_network=joint (per_class takes any way)")
        return high

    def describe(self) -> str:
        """Returns the specification in a few words, as reports print it."""
        way, shot, query = map(range_text, (self.way, self.shot, self.query))
        text = f"{way}-way {shot}-shot{' (every class its own)' if self.shot_distribution == 'uneven' else ''}, "
        text += f"{100 * self.flipped_labels:g} % of labels flipped, " if self.flipped_labels else ""
        text += f"queries: {self.total_query}" if self.total_query else f"{query} queries a class"
        if self.query_distribution == "dirichlet":
            text += "" if self.total_query else " on average"
            text += f", Dirichlet({alpha_text(self.alpha_range)})"
            if self.balanced_fraction:
                text += f", {100 * self.balanced_fraction:g} % balanced"
        if self.query_classes:
            text += f", all from {self.query_classes} of the classes"
        return text
