"""Runs commands in processes that are killed with signal 9 at a chosen moment, without loading TensorFlow for each.

A `Stable` is one process that has imported TensorFlow and run nothing of it. For every command it forks a process, so
that this costs what the command does; TensorFlow's threads, which a fork would lose, are not there yet. Moments:

- "write": the n-th time that Python opens a file for writing, renames, removes or makes one;
- "checkpoint": some time into the n-th write of a training state, which TensorFlow does without Python;
- "time": some time after the start.
"""

import contextlib
import dataclasses
import importlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
KILLED = -signal.SIGKILL
_WRITES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.truncate", "shutil.rmtree"}


@dataclasses.dataclass(frozen=True)
class Moment:
    """When a process is killed.

    Attributes:
        kind: "write", "checkpoint" or "time".
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


class Stable:
    """Starts processes that have TensorFlow already; see `stable`."""

    def __init__(self, process: subprocess.Popen):
        self._process = process

    def run(
        self,
        command: list[str],
        folder: Path,
        moment: Moment | None = None,
        eager: bool = True,
        largest_file: int | None = None,
    ) -> Outcome:
        """Runs a command, killed at a moment.

        Args:
            command: ["train.pretrain", "--epochs=2", ...].
            folder: to run it in.
            moment: None: it may end.
            eager: without compilation, which takes most of the time of a tiny run.
            largest_file: in bytes; longer ones are refused, as on a full disk.
        """
        job = {"command": command, "folder": str(folder), "eager": eager, "largest_file": largest_file}
        self._process.stdin.write(json.dumps({**job, "moment": moment and dataclasses.asdict(moment)}) + "\n")
        self._process.stdin.flush()
        return Outcome(**json.loads(self._process.stdout.readline()))


@contextlib.contextmanager
def stable() -> Iterator[Stable]:
    """Yields a `Stable`; its process ends with the block."""
    command = [sys.executable, "-m", "tests.killing"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=CHECKOUT, env=environment, **pipes) as process:
        yield Stable(process)


def _serve() -> None:
    from sib_tf.commands import cli

    cli.load_tensorflow()
    names = ("features", "meta_training", "pretraining", "reports.meta_test", "calibration", "zero_shot.spinning_lines")
    for name in names:
        importlib.import_module(f"sib_tf.{name}")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(dataclasses.asdict(_one(json.loads(line)))) + "\n")
        answers.flush()


def _one(job: dict) -> Outcome:
    with tempfile.TemporaryFile() as output:  # Not in the folder, whose disk may be full.
        code, counts, seconds = _watched(job, output.fileno())
        output.seek(0)
        return Outcome(code, counts["w"], counts["c"], seconds, output.read().decode(errors="replace"))


def _watched(job: dict, output: int) -> tuple[int, dict, float]:
    moment = Moment(**job["moment"]) if job["moment"] else None
    report, notes = os.pipe()
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(report)
        _be_child(job, moment, notes, output)
    os.close(notes)
    counts, status = {"w": 0, "c": 0}, None
    deadline = start + moment.seconds if moment and moment.kind == "time" else None
    while status is None:
        if deadline is not None and time.monotonic() >= deadline:
            os.kill(child, signal.SIGKILL)
            deadline = None
        wait = 0.0005 if deadline is not None and deadline - time.monotonic() < 0.02 else 0.01
        if select.select([report], [], [], wait)[0]:
            for letter in os.read(report, 4096).decode():
                counts[letter] += 1
                if letter == "c" and moment and moment.kind == "checkpoint" and counts["c"] == moment.number:
                    deadline = time.monotonic() + moment.seconds
        ended, found = os.waitpid(child, os.WNOHANG)
        if ended:
            status = os.waitstatus_to_exitcode(found)
    while rest := os.read(report, 4096):
        for letter in rest.decode():
            counts[letter] += 1
    os.close(report)
    return status, counts, time.monotonic() - start


def _be_child(job: dict, moment: Moment | None, notes: int, output: int) -> None:
    code = 70
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(job["folder"])
        if job["largest_file"] is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (job["largest_file"], resource.RLIM_INFINITY))
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.config.run_functions_eagerly(job["eager"])
        _watch(moment, notes)
        code = _call(job["command"])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _call(command: list[str]) -> int:
    from sib_tf.commands import cli

    module = importlib.import_module(command[0])
    try:
        return cli.run(module.main, module.FLAGS, "", command)
    except BaseException:
        import traceback

        traceback.print_exc()
        return 71


def _watch(moment: Moment | None, notes: int) -> None:
    from sib_tf import checkpoints

    count = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal count
        if event in _WRITES or (event == "open" and _writes(arguments[2])):
            count += 1
            if moment and moment.kind == "write" and count == moment.number:
                os.kill(os.getpid(), signal.SIGKILL)
            os.write(notes, b"w")

    save = checkpoints.TrainingState.save

    def noted(self) -> None:
        os.write(notes, b"c")
        save(self)

    checkpoints.TrainingState.save = noted
    sys.addaudithook(hook)


def _writes(flags: int | None) -> bool:
    return bool((flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


if __name__ == "__main__":
    _serve()
