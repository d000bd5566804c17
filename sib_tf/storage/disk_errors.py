"""Refusals of the disk, whoever tells of them: Python or TensorFlow."""

import contextlib
import errno
import os
from collections.abc import Iterator

from sib_tf.errors import InputError

_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PLACE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


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


def is_full(error: BaseException) -> bool:
    """Returns whether there was no room."""
    return reason(error) in map(os.strerror, _ROOM)


def unwritable(path: str | os.PathLike, error: BaseException) -> InputError | None:
    """Returns what to raise in place of `error` where it means that `path` cannot be written; otherwise None."""
    text = reason(error)
    if text is None:
        return None
    if is_full(error):
        way_out = "make room there, and the same command goes on"
    else:
        way_out = "name another place, or mend this one"
    return InputError(f"{path} cannot be written ({text}); {way_out}.")


@contextlib.contextmanager
def named(path: str | os.PathLike) -> Iterator[None]:
    """Says in one line, with `path`, that the disk refused what the block wrote there.

    Raises:
        InputError: in place of the disk's refusal.
    """
    try:
        yield
    except Exception as error:
        refusal = unwritable(path, error)
        if refusal is None:
            raise
        raise refusal from error
