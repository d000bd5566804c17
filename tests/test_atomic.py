"""Outputs are whole or not there, and refusals of the system are said in one line."""

import json
import os
import stat
from pathlib import Path

import pytest

from sib_tf import atomic
from sib_tf.errors import InputError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_with_missing_folders_made(tmp_path):
    path = tmp_path / "a" / "b" / "text.txt"
    with atomic.new_file(path) as partial:
        partial.write_text("half")
        assert not path.exists()
        assert partial.suffix == ".txt"
        assert partial.parent == path.parent
    assert path.read_text() == "half"
    assert names(path.parent) == ["text.txt"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="stop"), atomic.new_file(path) as partial:
        partial.write_text("new")
        raise RuntimeError("stop")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["text.txt"]


def test_files_and_folders_get_the_permissions_of_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        atomic.write_text(tmp_path / "file", "")
        with atomic.new_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o750


def test_a_folder_replaces_the_old_one_whole(tmp_path):
    path = tmp_path / "out"
    path.mkdir()
    (path / "old").write_text("")
    with atomic.new_folder(path) as partial:
        (partial / "new").write_text("")
        assert names(path) == ["old"]
    assert names(path) == ["new"]
    assert names(tmp_path) == ["out"]


def test_a_failed_folder_leaves_the_old_one(tmp_path):
    path = tmp_path / "out"
    path.mkdir()
    (path / "old").write_text("")
    with pytest.raises(RuntimeError, match="stop"), atomic.new_folder(path) as partial:
        (partial / "new").write_text("")
        raise RuntimeError("stop")
    assert names(path) == ["old"]
    assert names(tmp_path) == ["out"]


def test_json_comes_back_as_written_and_nan_is_refused(tmp_path):
    value = {"name": "é", "list": [1, 2.5, None, True]}
    path = tmp_path / "value.json"
    atomic.write_json(path, value)
    assert atomic.read_json(path, "Value") == value
    assert "é" in path.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic.write_json(path, {"loss": float("nan")})
    assert set(json.loads(path.read_text(encoding="utf-8"))) == {*value, "sha256"}
    assert atomic.read_json(path, "Value") == value


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"Metrics .*metrics\.json cannot be read \(No such file or directory\)\."),
        (b'{"a": 1', r"Metrics .*metrics\.json is not valid JSON \(.*line 1.*\); write it again or restore it\."),
        (b"\xff\xfe", r"Metrics .*metrics\.json is not valid JSON \(.*utf-8.*\)"),
    ],
)
def test_json_that_cannot_be_read_is_named(tmp_path, content, message):
    path = tmp_path / "metrics.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        atomic.read_json(path, "Metrics")


def write_file(path: Path) -> None:
    atomic.write_text(path, "")


def write_folder(path: Path) -> None:
    with atomic.new_folder(path):
        pass


@pytest.mark.parametrize("write", [write_file, write_folder])
def test_a_file_in_the_place_of_a_folder_is_named(tmp_path, write):
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match=r"Cannot write to the folder .*taken \(File exists\); name one that can be\."):
        write(tmp_path / "taken" / "out")


def test_a_file_does_not_replace_a_folder_nor_a_folder_a_file(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("kept")
    with pytest.raises(InputError, match=r"folder is a folder; name a file\."):
        write_file(tmp_path / "folder")
    with pytest.raises(InputError, match=r"file is a file; name a folder\."):
        write_folder(tmp_path / "file")
    assert names(tmp_path) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("write", [write_file, write_folder])
def test_a_folder_that_refuses_writing_is_named(tmp_path, monkeypatch, write):
    def refuse(**kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(atomic.tempfile, "mkstemp", refuse)
    monkeypatch.setattr(atomic.tempfile, "mkdtemp", refuse)
    with pytest.raises(InputError, match=r"Cannot write to the folder .* \(Permission denied\)"):
        write(tmp_path / "out")
