"""SIGTERM, which schedulers send before they take a machine away: training saves its state before it goes."""

import contextlib
import signal
import sys
import threading
import types
from collections.abc import Iterator

# 128 + SIGTERM, as a shell reports a process that the signal ended.
EXIT_CODE = 143


class Preempted(SystemExit):
    """Training was asked to end and has saved its state; the message says up to where.

    Not an `Exception`: nobody but the entry point is to handle it. Uncaught, it ends the process with `EXIT_CODE`.
    """

    def __init__(self, message: str):
        super().__init__(EXIT_CODE)
        self.message = message


@contextlib.contextmanager
def ends_in_order() -> Iterator[None]:
    """Within the block SIGTERM raises SystemExit, so that what is half done is cleared away (main thread only)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_CODE))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def notice() -> Iterator[types.SimpleNamespace]:
    """Within the block SIGTERM only sets the notice's `given`, which whoever is in the block looks at when it suits.

    A second one ends the process. Python hands signals to the main thread alone: in another, none is given.
    """
    given = types.SimpleNamespace(given=False)
    if threading.current_thread() is not threading.main_thread():
        yield given
        return

    def handle(signum, frame):
        signal.signal(signal.SIGTERM, before)
        given.given = True

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield given
    finally:
        signal.signal(signal.SIGTERM, before)
