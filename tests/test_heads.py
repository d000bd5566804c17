"""Heads that ship: their digests are checked, and missing or damaged files are named."""

import pytest

from sib_tf import heads
from sib_tf.errors import InputError
from sib_tf.storage import atomic, digests


@pytest.fixture
def folder(tmp_path, monkeypatch):
    tmp_path = tmp_path / "package"
    (tmp_path / "general").mkdir(parents=True)
    for name in ("general.tflite", "general/sib.keras"):
        (tmp_path / name).write_bytes(b"a head")
    names = ["general.tflite", "general/sib.keras"]
    atomic.write_json(tmp_path / digests.FILE, {name: digests.of_file(tmp_path / name) for name in names})
    monkeypatch.setattr(heads, "_HERE", tmp_path)
    return tmp_path


def test_whole(folder):
    assert heads.path("general") == folder / "general.tflite"
    assert heads.folder("general") == folder / "general"
    assert heads.folder("runs/own").name == "own"


@pytest.mark.parametrize("harm", ["damaged", "missing"])
@pytest.mark.parametrize(("find", "file"), [(heads.path, "general.tflite"), (heads.folder, "general/sib.keras")])
def test_harm_is_named(folder, harm, find, file):
    (folder / file).unlink() if harm == "missing" else (folder / file).write_bytes(b"a bead")
    with pytest.raises(InputError, match=f"{file}.*install the package again"):
        find("general")


def test_unknown_name():
    with pytest.raises(InputError, match="head must be one of general, balanced.*got other"):
        heads.path("other")
