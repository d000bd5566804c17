"""How the C++ code of TensorFlow and LiteRT behaves in this process: its chatter, and the memory that it frees."""

import contextlib
import ctypes
import os
import re
import sys
import tempfile
from collections.abc import Iterator

# Lines that tell of no fault: what was found, created or chosen.
_CHATTER = re.compile(rb"(INFO: |[IW]\d{4} |WARNING: All log messages before absl::InitializeLog)")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Holds back standard error, that of C++ code too; all of it but chatter is shown at the end of the block."""
    sys.stderr.flush()
    # C++ writes to the file descriptor itself, so that is what has to be turned away.
    screen = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(screen, 2)
            os.close(screen)
            kept.seek(0)
            for line in kept:
                if not _CHATTER.match(line):
                    os.write(2, line)


# Of mallopt(3): blocks below 32 MB, the most that is allowed, come from a heap, and no heap is trimmed or removed that
# has less than 64 MB to give back.
_ALLOCATOR = {"M_MMAP_THRESHOLD": (-3, 32 << 20), "M_TRIM_THRESHOLD": (-1, 1 << 30), "M_TOP_PAD": (-2, 64 << 20)}


def keep_freed_memory() -> bool:
    """Tells the allocator to keep what is freed; returns False where it is not glibc's, and nothing was done.

    The matrix products of a meta-training step take and free buffers of some 100 kB each. Depending on what else lies
    in the heap, which differs between runs, glibc may hand each of them back at once: measured were 400 page faults a
    step, and four times its time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(*setting) == 1 for setting in _ALLOCATOR.values())
