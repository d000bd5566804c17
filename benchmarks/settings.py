"""The settings of the comparison: named episode specifications, in groups that one figure or table shows."""

import dataclasses

from sib_tf.config import EpisodeSpec
from sib_tf.errors import InputError


@dataclasses.dataclass(frozen=True)
class Setting:
    """One row of the comparison."""

    name: str  # Of its result file.
    group: str  # One of `benchmarks.records.GROUPS`.
    value: float | str  # What varies within the group; for "imbalance" Dirichlet's alpha, or "balanced".
    spec: EpisodeSpec


def all_settings() -> list[Setting]:
    """Every setting of the comparison.

    Imbalance at every shot, few and many queries and classes, missing classes, uneven and wrong labels.
    """
    found = []
    for shot in (1, 5, 10, 20):
        found.append(Setting(f"balanced_{shot}shot", "imbalance", "balanced", EpisodeSpec(shot=shot)))
        for alpha in (1.0, 2.0, 5.0):
            spec = EpisodeSpec(shot=shot, query_distribution="dirichlet", dirichlet_alpha=alpha)
            found.append(Setting(f"dirichlet{alpha:g}_{shot}shot", "imbalance", alpha, spec))
    for group, field, values in (
        ("total_query", "total_query", (1, 5, 15, 75, 250)),
        ("way", "way", (2, 5, 10, 20)),
        ("missing_classes", "query_classes", (1, 2, 3, 4)),
    ):
        found += [Setting(f"{field}_{n}", group, n, EpisodeSpec(**{field: n})) for n in values]
    uneven = EpisodeSpec(shot=(1, 20), shot_distribution="uneven")
    found.append(Setting("uneven_1to20shot", "uneven_labels", "1 to 20", uneven))
    for percent in (10, 20):
        spec = EpisodeSpec(shot=5, flipped_labels=percent / 100)
        found.append(Setting(f"flipped{percent}_5shot", "flipped_labels", percent, spec))
    return found


# A part of them that is measured in minutes.
QUICK = ["balanced_1shot", "dirichlet2_1shot", "balanced_5shot", "dirichlet2_5shot"]
QUICK += ["total_query_1", "total_query_15", "total_query_75", "way_5", "way_20", "query_classes_2"]
QUICK += ["uneven_1to20shot", "flipped20_5shot"]


def named(names: list[str]) -> list[Setting]:
    """Returns the settings of these names; an InputError says if there is none of a name."""
    known = {setting.name: setting for setting in all_settings()}
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"settings must be among {', '.join(known)}; got {', '.join(unknown)}.")
    return [known[name] for name in names]
