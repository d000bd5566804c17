"""SIGTERM in the middle: the state is saved, the exit code says so, and the same call ends as an unbroken run does."""

import signal
import tempfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from test_pretraining import BACKBONE, TINY, last_state

from sib_tf import checkpoints, pretraining
from sib_tf.commands import cli
from sib_tf.reports import history
from sib_tf.storage import atomic, preemption
from train import meta_train


def test_within_the_block_the_signal_is_a_notice_and_after_it_what_it_was():
    before = signal.getsignal(signal.SIGTERM)
    with preemption.notice() as notice:
        assert not notice.given
        signal.raise_signal(signal.SIGTERM)
        assert notice.given
        assert signal.getsignal(signal.SIGTERM) == before  # A second one ends the process.
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_command_that_saves_no_state_leaves_nothing_half_done(tmp_path):
    before, values = signal.getsignal(signal.SIGTERM), flags.FlagValues()

    def main():
        with tempfile.TemporaryDirectory(dir=tmp_path), atomic.new_file(tmp_path / "answers.csv") as partial:
            partial.write_text("half")
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit) as stop:
        cli.run(main, values, "A command.", ["command"])
    assert stop.value.code == preemption.EXIT_CODE
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == before


def test_another_thread_trains_without_a_notice():
    def given() -> bool:
        with preemption.notice() as notice:
            return notice.given

    with ThreadPoolExecutor() as threads:
        assert not threads.submit(given).result()


def test_the_command_line_says_it_in_one_line_with_an_exit_code_of_its_own(capsys):
    def stopped():
        raise preemption.Preempted("The state of step 7 is saved; the same command goes on from there.")

    assert cli.run(stopped, meta_train.FLAGS, "", ["prog", "--features_dir=f", "--output_dir=o"]) == 143
    assert capsys.readouterr().err == ("stopped: The state of step 7 is saved; the same command goes on from there.\n")


@pytest.mark.slow
def test_pre_training_goes_on_within_an_epoch(tiny_dataset, tmp_path, monkeypatch):
    """After 2 of the 4 steps of the second epoch: bit for bit the unbroken run, metrics of that epoch included."""
    monkeypatch.setattr(pretraining, "VALIDATION_EPISODES", 50)
    pretraining.pretrain(tiny_dataset, BACKBONE, TINY, tmp_path / "whole")
    batches_of = pretraining.training_batches

    def with_the_signal(*args):
        for number, batch in enumerate(batches_of(*args)):
            if number == 5:
                signal.raise_signal(signal.SIGTERM)
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(pretraining, "training_batches", with_the_signal)
        with pytest.raises(preemption.Preempted) as stopped:
            pretraining.pretrain(tiny_dataset, BACKBONE, TINY, tmp_path / "broken")
    assert stopped.value.message == "The state of step 2 of epoch 2 is saved; the same command goes on from there."
    pretraining.pretrain(tiny_dataset, BACKBONE, TINY, tmp_path / "broken")
    np.testing.assert_equal(last_state(tmp_path / "broken"), last_state(tmp_path / "whole"))
    assert history.read(tmp_path / "broken/history.csv") == history.read(tmp_path / "whole/history.csv")


def test_the_state_of_an_earlier_version_is_taken_up(tmp_path):
    """It knows nothing of the variables that were added since; they stay what they are."""
    checkpoints.TrainingState(tmp_path, step=tf.Variable(7)).save()
    step, losses = tf.Variable(0), tf.Variable(1.5)
    state = checkpoints.TrainingState(tmp_path, added={"losses": losses}, step=step)
    assert state.restore()
    assert (int(step), float(losses)) == (7, 1.5)
    losses.assign(2.5)
    state.save()
    losses.assign(0.0)
    assert checkpoints.TrainingState(tmp_path, added={"losses": losses}, step=step).restore()
    assert float(losses) == 2.5
