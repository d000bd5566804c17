"""Several devices give what one gives: two logical devices, and two processes of their own, one of which gets lost."""

import contextlib
import functools
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import CHECKOUT

from sib_tf.reports import history

# By distribution: jobs that are done by the same processes, one after the other.
TOGETHER = {
    "none": (("meta_train", "extract", "pretrain"), ("long",)),
    "mirrored": (("meta_train", "extract", "pretrain"),),
    "multi_worker": (("meta_train",), ("extract", "pretrain")),
}

pytestmark = pytest.mark.slow


def start(distribution: str, folder: Path, *jobs: str, **environment: str) -> subprocess.Popen:
    command = [sys.executable, str(CHECKOUT / "tests/distributed_jobs.py"), distribution, str(folder), *jobs]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), **environment}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def start_workers(folder: Path, *jobs: str, send: str | None = None) -> list[subprocess.Popen]:
    """Starts two workers; the second one sends itself what `send` says."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for each in sockets:
            each.bind(("localhost", 0))
        cluster = {"worker": [f"localhost:{each.getsockname()[1]}" for each in sockets]}
    configs = [json.dumps({"cluster": cluster, "task": {"type": "worker", "index": i}}) for i in range(2)]
    sends = [{}, {"SEND": send} if send else {}]
    return [
        start("multi_worker", folder, *jobs, TF_CONFIG=config, **extra)
        for config, extra in zip(configs, sends, strict=True)
    ]


def ends(processes: list[subprocess.Popen]) -> list[tuple[int, str]]:
    """Exit codes, and what standard error says of the end."""
    try:
        errors = [process.communicate(timeout=300)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    lines = [re.findall(r"^(?:error|stopped): .*$", text, re.MULTILINE) or [text[-2000:]] for text in errors]
    return [(process.returncode, each[-1]) for process, each in zip(processes, lines, strict=True)]


def check_done(processes: list[subprocess.Popen]) -> None:
    found = ends(processes)
    assert {code for code, _ in found} == {0}, found


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a job that is done, by distribution and name."""
    root = tmp_path_factory.mktemp("distribution")

    @functools.cache
    def do(distribution: str, jobs: tuple[str, ...]) -> None:
        folder = root / distribution
        workers = distribution == "multi_worker"
        check_done(start_workers(folder, *jobs) if workers else [start(distribution, folder, *jobs)])

    def folder(distribution: str, job: str) -> Path:
        do(distribution, next(jobs for jobs in TOGETHER[distribution] if job in jobs))
        return root / distribution / job

    return folder


def last_weights(folder: Path) -> list[np.ndarray]:
    """Parameters at the end, of the training state, by name."""
    reader = tf.train.load_checkpoint(str(folder / "training"))
    names = sorted(name for name in reader.get_variable_to_shape_map() if name.startswith(("model/", "optimizer/")))
    return [reader.get_tensor(name) for name in names]


def check_same_run(one: Path, other: Path) -> None:
    """The same parameters and history within 1e-5."""
    models = [last_weights(folder) for folder in (one, other)]
    for found, expected in zip(*models, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    rows = [history.read(folder / "history.csv") for folder in (one, other)]
    assert rows[0][0].keys() == rows[1][0].keys()
    for name in rows[0][0].keys() - {"val_prototype_accuracy"}:
        np.testing.assert_allclose(*([row[name] for row in each] for each in rows), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("distribution", "job"),
    [
        ("mirrored", "meta_train"),
        ("mirrored", "pretrain"),
        ("multi_worker", "meta_train"),
        pytest.param("multi_worker", "pretrain", marks=pytest.mark.sweep),
    ],
)
def test_training_ends_with_the_parameters_of_one_device(finished, distribution, job):
    check_same_run(finished(distribution, job), finished("none", job))


@pytest.mark.parametrize("distribution", ["mirrored", pytest.param("multi_worker", marks=pytest.mark.sweep)])
def test_features_are_those_of_one_device_to_the_byte(finished, distribution):
    folders = [finished(each, "extract") for each in ("none", distribution)]
    one, several = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert one == several
    assert not list(folders[1].parent.glob(".shards*"))


@pytest.mark.sweep
def test_workers_stop_and_are_lost_and_still_end_with_the_parameters_of_one_device(finished, tmp_path):
    """SIGTERM to one worker after step 15 of 50, the death of one after step 40, and then to the end."""
    stopped = ends(start_workers(tmp_path, "long", send="SIGTERM:3"))
    assert stopped == [(143, "stopped: The state of step 15 is saved; the same command goes on from there.")] * 2
    workers = start_workers(tmp_path, "long", send="SIGKILL:5")
    workers[1].wait(timeout=300)
    lost = time.monotonic()
    (code, line), _ = ends(workers)
    assert time.monotonic() - lost < 60
    assert code == 75
    assert line.startswith(
        "error: Worker 0 lost another of the 2 workers. Start all workers again with the same command"
    )
    assert len(history.read(tmp_path / "long/history.csv")) == 1  # Step 25; the state of step 40 went with the job.
    check_done(start_workers(tmp_path, "long"))
    check_same_run(tmp_path / "long", finished("none", "long"))
