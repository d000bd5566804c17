"""A folder has one run at a time, whatever ends the process that has it."""

import contextlib
import errno
import fcntl
import signal
import subprocess
import sys
from pathlib import Path

import filelock
import pytest
from conftest import CHECKOUT

from sib_tf.errors import InputError
from sib_tf.storage import atomic, run_lock

HOLD = """
import sys
from sib_tf.storage import run_lock
with run_lock.held(sys.argv[1], sys.argv[2], beside=sys.argv[3] == "beside"):
    print("held", flush=True)
    sys.stdin.read(1)
"""


@contextlib.contextmanager
def holder(folder: Path, part: str = "", where: str = "inside"):
    """A process that holds `folder`; ended with the block at the latest."""
    command = [sys.executable, "-c", HOLD, str(folder), part, where]
    with subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("where", ["inside", "beside"])
def test_the_second_is_told_who_has_it_and_gets_it_when_the_first_was_killed(tmp_path, where):
    folder, beside = tmp_path / "run", where == "beside"
    with holder(folder, where=where) as first:
        message = (
            rf"run is in use by process {first.pid} on \S+ \(.*, since [\d: -]+\); wait for it, stop it, or name "
            r"another folder\. Its lock, .*run.*, ends with it\."
        )
        with pytest.raises(InputError, match=message), run_lock.held(folder, beside=beside):
            pass
        first.send_signal(signal.SIGKILL)
        first.wait()
        # What a killed process leaves means nothing.
        assert files(tmp_path) == (["run", "run/.lock"] if not beside else [".lock-run"])
        with run_lock.held(folder, beside=beside):
            pass
    assert files(tmp_path) == ([] if beside else ["run"])


def test_it_is_free_again_after_the_block_and_after_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(RuntimeError, match="stop"), run_lock.held(tmp_path / "run"):
            assert files(tmp_path) == ["run", "run/.lock"]
            raise RuntimeError("stop")
    assert files(tmp_path) == ["run"]


def test_parts_of_a_folder_are_held_apart(tmp_path):
    with holder(tmp_path, "worker0"):
        with run_lock.held(tmp_path), run_lock.held(tmp_path, "worker1"):
            pass
        with pytest.raises(InputError, match="is in use"), run_lock.held(tmp_path, "worker0"):
            pass


def test_who_waits_says_so_and_comes_next(tmp_path, capsys, monkeypatch):
    class WithEnd(filelock.FileLock):
        def acquire(self, *args, blocking=None, **kwargs):
            if blocking is None:
                first.stdin.close()  # It ends, and removes its lock file, while we wait.
            return super().acquire(*args, blocking=blocking, **kwargs)

    monkeypatch.setattr(filelock, "FileLock", WithEnd)
    second = pytest.raises(InputError, match="is in use")
    with holder(tmp_path) as first, run_lock.held(tmp_path, wait=True), second, run_lock.held(tmp_path):
        pass
    assert capsys.readouterr().err.startswith(f"Waiting for {tmp_path}, which is in use by process {first.pid} on ")
    assert files(tmp_path) == []


def test_without_locks_the_run_goes_on_with_a_warning(tmp_path, monkeypatch):
    def refuse(handle, flags):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    message = r"run cannot be locked \(No locks available\): take care that no other process writes there\."
    with pytest.warns(UserWarning, match=message), run_lock.held(tmp_path / "run"):
        pass
    assert files(tmp_path) == ["run"]


def test_temporary_folders_of_killed_processes_go_and_those_of_living_ones_stay(tmp_path):
    for name in (".partial-0a1b2c3d-best.keras", ".partial-0a1b2c3d"):  # The second one is not ours.
        (tmp_path / name).mkdir()
    with atomic.new_file(tmp_path / "last.keras") as partial, run_lock.held(tmp_path):
        assert files(tmp_path)[:2] == [".lock", ".partial-0a1b2c3d"]
        assert partial.parent.is_dir()
        partial.write_text("")
    assert files(tmp_path) == [".partial-0a1b2c3d", "last.keras"]
