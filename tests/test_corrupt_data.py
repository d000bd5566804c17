"""Archives, pictures and prepared data sets that are damaged or hostile: refused by name, or as undamaged."""

import functools
import gzip
import io
import struct
import tarfile
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import test_cifar_fs
import test_omniglot
from conftest import draw_class, draw_pictures
from damage import check_damage, refused
from PIL import Image

from sib_tf import datasets
from sib_tf.datasets import cifar_fs, omniglot, sources
from sib_tf.pictures.pixels import read_picture


def member(name: str, content: bytes = b"", headers: dict[str, str] | None = None) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.pax_headers = headers or {}
    return info, content


def tar_gz(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_cifar_archives_are_refused_or_read_as_they_were(tmp_path):
    path = test_cifar_fs.make_archive(tmp_path) / cifar_fs.ARCHIVE
    names, records = cifar_fs.read_archive(path)

    def same(found):
        return found[0] == names and found[1].tobytes() == records.tobytes()

    assert check_damage(path, cifar_fs.read_archive, same, flips=150, cuts=20) > 0.8


def test_a_flip_that_only_the_last_checksum_shows_is_found(tmp_path):
    """Pixels that are stored, not packed, change without any other sign."""
    whole = test_cifar_fs.make_archive(tmp_path) / cifar_fs.ARCHIVE
    raw = gzip.decompress(whole.read_bytes())
    stored = bytearray(gzip.compress(raw, compresslevel=0))
    stored[len(stored) // 2] ^= 4
    whole.write_bytes(stored)
    refused(lambda: cifar_fs.read_archive(whole), cifar_fs.ARCHIVE)


def test_nothing_is_written_whatever_members_are_called(tmp_path):
    """Absolute names, names that lead outside, links and devices."""
    content = {"train.bin": b"a", "test.bin": b"b", "fine_label_names.txt": b"cat"}
    members = []
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        link = tarfile.TarInfo("train.bin")
        link.type, link.linkname = kind, "/etc/passwd"
        members.append((link, b""))
    for name, data in content.items():
        members.append(member(f"/../../{tmp_path}/../{name}", data))
    (tmp_path / "in").mkdir()
    path = tar_gz(tmp_path / "in" / "a.tar.gz", members)
    assert sources.read_members(path, content) == content
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.tar.gz", "in"]


# A sparse member's size is a number in its header; 1 TB of zeros would follow from it.
SPARSE = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,1"}
SPARSE |= {"GNU.sparse.size": str(1 << 40), "GNU.sparse.name": "train.bin"}
MORE = "it unpacks to more than its data set has"


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        (lambda: [member("train.bin", bytes(3 << 20))], MORE),
        (lambda: [member("readme", bytes(3 << 20))], MORE),
        (lambda: [member(str(i)) for i in range(6144)], MORE),
        (lambda: [member("readme", headers={"comment": "a" * (3 << 20)})], MORE),
        (lambda: [member("train.bin", b"a", SPARSE)], "lacks train.bin"),
        (lambda: [member(f"{i}/train.bin", b"%d" % i) for i in range(2)], "train.bin twice"),
    ],
)
def test_hostile_archives_are_refused_and_take_no_memory(tmp_path, monkeypatch, members, reason):
    monkeypatch.setattr(sources, "MOST_UNPACKED", 1 << 20)
    path = tar_gz(tmp_path / "hostile.tar.gz", members())
    assert path.stat().st_size < 200_000
    tracemalloc.start()
    message = refused(lambda: sources.read_members(path, ["train.bin"]), "hostile.tar.gz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reason in message
    assert peak < 6 << 20


def drawings(path: Path) -> list[tuple[str, bytes]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's, of names that are there twice.
        return [(name, picture.tobytes()) for _, name, picture in omniglot.drawings(path, "test", 16)]


def test_omniglot_archives_are_refused_or_read_as_they_were(tmp_path):
    test_omniglot.write(tmp_path / "images.zip", test_omniglot.members("images", ["Greek/character01"], 3))
    expected = drawings(tmp_path / "images.zip")
    assert check_damage(tmp_path / "images.zip", drawings, expected.__eq__, flips=200, cuts=20) > 0.8


def test_drawings_that_are_bombs_are_refused(tmp_path):
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 1, 0, 0, 0, 0)
    huge = b"\x89PNG\r\n\x1a\n"
    for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")):
        huge += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    for content, reason in ((bytes(65 << 20), "unpacks to 68,157,440 bytes"), (huge, "pixels allowed")):
        test_omniglot.write(tmp_path / "images.zip", {"images/Greek/character01/0001_01.png": content})
        assert reason in refused(lambda: drawings(tmp_path / "images.zip"), "images.zip")
    (tmp_path / "huge.png").write_bytes(huge)
    assert "pixels allowed" in refused(lambda: read_picture(tmp_path / "huge.png"), "huge.png")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
def test_pictures_are_refused_or_pictures(tmp_path, form):
    """Of the formats PNG alone has checksums: there, and where a file is cut, the pixels are those there were."""
    path = tmp_path / f"a.{form.lower()}"
    Image.fromarray(draw_class(0, 1, np.random.RandomState(0))[0]).save(path, form)
    read = functools.partial(read_picture, size=None if form == "PNG" else 8)
    whole = read(path)

    def same(found):
        return np.array_equal(found, whole)

    if form == "PNG":
        assert check_damage(path, read, same, flips=150, cuts=20) > 0.95
    else:
        check_damage(path, read, lambda found: found.shape == (8, 8, 3), flips=150, cuts=2)
        check_damage(path, read, same, flips=0, cuts=20)


def test_a_prepared_data_set_is_refused_or_read_as_it_was(tmp_path):
    draw_pictures(tmp_path / "data", dict.fromkeys(("train", "val", "test"), (2, 1)))

    def load(_=None):
        return datasets.load("folder", str(tmp_path / "data"), str(tmp_path / "cache"), {"image_size": 16})

    expected = load().train.fingerprint
    files = sorted(path for path in (tmp_path / "cache").rglob("*") if path.is_file())
    assert {path.suffix for path in files} >= {".json", ".tfrecord-00000-of-00001"}
    refusal = f"{tmp_path / 'cache'}.*(remove|restore)"
    for path in files:
        check_damage(path, load, lambda found: found.train.fingerprint == expected, 6, 2, refusal=refusal)
    # As earlier versions left it: TensorFlow's own checksums are what there is.
    (digest_file,) = (tmp_path / "cache").rglob("digests.json")
    digest_file.unlink()
    # A process was killed while it recorded them: what it left is no file of the data set.
    digest_file.with_name(".partial-k1lled_x-digests.json").write_bytes(b"{")
    for _ in range(2):
        assert load().train.fingerprint == expected
    digest_file.unlink()  # They are recorded again by now.
    (record,) = (tmp_path / "cache").rglob("*train.tfrecord*")
    content = bytearray(record.read_bytes())
    content[100] ^= 1
    record.write_bytes(content)
    refused(load, f"{record.parent} is damaged (DataLossError); remove it")
