"""Outputs are whole or not there, and refusals of the system are said in one line."""

import contextlib
import errno
import fcntl
import os
import signal
import stat
import sys
import tempfile
import types
from pathlib import Path

import pytest

from sib_tf.errors import InputError
from sib_tf.storage import atomic


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_with_missing_folders_made(tmp_path):
    path = tmp_path / "a" / "b" / "text.txt"
    with atomic.new_file(path) as partial:
        partial.write_text("half")
        assert not path.exists()
        assert partial.name == "text.txt"
    assert path.read_text() == "half"
    assert names(path.parent) == ["text.txt"]


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


@pytest.mark.parametrize(("new", "inside"), [(atomic.new_file, ""), (atomic.new_folder, "text")])
def test_a_failed_write_leaves_what_was_there_and_nothing_else(tmp_path, new, inside):
    for text, error in (("old", contextlib.nullcontext()), ("new", pytest.raises(RuntimeError, match="stop"))):
        with error, new(tmp_path / "out") as partial:
            (partial / inside).write_text(text)
            if text == "new":
                raise RuntimeError("stop")
    assert (tmp_path / "out" / inside).read_text() == "old"
    assert names(tmp_path) == ["out"]


def write_file(path: Path) -> None:
    atomic.write_text(path, "")


def write_folder(path: Path) -> None:
    with atomic.new_folder(path):
        pass


@pytest.mark.parametrize(
    ("write", "name", "message"),
    [
        (write_file, "file/out", r"Cannot write to the folder .*file \(File exists\); name one that can be\."),
        (write_folder, "file/out", r"Cannot write to the folder .*file \(File exists\); name one that can be\."),
        (write_file, "folder", r"folder is a folder; name a file\."),
        (write_folder, "file", r"file is a file; name a folder\."),
    ],
)
def test_what_is_in_the_way_is_named_and_stays(tmp_path, write, name, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("kept")
    with pytest.raises(InputError, match=message):
        write(tmp_path / name)
    assert names(tmp_path) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("write", [write_file, write_folder])
def test_a_folder_that_refuses_writing_is_named(tmp_path, monkeypatch, write):
    def refuse(**kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(atomic.tempfile, "mkdtemp", refuse)
    with pytest.raises(InputError, match=r"Cannot write to the folder .* \(Permission denied\)"):
        write(tmp_path / "out")


def write_killed(kind: str, path: Path, moment: int) -> int:
    """Writes in a process that kills itself when Python asks the system for something for the `moment`th time.

    Returns:
        Its exit code.
    """
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            _be_killed(kind, path, moment)
            os._exit(0)
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _be_killed(kind: str, path: Path, moment: int) -> None:
    count = 0

    def hook(event, arguments):
        nonlocal count
        count += event.split(".")[0] in ("open", "os", "shutil", "tempfile", "fcntl")
        if count == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    if kind == "file":
        atomic.write_text(path, "new")
    else:
        with atomic.new_folder(path) as partial:
            (partial / "text").write_text("new")


@pytest.mark.parametrize(("kind", "exchanges"), [("file", True), ("folder", True), ("folder", False)])
def test_killed_at_any_moment_the_old_or_the_new_is_there_and_nothing_is_left(tmp_path, monkeypatch, kind, exchanges):
    path, found, code = tmp_path / "out", [], None
    text = path if kind == "file" else path / "text"
    if not exchanges:
        monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)
    while code != 0:
        text.parent.mkdir(exist_ok=True)
        text.write_text("old")
        code = write_killed(kind, path, len(found) + 1)
        assert code in (0, -signal.SIGKILL)
        if exchanges:  # Also before anybody sweeps.
            assert text.read_text() in ("old", "new")
        atomic.sweep(tmp_path)
        found.append(text.read_text())
        assert names(tmp_path) == ["out"]
        assert kind == "file" or names(path) == ["text"]
    assert sorted(found, reverse=True) == found  # First the old one, then the new one.
    assert set(found) == {"old", "new"}


def test_a_write_sweeps_what_was_left_of_its_own_output_only(tmp_path):
    for name in (".partial-abcdefgh-out", ".partial-abcdefgh-other", ".partial-short-out"):
        atomic.write_text(tmp_path / name / "inside", "half")
    atomic.write_text(tmp_path / "out", "")
    assert names(tmp_path) == [".partial-abcdefgh-other", ".partial-short-out", "out"]


def test_a_temporary_folder_that_was_swept_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    def make(**kwargs):
        made = tempfile.mkdtemp(**kwargs)
        atomic.sweep(tmp_path)
        return made

    monkeypatch.setattr(atomic, "tempfile", types.SimpleNamespace(mkdtemp=make))
    atomic.write_text(tmp_path / "out", "whole")
    assert (tmp_path / "out").read_text() == "whole"
    assert names(tmp_path) == ["out"]


def test_where_there_are_no_locks_outputs_are_whole_too(tmp_path, monkeypatch):
    def refuse(handle, flags):
        raise OSError(errno.ENOLCK, "No locks available")

    (tmp_path / ".partial-abcdefgh-out").mkdir()
    monkeypatch.setattr(fcntl, "flock", refuse)
    atomic.write_text(tmp_path / "out", "whole")
    assert (tmp_path / "out").read_text() == "whole"
    assert names(tmp_path) == [".partial-abcdefgh-out", "out"]  # Nobody knows whose that is.


@pytest.mark.parametrize("write", [write_file, write_folder])
def test_a_disk_that_refuses_is_named_and_leaves_what_was_there(tmp_path, monkeypatch, write):
    def refuse(*_):
        raise OSError(errno.EIO, "Input/output error")

    write(tmp_path / "out")
    monkeypatch.setattr(atomic.os, "fsync", refuse)
    if write is write_file:
        (tmp_path / "out").write_text("old")
    else:
        write(tmp_path / "out")  # Some file systems cannot bring folders to the disk.
    monkeypatch.setattr(Path, "replace", refuse)
    monkeypatch.setattr(atomic, "_exchange", lambda *_: False)
    with pytest.raises(InputError, match=r"out cannot be written \(Input/output error\); name another place"):
        write(tmp_path / "out")
    assert "out" in names(tmp_path)
    assert write is write_folder or (tmp_path / "out").read_text() == "old"


def test_errors_that_are_not_the_disks_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError), atomic.new_file(tmp_path / "out"):
        (tmp_path / "missing").read_text()
    with pytest.raises(PermissionError), atomic.new_file(tmp_path / "out"):
        raise PermissionError(13, "Permission denied", "/etc/somewhere/else")
    assert names(tmp_path) == []
