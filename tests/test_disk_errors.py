"""Refusals of the disk are told from other errors, whoever raises them."""

import errno
import os

import pytest
import tensorflow as tf

from sib_tf.errors import InputError
from sib_tf.storage import disk_errors


def raised_from(cause: Exception) -> RuntimeError:
    """As tensorflow-datasets does."""
    error = RuntimeError("Failed to write")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError(errno.EFBIG, "File too large"), "File too large"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (PermissionError(errno.EACCES, "x", "file"), "Permission denied"),
        (OSError("Unable to write (errno = 28, error message = 'No space left on device')"), "No space left on device"),
        (tf.errors.ResourceExhaustedError(None, None, "a/ckpt; No space left on device"), "No space left on device"),
        (tf.errors.OutOfRangeError(None, None, "a/ckpt; File too large"), "File too large"),
        (tf.errors.PermissionDeniedError(None, None, "a/ckpt; Read-only file system"), "Read-only file system"),
        (raised_from(OSError(errno.EDQUOT, "")), os.strerror(errno.EDQUOT)),
        (raised_from(ValueError("No space left on device")), None),
        (InputError("out cannot be written (No space left on device)"), None),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), None),
        (tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[9]"), None),
        (tf.errors.OutOfRangeError(None, None, "End of sequence"), None),
        (ValueError("No space left on device"), None),
    ],
)
def test_the_reason_is_the_systems(error, reason):
    assert disk_errors.reason(error) == reason
    with pytest.raises(type(error) if reason is None else InputError) as raised, disk_errors.named("run/training"):
        raise error
    if reason in map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)):
        way_out = "make room there, and the same command goes on."
        assert str(raised.value) == f"run/training cannot be written ({reason}); {way_out}"
    elif reason:
        way_out = "name another place, or mend this one."
        assert str(raised.value) == f"run/training cannot be written ({reason}); {way_out}"
    else:
        assert raised.value is error


def test_all_numbers_have_texts():
    assert all(os.strerror(number) for number in (*disk_errors._ROOM, *disk_errors._PLACE))
