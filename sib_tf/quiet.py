"""Keeps the chatter of TensorFlow's and LiteRT's C++ code off the screen; everything else is shown."""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

# Lines that tell of no fault: what was found, created or chosen.
_CHATTER = re.compile(rb"(INFO: |[IW]\d{4} |WARNING: All log messages before absl::InitializeLog)")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Holds back standard error, that of C++ code too, and shows all but chatter of it at the end of the block."""
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
