"""Killed with signal 9 at any moment, every stage ends with what an unbroken run ends with, byte for byte.

tests/kill_run.py does the same as often as one likes, and for the other stages too.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import CHECKOUT
from kill_run import STAGES, Bench, compare
from killing import Moment, stable

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with stable() as forks:
        made = Bench(forks, tmp_path_factory.mktemp("killed"), seed=0)
        made.prepare("pretrain", "extract_features", "meta_train")
        yield made


def test_pretraining(bench):
    """While the state after an epoch is written, and wherever the dice fall."""
    bench.trial("pretrain", [Moment("checkpoint", 1, 0.004), bench.moment("pretrain")])


def test_extracting_features_and_preparing_the_data_set(bench):
    writes, before = bench.lengths["extract_features"].writes, bench.killed
    moments = [Moment("write", number) for number in bench.random.sample(range(1, writes), 6)]
    bench.trial("extract_features", sorted(moments, key=lambda moment: moment.number))
    assert bench.killed >= before + 2  # What is done is not done again, so that later writes may not come.


def test_meta_training_at_its_writes(bench):
    writes, before = bench.lengths["meta_train"].writes, bench.killed
    bench.trial("meta_train", [Moment("write", number) for number in bench.random.sample(range(1, writes // 3), 5)])
    bench.trial("meta_train", [Moment("write", bench.random.randrange(writes // 2, writes))])
    assert bench.killed >= before + 5


def test_meta_training_while_checkpoints_are_written(bench):
    """TensorFlow writes them, in some milliseconds: at several times of them."""
    before = bench.killed
    bench.trial("meta_train", [Moment("checkpoint", 1, seconds) for seconds in (0.001, 0.004, 0.012)])
    bench.trial("meta_train", [Moment("checkpoint", 2, seconds) for seconds in (0.002, 0.007)])
    assert bench.killed >= before + 3


def test_the_command_itself(bench, tmp_path):
    """Compiled, in a process of its own: killed where its folder gets its second checkpoint."""
    (tmp_path / "features").symlink_to(bench.whole / "features")
    command = [sys.executable, "-m", *STAGES["meta_train"][0]]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    for folder in ("whole", "broken"):
        if folder == "broken":
            process = subprocess.Popen([*command, f"--output_dir={folder}"], env=environment, stderr=subprocess.DEVNULL)
            _wait_for(Path(folder, "training", "ckpt-2.index"))
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        done = subprocess.run([*command, f"--output_dir={folder}"], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    compare(Path("whole"), Path("broken"), "killed")


def _wait_for(path: Path) -> None:
    end = time.monotonic() + 300
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.001)
