"""Refusals of the disk, whoever tells of them: Python or TensorFlow."""

import errno
import os

from sib_tf.errors import InputError

_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PLACE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


def reason(error: BaseException) -> str | None:
    """Returns why the disk refused, in the system's words; None where `error` is about something else.

    TensorFlow has errors of its own, and libraries in C lose the number: of those the text tells. Memory that is short
    has another text.
    """
    if getattr(error, "errno", None) in (*_ROOM, *_PLACE):
        return os.strerror(error.errno)
    if isinstance(error, OSError) or type(error).__module__.startswith("tensorflow"):
        return next((text for text in map(os.strerror, (*_ROOM, *_PLACE)) if text in str(error)), None)
    return None


def unwritable(path: str | os.PathLike, error: BaseException) -> InputError | None:
    """Returns what to raise in place of `error` where it means that `path` cannot be written; otherwise None."""
    text = reason(error)
    if text is None:
        return None
    if text in map(os.strerror, _ROOM):
        way_out = "make room there, and the same command goes on"
    else:
        way_out = "name another place, or mend this one"
    return InputError(f"{path} cannot be written ({text}); {way_out}.")
