"""Killed at any moment, or without room on the disk, every stage ends as an unbroken run, byte for byte.

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

from sib_tf.storage import atomic
from tests.kill_run import FIRST, STAGES, Bench, compare
from tests.killing import KILLED, Moment, Outcome

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("killed"), seed=0)


def test_times_are_no_difference_and_all_else_is(tmp_path):
    for name in ("metrics.json", "trials/trial_0/result.json"):
        for folder, seconds, accuracy in (("one", 1.5, 0.5), ("same", 2.5, 0.5), ("other", 1.5, 0.25)):
            atomic.write_json(tmp_path / folder / name, {"seconds": seconds, "accuracy": accuracy})
    compare(tmp_path / "one", tmp_path / "same", "times")
    with pytest.raises(AssertionError, match=r"metrics.json differs"):
        compare(tmp_path / "one", tmp_path / "other", "accuracies")


def test_meta_training_goes_on_from_wherever_it_was_killed(bench):
    """At writes of Python, and while TensorFlow writes a checkpoint, in some milliseconds."""
    before, writes = bench.killed, bench.length("meta_train").writes
    early, late = bench.random.randrange(1, writes // 3), bench.random.randrange(writes // 2, writes)
    bench.trial("meta_train", [Moment("write", early), Moment("checkpoint", 1, 0.004), Moment("write", late)])
    assert bench.killed >= before + 2  # What is done is not done again, so that later writes may not come.


@pytest.mark.sweep
@pytest.mark.parametrize("name", FIRST)
def test_stages_go_on_wherever_the_dice_fall(bench, name):
    before, writes = bench.killed, bench.length(name).writes
    numbers = sorted(bench.random.sample(range(1, writes), 5))
    bench.trial(name, [Moment("write", number) for number in numbers])
    bench.trial(name, [bench.moment(name) for _ in range(3)])
    if bench.length(name).checkpoints:
        bench.trial(name, [Moment("checkpoint", 1, seconds) for seconds in (0.001, 0.004, 0.012)])
        bench.trial(name, [Moment("checkpoint", 2, seconds) for seconds in (0.002, 0.007)])
    assert bench.killed >= before + 2


@pytest.mark.sweep
def test_the_command_itself(bench, tmp_path):
    """Compiled, in a process of its own: killed where its folder gets its second checkpoint."""
    (tmp_path / "features").symlink_to(bench.whole / "features")
    command = [sys.executable, "-m", *STAGES["meta_train"].command]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    process = subprocess.Popen([*command, "--output_dir=broken"], env=environment, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 300
    while not Path("broken/training/ckpt-2.index").exists() and time.monotonic() < end:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    for folder in ("whole", "broken"):
        done = subprocess.run([*command, f"--output_dir={folder}"], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    compare(Path("whole"), Path("broken"), "killed")


@pytest.fixture
def disk(tmp_path):
    """A disk of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def leave(disk: Path, kilobytes: int) -> None:
    """Fills a disk but for so much room."""
    ballast = disk / "ballast"
    ballast.unlink(missing_ok=True)
    room = os.statvfs(disk)
    ballast.write_bytes(bytes(room.f_bavail * room.f_frsize - 1024 * kilobytes))


def check_refused(outcome: Outcome, name: str, reason: str) -> None:
    """Exit code 2 and one line, the last one, that names a place where the stage writes."""
    assert outcome.code == 2, outcome.text
    assert "Traceback" not in outcome.text
    assert outcome.text.count("error: ") == 1
    line = outcome.text.rpartition("error: ")[2]
    place = "|".join(STAGES[name].outputs)
    assert re.fullmatch(rf"(Cannot write to the folder )?({place})\S* .*\({reason}\); .*\n", line), line


def check_ends(bench: Bench, name: str, folder: Path) -> None:
    outcome = bench.run(name, folder)
    assert outcome.code == 0, outcome.text
    bench.check(name, folder, "with room again")


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("name", "kilobytes"),
    [("pretrain", (0, 60)), ("extract_features", (8, 60, 200)), ("meta_train", (0, 8, 40, 110))],
)
def test_a_full_disk_is_named_and_the_run_goes_on_when_there_is_room(bench, disk, name, kilobytes):
    bench.lay_out(name, disk)
    for free in kilobytes:
        leave(disk, free)
        check_refused(bench.run(name, disk), name, "No space left on device")
    (disk / "ballast").unlink()
    check_ends(bench, name, disk)


def test_a_disk_that_is_full_after_a_checkpoint_keeps_it(bench, disk):
    bench.lay_out("meta_train", disk)
    assert bench.run("meta_train", disk, Moment("checkpoint", 2)).code == KILLED
    state = {path.name: path.read_bytes() for path in (disk / "sib/training").glob("ckpt-1.*")}
    leave(disk, 60)
    check_refused(bench.run("meta_train", disk), "meta_train", "No space left on device")
    assert {name: (disk / "sib/training" / name).read_bytes() for name in state} == state
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    check_refused(bench.run("meta_train", disk), "meta_train", "Read-only file system")
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    (disk / "ballast").unlink()
    check_ends(bench, "meta_train", disk)


@pytest.mark.parametrize(
    ("name", "limits"),
    [("extract_features", (9000, 2000)), pytest.param("meta_train", (3000, 20_000), marks=pytest.mark.sweep)],
)
def test_a_file_that_may_not_grow_is_named(bench, tmp_path, name, limits):
    """What every machine can do instead of a full disk."""
    bench.lay_out(name, tmp_path)
    for limit in limits:
        check_refused(bench.run(name, tmp_path, largest_file=limit), name, "File too large")
    check_ends(bench, name, tmp_path)
