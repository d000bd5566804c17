"""One run a folder: the second process that wants it is told who has it."""

import contextlib
import os
import shlex
import socket
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import filelock

from sib_tf.errors import InputError
from sib_tf.storage import atomic, disk_errors

LOCK = ".lock"


@contextlib.contextmanager
def held(folder: str | os.PathLike, part: str = "", beside: bool = False, wait: bool = False) -> Iterator[None]:
    """Holds `folder`, which is made where there is none, for this process during the block.

    The kernel releases the lock when the process ends, be it killed; a lock file that is left then means nothing.
    Temporary files that a killed process left in the folder are removed. Where the file system has no locks, the block
    runs with a warning.

    Args:
        folder: of the run; an InputError if it cannot be written.
        part: of several that different processes may hold at a time; "": the folder itself.
        beside: whether the lock lies beside the folder, because the folder is replaced whole.
        wait: whether to wait for a process that has it, saying so on standard error; else an InputError says which.
    """
    folder = Path(folder)
    home, name = (folder.parent, f"{LOCK}-{folder.name}") if beside else (folder, f"{LOCK}-{part}" if part else LOCK)
    path, lock = home / name, atomic.new_lock(home / name)
    with atomic.writing_to(home):
        _acquire(lock, folder, wait)
    try:
        with atomic.writing_to(home):
            path.write_text(_own_name(), encoding="utf-8")
        if not beside:
            atomic.sweep(folder)
        yield
    finally:
        # Still locked: whoever opened it meanwhile sees that it is gone, and makes another.
        path.unlink(missing_ok=True)
        lock.release()


def _acquire(lock: filelock.FileLock, folder: Path, wait: bool) -> None:
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout as taken:
        holder = "another process"
        with contextlib.suppress(OSError):  # It may end just now.
            holder = Path(lock.lock_file).read_text(encoding="utf-8", errors="replace") or holder
        if not wait:
            raise InputError(
                f"{folder} is in use by {holder}; wait for it, stop it, or name another folder. Its lock, "
                f"{lock.lock_file}, ends with it."
            ) from taken
        print(f"Waiting for {folder}, which is in use by {holder}.", file=sys.stderr)
        lock.acquire()
    except OSError as error:
        if not disk_errors.has_no_locks(error):
            raise
        text = f"{folder} cannot be locked ({error.strerror}): take care that no other process writes there."
        warnings.warn(text, stacklevel=4)


def _own_name() -> str:
    """This process in words, for those who find the folder locked."""
    program = f"{Path(sys.argv[0]).parent.name}.{Path(sys.argv[0]).stem}" if sys.argv and sys.argv[0] else "python"
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"process {os.getpid()} on {socket.gethostname()} ({shlex.quote(program)}, since {since})"
