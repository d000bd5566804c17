"""CIFAR-FS (Bertinetto et al., ICLR 2019): CIFAR-100, all 600 pictures of each class, split by class 64 / 16 / 20."""

import collections
import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sib_tf.datasets.builder import FewShotBuilder
from sib_tf.datasets.sources import archive, read_members
from sib_tf.errors import InputError

URL = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
ARCHIVE = "cifar-100-binary.tar.gz"
_VALIDATION = (
    "beaver beetle butterfly camel cattle crab crocodile flatfish lamp maple_tree motorcycle otter sea shark "
    "television tractor"
)
_TEST = (
    "baby bed bicycle chimpanzee fox leopard man pickup_truck plain poppy rocket rose snail sweet_pepper table "
    "telephone wardrobe whale woman worm"
)
# Class -> meta-split; all others are for training.
HELD_OUT = dict.fromkeys(_VALIDATION.split(), "validation") | dict.fromkeys(_TEST.split(), "test")
_RECORD = np.dtype([("coarse", "u1"), ("fine", "u1"), ("pixels", "u1", (3, 32, 32))])


class Builder(FewShotBuilder):
    """CIFAR-100's 60,000 colour pictures of 32 x 32 pixels, split by class into 64 / 16 / 20 (CIFAR-FS).

    The training and test records of CIFAR-100 are taken together, 600 of each class. A picture's id is the SHA-1 of
    its pixels, so that the order of pictures, and with it every seeded episode, does not depend on the record order.
    """

    name = "cifar_fs"
    VERSION = "1.0.0"
    IMAGE_SIZE = 32
    # The released code's constants (RGB, 0-255 scale).
    NORMALIZATION = ((129.377, 124.106, 112.478), (68.209, 65.431, 70.459))
    HOMEPAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
    CITATION = """@inproceedings{bertinetto2019r2d2, title={Meta-learning with differentiable closed-form solvers},
    author={Bertinetto, Luca and Henriques, Jo{\\~a}o F. and Torr, Philip and Vedaldi, Andrea},
    booktitle={International Conference on Learning Representations}, year={2019}}
    @techreport{krizhevsky2009, title={Learning multiple layers of features from tiny images},
    author={Krizhevsky, Alex}, year={2009}}"""

    def _pictures(self, dl_manager, split):
        return _records_of(archive(dl_manager, ARCHIVE, URL), split)


def _records_of(path: Path, split: str) -> Iterator[tuple[str, str, np.ndarray]]:
    names, records = read_archive(path)
    of_split = np.array([HELD_OUT.get(name, "train") == split for name in names])
    records = records[of_split[records["fine"]]]
    if not len(records):
        raise InputError(f"{path} has no records of {split} classes; fetch it again from {URL}.")
    seen = collections.Counter()
    for record in records:
        pixels = np.ascontiguousarray(record["pixels"].transpose(1, 2, 0))
        name = names[record["fine"]]
        key = hashlib.sha1(name.encode() + pixels.tobytes(), usedforsecurity=False).hexdigest()
        # CIFAR-100 holds a few exact repeats; a counter keeps their ids apart.
        yield name, f"{key}-{seen[key]}", pixels
        seen[key] += 1


def read_archive(path: Path) -> tuple[list[str], np.ndarray]:
    """Reads the binary archive; returns the fine class names and a record array (coarse, fine, pixels [3, 32, 32]).

    Raises an InputError if the archive is damaged, or a record names a class that does not exist.
    """
    parts = ("train.bin", "test.bin")
    members = read_members(path, ("fine_label_names.txt", *parts))
    names = members["fine_label_names.txt"].decode("utf-8").split()
    for part in parts:
        if not members[part] or len(members[part]) % _RECORD.itemsize:
            raise InputError(
                f"{part} in {path} has {len(members[part])} bytes, which is not a whole number of "
                f"{_RECORD.itemsize}-byte records; fetch the archive again from {URL}."
            )
    records = np.frombuffer(members["train.bin"] + members["test.bin"], dtype=_RECORD)
    if (most := records["fine"].max()) >= len(names):
        raise InputError(f"{path} has a record of class {most} but names only {len(names)}; fetch it again.")
    return names, records
