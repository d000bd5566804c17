"""Runs commands in processes that are killed at a chosen moment, without loading TensorFlow for each.

Python's fork server has imported TensorFlow and run nothing of it. For every command it forks a process, so that this
costs what the command does; TensorFlow's threads, which a fork would lose, are not there yet.
"""

import dataclasses
import importlib
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

# Nothing handles it: like signal 9 it ends a process at once; but the kernel can be told when to send it.
_KILL = signal.SIGALRM
KILLED = -_KILL
_STAGES = ("features", "meta_training", "pretraining", "reports.meta_test", "calibration", "zero_shot.spinning_lines")
_WRITES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.truncate", "shutil.rmtree"}
_FOR_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tensorflow", *(f"sib_tf.{name}" for name in _STAGES)])


@dataclasses.dataclass(frozen=True)
class Moment:
    """When a process is killed.

    Attributes:
        kind: "write": when Python opens a file for writing, renames, removes or makes one; "checkpoint": into the
            write of a training state, which TensorFlow does without Python; "time": after the start.
        number: of the write or the checkpoint, from 1.
        seconds: after the checkpoint began, or the process.
    """

    kind: str
    number: int = 1
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a process ended: exit code (negative: killed), its writes and checkpoints so far, seconds, what it said."""

    code: int
    writes: int
    checkpoints: int
    seconds: float
    text: str


def run(
    command: list[str],
    folder: Path,
    moment: Moment | None = None,
    eager: bool = True,
    largest_file: int = resource.RLIM_INFINITY,
) -> Outcome:
    """Runs a command, killed at a moment.

    Args:
        command: ["train.pretrain", "--epochs=2", ...].
        folder: to run it in.
        moment: None: it may end.
        eager: without compilation, which takes most of the time of a tiny run.
        largest_file: in bytes; longer ones are refused, as on a full disk.
    """
    counts = _FORKS.RawArray("q", 2)
    with tempfile.NamedTemporaryFile() as output:  # Not in the folder, whose disk may be full.
        arguments = (command, str(folder), moment, eager, largest_file, output.name, counts)
        process, start = _FORKS.Process(target=_be_child, args=arguments), time.monotonic()
        process.start()
        process.join()
        text = output.read().decode(errors="replace")
        return Outcome(process.exitcode, *counts, time.monotonic() - start, text)


def _be_child(
    command: list[str], folder: str, moment: Moment | None, eager: bool, largest_file: int, output: str, counts
) -> None:
    with Path(output).open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.chdir(folder)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    import tensorflow as tf

    from sib_tf.commands import cli

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.run_functions_eagerly(eager)
    module = importlib.import_module(command[0])
    _watch(moment or Moment("none"), counts)
    sys.exit(cli.run(module.main, module.FLAGS, "", command))


def _watch(moment: Moment, counts) -> None:
    """Counts writes and checkpoints, and kills the process at the moment."""
    from sib_tf import checkpoints

    def kill_soon() -> None:
        signal.setitimer(signal.ITIMER_REAL, max(moment.seconds, 1e-6))

    def hook(event: str, arguments: tuple) -> None:
        if event in _WRITES or (event == "open" and (arguments[2] or 0) & _FOR_WRITING):
            counts[0] += 1
            if moment.kind == "write" and counts[0] == moment.number:
                os.kill(os.getpid(), _KILL)

    save = checkpoints.TrainingState.save

    def noted(self) -> None:
        counts[1] += 1
        if moment.kind == "checkpoint" and counts[1] == moment.number:
            kill_soon()
        save(self)

    checkpoints.TrainingState.save = noted
    sys.addaudithook(hook)
    if moment.kind == "time":
        kill_soon()
