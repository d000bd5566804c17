"""CIFAR-FS: tiny archives in the published layout, and the published one where it is at hand."""

import gzip
import hashlib
import io
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import real_data

from sib_tf import datasets
from sib_tf.datasets import cifar_fs
from sib_tf.errors import InputError

# The archive's own order is alphabetical; apple and bear are training classes.
NAMES = ("apple", "baby", "bear", "beaver")


def pixels_of(name: str, index: int) -> np.ndarray:
    """uint8 `[32, 32, 3]`."""
    return np.random.default_rng(NAMES.index(name) * 100 + index).integers(0, 256, (32, 32, 3), np.uint8)


def record(name: str, pixels: np.ndarray) -> bytes:
    """A coarse label (which nothing reads), a fine label, and the red, the green and the blue plane."""
    return bytes([77, NAMES.index(name)]) + pixels.transpose(2, 0, 1).tobytes()


def records(names=NAMES, indices=range(3)) -> list[bytes]:
    return [record(name, pixels_of(name, index)) for name in names for index in indices]


def write(root: Path, train: bytes, test: bytes, names: str = "\n".join(NAMES) + "\n", leave_out: str = "") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    content = {"train.bin": train, "test.bin": test, "fine_label_names.txt": names.encode()}
    with tarfile.open(root / cifar_fs.ARCHIVE, "w:gz") as archive:
        for name in set(content) - {leave_out}:
            member = tarfile.TarInfo(f"cifar-100-binary/{name}")
            member.size = len(content[name])
            archive.addfile(member, io.BytesIO(content[name]))
    return root


def make_archive(root: Path) -> Path:
    return write(root, b"".join(records(indices=(0, 1))), b"".join(records(indices=(2,))))


def load(root: Path) -> datasets.MetaDataset:
    return datasets.load("cifar_fs", str(root), str(root / "cache"))


def test_the_published_lists_are_whole():
    assert Counter(cifar_fs.HELD_OUT.values()) == {"validation": 16, "test": 20}


def test_pixels_labels_ids_and_splits_are_exact(tmp_path):
    data = load(make_archive(tmp_path))
    assert data.train.class_names == ("apple", "bear")
    assert data.validation.class_names == ("beaver",)
    assert data.test.class_names == ("baby",)
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.normalization == ((129.377, 124.106, 112.478), (68.209, 65.431, 70.459))
    for split in datasets.META_SPLITS:
        part = data.split(split)
        for number, name in enumerate(part.class_names):
            drawn = [pixels_of(name, index) for index in range(3)]
            by_id = {f"{hashlib.sha1(name.encode() + pixels.tobytes()).hexdigest()}-0": pixels for pixels in drawn}
            own = part.labels == number
            assert part.ids[own].tolist() == sorted(by_id)
            np.testing.assert_array_equal(part.images[own], [by_id[identity] for identity in sorted(by_id)])


def test_the_order_of_the_records_does_not_matter(tmp_path):
    one = load(make_archive(tmp_path / "one"))
    shuffled = np.random.default_rng(0).permutation(records()).tolist()
    other = load(write(tmp_path / "other", b"".join(shuffled[:5]), b"".join(shuffled[5:])))
    for split in datasets.META_SPLITS:
        assert one.split(split).fingerprint == other.split(split).fingerprint
        assert one.split(split).ids.tolist() == other.split(split).ids.tolist()


def test_repeated_pictures_are_kept(tmp_path):
    data = load(write(tmp_path, b"".join(records()), record("baby", pixels_of("baby", 0))))
    assert len(data.test.labels) == 4
    assert sorted(identity[-2:] for identity in data.test.ids) == ["-0", "-0", "-0", "-1"]


ALL, THREE = b"".join(records()), b"".join(records(NAMES[:3]))
DAMAGED = r"^.*cifar-100-binary\.tar\.gz is damaged \(.+\); fetch it again\.$"


def holding(**content):
    return lambda root: write(root, **{"train": ALL, "test": ALL, **content})


def made_of(content: bytes):
    return lambda root: (root / cifar_fs.ARCHIVE).write_bytes(content)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (
            lambda root: None,
            r"has no cifar-100-binary\.tar\.gz; put it there \(from https://www\.cs\.toronto\.edu/.*\) or name",
        ),
        (made_of(b"no archive"), DAMAGED),
        (made_of(gzip.compress(b"no tar" * 200)), DAMAGED),
        (holding(leave_out="train.bin"), r"cifar-100-binary\.tar\.gz lacks train\.bin; fetch it again\."),
        (holding(leave_out="test.bin"), r"cifar-100-binary\.tar\.gz lacks test\.bin; fetch it again\."),
        (holding(leave_out="fine_label_names.txt"), r"tar\.gz lacks fine_label_names\.txt; fetch it again\."),
        (
            holding(test=ALL[:3073]),
            r"test\.bin in .* has 3073 bytes, which is not a whole number of 3074-byte records; fetch",
        ),
        (holding(train=b""), r"train\.bin in .* has 0 bytes, which is not a whole number of 3074-byte"),
        (holding(names="apple\nbaby\n"), r"has a record of class 3 but names only 2; fetch it again\."),
        (holding(train=THREE, test=THREE), r"has no records of validation classes; fetch it"),
    ],
)
def test_archives_that_cannot_be_used_say_why(tmp_path, make, complaint):
    make(tmp_path)
    with pytest.raises(InputError, match=complaint):
        load(tmp_path)


@pytest.mark.slow
def test_the_published_archive_has_600_pictures_of_each_class():
    names, found = cifar_fs.read_archive(real_data("cifar-100") / cifar_fs.ARCHIVE)
    assert np.bincount(found["fine"]).tolist() == [600] * 100
    assert len(set(names)) == 100
    assert set(names) > set(cifar_fs.HELD_OUT)
