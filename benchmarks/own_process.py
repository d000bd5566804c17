"""Runs a function in a process of its own, for work that compiles a lot.

XLA keeps what it compiled until the process ends, in about a hundred memory maps a function. Linux allows a process
65,530 of them; past that, it ends with a segmentation fault (seen after some 600 functions).
"""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from sib_tf.errors import InputError


def call(function: Callable, *arguments):
    """Returns `function(*arguments)`, all of them picklable, from a fresh process; its errors are raised here."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            raise InputError(
                "A process that measured was killed, as happens where memory is short; the same command goes on."
            ) from error
