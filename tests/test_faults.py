"""Killed with signal 9 at any moment, or without room on the disk, every stage ends as an unbroken run, byte for byte.

tests/kill_run.py kills as often as one likes, and the other stages too.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import CHECKOUT
from kill_run import STAGES, Bench, compare
from killing import KILLED, Moment, Outcome, stable

from sib_tf.storage import atomic

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with stable() as forks:
        made = Bench(forks, tmp_path_factory.mktemp("killed"), seed=0)
        made.prepare("pretrain", "extract_features", "meta_train")
        yield made


def test_times_are_no_difference_and_all_else_is(tmp_path):
    for name in ("metrics.json", "trials/trial_0/result.json"):
        for folder, seconds, accuracy in (("one", 1.5, 0.5), ("same", 2.5, 0.5), ("other", 1.5, 0.25)):
            atomic.write_json(tmp_path / folder / name, {"seconds": seconds, "accuracy": accuracy})
    compare(tmp_path / "one", tmp_path / "same", "times")
    with pytest.raises(AssertionError, match=r"metrics.json differs"):
        compare(tmp_path / "one", tmp_path / "other", "accuracies")


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


@pytest.fixture
def disk(tmp_path):
    """A disk of 3 MB, and what changes its options."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def check_refused(outcome: Outcome, place: str, reason: str) -> None:
    """Exit code 2 and one line, the last one, that names the place."""
    assert outcome.code == 2, outcome.text
    assert "Traceback" not in outcome.text
    assert outcome.text.count("error: ") == 1
    line = outcome.text.rpartition("error: ")[2]
    assert re.fullmatch(rf"(Cannot write to the folder )?{place}\S* .*\({reason}\); .*\n", line), line


@pytest.mark.parametrize(
    ("name", "place", "kilobytes"),
    [
        ("pretrain", "backbone", (0, 60)),
        ("extract_features", "(cache|features)", (8, 60, 200)),
        ("meta_train", "sib", (0, 8, 40, 110)),
    ],
)
def test_a_full_disk_is_named_and_the_run_goes_on_when_there_is_room(bench, disk, name, place, kilobytes):
    bench.lay_out(name, disk)
    ballast = disk / "ballast"
    for free in kilobytes:
        room = os.statvfs(disk)
        ballast.write_bytes(bytes(room.f_bavail * room.f_frsize - 1024 * free))
        check_refused(bench.forks.run(STAGES[name][0], disk), place, "No space left on device")
        ballast.unlink()
    assert bench.forks.run(STAGES[name][0], disk).code == 0
    bench.check(name, disk, f"{kilobytes} kB")


def test_a_disk_that_is_full_after_a_checkpoint_keeps_it(bench, disk):
    bench.lay_out("meta_train", disk)
    command = STAGES["meta_train"][0]
    assert bench.forks.run(command, disk, Moment("checkpoint", 2)).code == KILLED
    state = {path.name: path.read_bytes() for path in (disk / "sib/training").glob("ckpt-1.*")}
    room = os.statvfs(disk)
    (disk / "ballast").write_bytes(bytes(room.f_bavail * room.f_frsize - 1024 * 60))
    check_refused(bench.forks.run(command, disk), "sib", "No space left on device")
    assert {name: (disk / "sib/training" / name).read_bytes() for name in state} == state
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    check_refused(bench.forks.run(command, disk), "sib", "Read-only file system")
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    (disk / "ballast").unlink()
    assert bench.forks.run(command, disk).code == 0
    bench.check("meta_train", disk, "full after the first checkpoint")


@pytest.mark.parametrize(
    ("name", "place", "limits"),
    [("extract_features", "(cache|features)", (9000, 2000)), ("meta_train", "sib", (3000, 20_000))],
)
def test_a_file_that_may_not_grow_is_named(bench, tmp_path, name, place, limits):
    """What every machine can do instead of a full disk."""
    bench.lay_out(name, tmp_path)
    for limit in limits:
        check_refused(bench.forks.run(STAGES[name][0], tmp_path, largest_file=limit), place, "File too large")
    assert bench.forks.run(STAGES[name][0], tmp_path).code == 0
    bench.check(name, tmp_path, f"{limits}")


def _wait_for(path: Path) -> None:
    end = time.monotonic() + 300
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.001)
