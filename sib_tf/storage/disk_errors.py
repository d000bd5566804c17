"""Refusals of the disk, whoever tells of them: Python or TensorFlow."""

import contextlib
import errno
import os
from collections.abc import Iterator

from sib_tf.errors import InputError

_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PLACE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


def reason(error: BaseException) -> str | None:
    """Returns why the disk refused, in the system's words; None where `error` is about something else.

    TensorFlow has errors of its own, and libraries in C lose the number: of those the text tells. Memory that is short
    has another text. tensorflow-datasets raises other errors from them.
    """
    if isinstance(error, InputError):
        return None
    if getattr(error, "errno", None) in (*_ROOM, *_PLACE):
        return os.strerror(error.errno)
    if isinstance(error, OSError) or type(error).__module__.startswith("tensorflow"):
        return next((text for text in map(os.strerror, (*_ROOM, *_PLACE)) if text in str(error)), None)
    return reason(error.__cause__) if isinstance(error, RuntimeError) and error.__cause__ else None


@contextlib.contextmanager
def named(path: str | os.PathLike, within: str | os.PathLike = "", only_room: bool = False) -> Iterator[None]:
    """Turns the disk's refusal of what the block wrote to `path` into an InputError that names it.

    Errors that name a file outside of `within` stay as they are, and with `only_room` all but a want of room.
    """
    try:
        yield
    except Exception as error:
        text, file = reason(error), getattr(error, "filename", None)
        full = text in map(os.strerror, _ROOM)
        if text is None or (only_room and not full) or not (file is None or str(file).startswith(str(within))):
            raise
        way_out = "make room there, and the same command goes on" if full else "name another place, or mend this one"
        raise InputError(f"{path} cannot be written ({text}); {way_out}.") from error


def has_no_locks(error: OSError) -> bool:
    """Returns whether a lock was refused because the file system, or the operating system, has none."""
    return error.errno in _NO_LOCKS
