"""What methods are called on the page and in the figure."""

from benchmarks.records import PEER_NAMES

# Told that piles are balanced: in the tables, but not among those that the head has to be above.
TOLD = ("pt_map", "balanced head")
NORMALISED = ", normalised"
NAMES = PEER_NAMES | {
    "prototypes": "K = 0",
    "head": "SIB, the head",
    "balanced head": "SIB, the head for balanced piles",
    "logistic_regression": "logistic regression",
    "label_spreading": "label spreading",
    "self_training": "self-training",
}


def in_words(label: str) -> str:
    """The words for a label of a cell's file: a method's name, perhaps with ", normalised"."""
    name = label.removesuffix(NORMALISED)
    return NAMES.get(name, name) + (NORMALISED if label.endswith(NORMALISED) else "")
