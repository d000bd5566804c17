"""How the comparison's aims are counted: each as what is asked for, what came out, and whether that is enough."""

from collections.abc import Sequence

import numpy as np

from benchmarks.unseen.names import TOLD, in_words

# Points.
HARM, LEAD, BEHIND_PT_MAP, CALIBRATION = 0.3, 1.0, 0.3, 3.0
IMBALANCED = ("Dirichlet(2)", "Dirichlet(0.5)", "5 of 20")
_OWN = ("head", "prototypes")


def mean(records: Sequence[dict], label: str, field: str) -> float:
    """Mean of a method's `field` over the cells that it is in; NaN where it is in none."""
    found = [r["methods"][label][field] for r in records if label in r["methods"] and field in r["methods"][label]]
    return float(np.mean(found)) if found else float("nan")


def half_width(records: Sequence[dict], label: str, field: str) -> float:
    """Half of the 95 % interval of `mean` over these very cells: those of their episodes, which are independent."""
    name = f"{field}_ci95"
    found = [r["methods"][label][name] for r in records if label in r["methods"] and name in r["methods"][label]]
    return float(np.sqrt(np.sum(np.square(found))) / len(found)) if found else float("nan")


def counted(records: Sequence[dict]) -> list[tuple[str, str, str]]:
    """Rows of the page's table: the aim, what came out, "met" or "missed"."""
    return [_harm(records), _lead(records), *(_lead(records, column) for column in IMBALANCED), *_others(records)]


def _harm(records: Sequence[dict]) -> tuple[str, str, str]:
    gains = [(100 * r["methods"]["head"]["difference"], 100 * r["methods"]["head"]["difference_ci95"]) for r in records]
    below = [(gain, half) for gain, half in gains if gain < -HARM]
    surely = sum(gain + half < -HARM for gain, half in below)
    found = f"{len(below)} of {len(gains)} cells are ({surely} by more than their interval); the least gain is "
    return (
        f"no cell below K = 0 by more than {HARM} points",
        f"{found}{min(gains)[0]:+.2f}",
        _word(not below),
    )


def _lead(records: Sequence[dict], column: str | None = None) -> tuple[str, str, str]:
    """The head above every peer that is told nothing: by a point over all cells, by anything in a column."""
    own = [record for record in records if column in (None, record["column"])]
    aim = f"above each such peer on {column}" if column else f"above every peer that is told nothing by {LEAD:g} point"
    leads = {
        label: 100 * mean(own, label, "head_over")
        for label, figures in {k: v for r in own for k, v in r["methods"].items()}.items()
        if figures["name"] not in (*TOLD, *_OWN)
    }
    if not leads:
        return aim, "not measured", ""
    nearest, least = min(leads, key=leads.get), 0 if column else LEAD
    half = 100 * half_width(own, nearest, "head_over")
    word = _word(leads[nearest] >= least)
    if abs(leads[nearest] - least) < half:
        word += ", within its interval"
    return aim, f"{leads[nearest]:+.2f} +-{half:.2f} over the nearest, {in_words(nearest)}", word


def _others(records: Sequence[dict]) -> list[tuple[str, str, str]]:
    balanced = [record for record in records if record["column"] == "balanced"]
    aim = f"the head for balanced piles within {BEHIND_PT_MAP} points of PT-MAP on balanced"
    labels = {label for r in balanced for label, figures in r["methods"].items() if figures["name"] == "pt_map"}
    # At its better, by itself or behind the normaliser.
    ahead = 100 * min((mean(balanced, label, "balanced_head_over") for label in labels), default=np.nan)
    rows = [(aim, f"{ahead:+.2f}", _word(ahead >= -BEHIND_PT_MAP)) if np.isfinite(ahead) else (aim, "not measured", "")]
    error, before = (100 * mean(records, "head", field) for field in ("ece", "ece_before"))
    aim = f"calibration error of at most {CALIBRATION:g} %"
    return [
        *rows,
        (aim, f"{error:.2f} % in the mean of the cells ({before:.2f} as it is)", _word(error <= CALIBRATION)),
    ]


def _word(met: bool) -> str:
    return "met" if met else "missed"
