"""What every entry point does the same: parse flags, keep TensorFlow quiet, say errors in one line.

Importing this module is cheap, and so is importing an entry point: TensorFlow is loaded when the flags are right.
"""

import contextlib
import importlib.util
import io
import os
import re
import sys
from collections.abc import Callable, Sequence

from absl import flags

from sib_tf.commands import flagfile_checks
from sib_tf.config import DISTRIBUTIONS
from sib_tf.errors import InputError
from sib_tf.runtime import keep_freed_memory, quiet
from sib_tf.storage import disk_errors, preemption

USAGE_ERROR = 2


def run(main: Callable[[], None], values: flags.FlagValues, description: str, argv: Sequence[str] | None = None) -> int:
    """Parses flags and runs `main`; returns the exit code.

    0: done; 2: something the user gave cannot be used, and one line on standard error says what and the way out;
    75: another worker of this job was lost; 130: interrupted; 143: SIGTERM came, and the state of a training is saved.

    `values` are the entry point's own flags (not absl's global ones, so that several can be imported together), and
    `description` is what `--help` prints above them. `argv` has the program's name in front; None: `sys.argv`.
    """
    argv = list(sys.argv if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):  # Names of files may be what a terminal cannot show.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if {"--help", "-h", "-help"} & set(argv[1:]):
        print(f"{description}\n\nFlags (also in a file, with --flagfile=FILE):\n{values.get_help()}")
        return 0
    try:
        _parse(values, argv)
        with preemption.ends_in_order():
            main()
    except InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return getattr(error, "exit_code", USAGE_ERROR)
    except preemption.Preempted as stop:
        print(f"stopped: {stop.message}", file=sys.stderr)
        return preemption.EXIT_CODE
    except OSError as error:  # A full disk, or a file that may not be read.
        why = error.strerror or " ".join(str(error).split())
        print(f"error: {error.filename or 'a file'} cannot be read or written ({why}).", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from what it kept, if anything.", file=sys.stderr)
        return 130
    except Exception as error:  # TensorFlow has errors of its own for a disk that refuses.
        if disk_errors.reason(error) is None:
            raise
        text = re.sub(r"\{\{.*?\}\}| \[Op:.*", "", " ".join(str(error).split()))  # Names of TensorFlow's operations.
        print(f"error: {text.strip()[:500]}", file=sys.stderr)
        return USAGE_ERROR
    return 0


def load_tensorflow(one_thread: bool = False) -> None:
    """Imports TensorFlow, without the lines that it prints whatever the log level.

    Called when the flags are right: the import takes seconds. With `one_thread`, operations on a CPU have one, for work
    whose operations are so small that handing them to others takes longer than they do (a one-episode step becomes 1.8
    times faster), and what they free is kept. Drawing ahead has its own. An InputError says if there is none.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # The faster CPU kernels, which TensorFlow turns on by itself only where the processor has AVX512-VNNI.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if importlib.util.find_spec("tensorflow") is None:
        raise InputError(
            "This command needs TensorFlow, which is not installed: pip install sib_tf brings it. Without it "
            "train.pretrain_torch alone runs."
        )
    with quiet():
        import tensorflow

        if one_thread:
            keep_freed_memory()
            with contextlib.suppress(RuntimeError):  # A process that has computed already keeps the threads it has.
                tensorflow.config.threading.set_intra_op_parallelism_threads(1)


def define_distribution(values: flags.FlagValues) -> None:
    """Defines --distribution on `values`."""
    text = "What to compute on: one device, all of this machine, the workers of TF_CONFIG, or a TPU (docs/scaling.md)."
    flags.DEFINE_enum("distribution", "none", DISTRIBUTIONS, text, flag_values=values)


def connect(values: flags.FlagValues, one_thread: bool = False):
    """Loads TensorFlow, see `load_tensorflow`, and returns the `sib_tf.devices.Devices` that --distribution names."""
    load_tensorflow(one_thread)
    from sib_tf import devices

    if values.distribution == "multi_worker":
        print("Waiting for the other workers that TF_CONFIG names.", file=sys.stderr)
    return devices.connect(values.distribution)


def number_range(name: str, text: str) -> tuple[int, int]:
    """Parses "5" or "5-20", the flag `name`, into (low, high); an InputError if it is neither."""
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text.strip())
    if not match:
        raise InputError(f"{name} must be a whole number, or a range such as 5-20; got {text!r}.")
    low, high = match.groups()
    return int(low), int(high or low)


def numbers(name: str, texts: Sequence[str], kind: type) -> list:
    """Parses the values of the list flag `name` into numbers of a `kind`, int or float.

    Raises an InputError if there are none, or one is no number above 0.
    """
    try:
        found = [kind(text) for text in texts]
    except ValueError:
        found = []
    if not found or not all(0 < value < float("inf") for value in found):
        expected = "whole numbers of at least 1" if kind is int else "numbers above 0"
        raise InputError(f"{name} must be {expected}, with commas; got {','.join(texts)!r}.")
    return found


def _parse(values: flags.FlagValues, argv: list[str]) -> None:
    values.unparse_flags()
    flagfile_checks.check(argv[1:])
    try:
        rest = values(argv)
    except flags.Error as error:
        raise InputError(str(error)) from error
    if len(rest) > 1:
        raise InputError(f"Arguments are flags of the form --name=value; got {' '.join(rest[1:])!r}.")
    for name in values:
        if values[name].present and values[name].value in ("", [""]) and values[name].default != "":
            raise InputError(
                f"{name} must not be empty, as a variable that is not set makes it; leave it out, or name it."
            )
