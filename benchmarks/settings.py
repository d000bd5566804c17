"""The settings of the comparison: named episode specifications, in groups that one figure or table shows."""

import dataclasses

from sib_tf.config import EpisodeSpec
from sib_tf.errors import InputError


@dataclasses.dataclass(frozen=True)
class Setting:
    """One row of the comparison.

    Attributes:
        name: of its result file.
        group: "imbalance", "total_query", "way" or "missing_classes".
        value: what varies within the group, as figures show it; for "imbalance" Dirichlet's alpha, or "balanced".
        spec: the episodes.
    """

    name: str
    group: str
    value: float | str
    spec: EpisodeSpec

    @property
    def imbalanced(self) -> bool:
        """Whether some classes have more queries than others."""
        return self.group in ("imbalance", "missing_classes") and self.value != "balanced"


def imbalance(shots=(1, 5, 10, 20), alphas=(1.0, 2.0, 5.0)) -> list[Setting]:
    """Balanced and Dirichlet query sets, at every shot."""
    found = []
    for shot in shots:
        found.append(Setting(f"balanced_{shot}shot", "imbalance", "balanced", EpisodeSpec(shot=shot)))
        for alpha in alphas:
            spec = EpisodeSpec(shot=shot, query_distribution="dirichlet", dirichlet_alpha=alpha)
            found.append(Setting(f"dirichlet{alpha:g}_{shot}shot", "imbalance", alpha, spec))
    return found


def total_query(totals=(1, 5, 15, 75, 250)) -> list[Setting]:
    """From one query to many, as balanced as the number allows."""
    return [Setting(f"total_query_{n}", "total_query", n, EpisodeSpec(total_query=n)) for n in totals]


def way(ways=(2, 5, 10, 20)) -> list[Setting]:
    """From two classes to twenty, with balanced queries."""
    return [Setting(f"way_{n}", "way", n, EpisodeSpec(way=n)) for n in ways]


def missing_classes(classes=(1, 2, 3, 4)) -> list[Setting]:
    """Five classes in the support, and 75 queries that come from only some of them."""
    return [Setting(f"query_classes_{n}", "missing_classes", n, EpisodeSpec(query_classes=n)) for n in classes]


def all_settings() -> list[Setting]:
    """Every setting of the comparison."""
    return [*imbalance(), *total_query(), *way(), *missing_classes()]


def quick_settings() -> list[Setting]:
    """A part of them that is measured in minutes."""
    return [*imbalance((1, 5), (2.0,)), *total_query((1, 15, 75)), *way((5, 20)), *missing_classes((2,))]


def named(names: list[str]) -> list[Setting]:
    """Returns the settings of these names.

    Raises:
        InputError: there is no setting of a name.
    """
    known = {setting.name: setting for setting in all_settings()}
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"settings must be among {', '.join(known)}; got {', '.join(unknown)}.")
    return [known[name] for name in names]
