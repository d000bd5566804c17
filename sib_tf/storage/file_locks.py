"""Locks on open files that the kernel releases when their process ends, however it ends (flock)."""

import errno
import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Not a Unix.
    fcntl = None

_TAKEN = {errno.EWOULDBLOCK, errno.EACCES}


class NoLocksError(OSError):
    """The file system, or the operating system, has no such locks."""


def lock(handle: int, wait: bool = False) -> bool:
    """Locks an open file or folder for this process until it is closed.

    Args:
        handle: file descriptor.
        wait: whether to wait for a process that has it.

    Returns:
        Whether it is locked now; False: another process has it.

    Raises:
        NoLocksError: there are no locks here.
    """
    if fcntl is None:
        raise NoLocksError(errno.ENOSYS, "this system has no flock")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise NoLocksError(error.errno, error.strerror) from error
    return True


def names(handle: int, path: str | os.PathLike) -> bool:
    """Returns whether `path` is still the file that was opened: it may have been removed or replaced meanwhile."""
    try:
        return os.path.samestat(os.fstat(handle), Path(path).lstat())
    except FileNotFoundError:
        return False
