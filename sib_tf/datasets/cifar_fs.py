"""CIFAR-FS (Bertinetto et al., ICLR 2019): CIFAR-100, all 600 pictures of each class, split by class 64 / 16 / 20."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sib_tf.datasets.builder import FewShotBuilder, png_bytes
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
VALIDATION_CLASSES = frozenset(_VALIDATION.split())
TEST_CLASSES = frozenset(_TEST.split())
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

    def _split_generators(self, dl_manager):
        path = archive(dl_manager, ARCHIVE, URL)
        return {split: self._generate_examples(path, split) for split in ("train", "validation", "test")}

    def _generate_examples(self, path: Path, split: str) -> Iterator[tuple[str, dict]]:
        names, records = read_archive(path)
        of_split = np.array([meta_split_of(name) == split for name in names])
        records = records[of_split[records["fine"]]]
        if not len(records):
            raise InputError(f"{path} has no records of {split} classes; fetch it again from {URL}.")
        seen: dict[str, int] = {}
        for record in records:
            pixels = np.ascontiguousarray(record["pixels"].transpose(1, 2, 0))
            name = names[record["fine"]]
            key = hashlib.sha1(name.encode() + pixels.tobytes(), usedforsecurity=False).hexdigest()
            # CIFAR-100 holds a few exact repeats; a counter keeps their ids apart.
            seen[key] = seen.get(key, -1) + 1
            identity = f"{key}-{seen[key]}"
            yield identity, {"image": png_bytes(pixels), "class_name": name, "id": identity}


def meta_split_of(class_name: str) -> str:
    """Returns the meta-split of a CIFAR-100 fine class."""
    if class_name in VALIDATION_CLASSES:
        return "validation"
    return "test" if class_name in TEST_CLASSES else "train"


def read_archive(path: Path) -> tuple[list[str], np.ndarray]:
    """Reads the binary archive; returns the fine class names and a record array (coarse, fine, pixels [3, 32, 32]).

    Raises:
        InputError: the archive is damaged, or a record names a class that does not exist.
    """
    wanted = ("fine_label_names.txt", "train.bin", "test.bin")
    members = read_members(path, wanted)
    names = members["fine_label_names.txt"].decode("utf-8").split()
    for part in ("train.bin", "test.bin"):
        if not members[part] or len(members[part]) % _RECORD.itemsize:
            raise InputError(
                f"{part} in {path} has {len(members[part])} bytes, which is not a whole number of "
                f"{_RECORD.itemsize}-byte records; fetch the archive again from {URL}."
            )
    records = np.frombuffer(members["train.bin"] + members["test.bin"], dtype=_RECORD)
    if records["fine"].max() >= len(names):
        raise InputError(
            f"{path} has a record of class {records['fine'].max()} but names only {len(names)}; fetch it again."
        )
    return names, records
