"""Splits by class of what users bring, be it pictures or embeddings. Importing this is cheap: flags are made of it."""

import dataclasses
import hashlib

from sib_tf.errors import require
from sib_tf.pictures.class_names import composed
from sib_tf.records import FROM_0, Bound, Record, setting

# What users call a meta-split, in lower case.
SPLIT_NAMES = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
_SHARE = Bound(lambda share: share > 0, "above 0")


@dataclasses.dataclass(frozen=True)
class SplitOptions(Record):
    """How classes that nobody has put into meta-splits are: by a seeded hash of their names."""

    split_seed: int = setting(0, "Seed of the split by class.", FROM_0)
    validation_fraction: float = setting(0.2, "Share of the classes for validation.", _SHARE)
    test_fraction: float = setting(0.2, "Share of the classes for testing.", _SHARE)

    def __post_init__(self):
        super().__post_init__()
        total = self.validation_fraction + self.test_fraction
        require("validation_fraction + test_fraction", total, total < 1, "below 1")


def split_classes(names: list[str], options: SplitOptions) -> dict[str, list[str]]:
    """Cuts class names, ordered by the hash of seed and name, into meta-splits of at least one class each.

    There are three names at least. A name more moves at most those at the cuts. Unicode's composed and decomposed form
    of a name have the same hash.
    """
    order = sorted(names, key=lambda name: _hash(options.split_seed, name))
    test = min(max(1, round(len(order) * options.test_fraction)), len(order) - 2)
    validation = min(max(1, round(len(order) * options.validation_fraction)), len(order) - 1 - test)
    cut = test + validation
    return {"train": order[cut:], "validation": order[test:cut], "test": order[:test]}


def _hash(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}/{composed(name)}".encode(errors="surrogateescape")).digest()
