"""Histories of training: rows are added in one move, and steps that are taken again are written once."""

import pytest

from sib_tf.errors import InputError
from sib_tf.reports import history


def test_steps_that_are_taken_again_are_written_once(tmp_path):
    path = tmp_path / "run" / "history.csv"
    for step, loss in ((2, 0.5), (4, 0.25), (6, 0.125), (4, 0.75)):
        history.add(path, {"step": step, "loss": loss})
    assert path.read_text() == "step,loss\n2,0.5\n4,0.75\n"
    assert history.column(history.read(path), "loss") == [0.5, 0.75]
    assert [file.name for file in path.parent.iterdir()] == ["history.csv"]


def test_a_row_that_was_cut_off_is_named(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("epoch,loss\n0,1.5\nx")
    with pytest.raises(InputError, match=r"history\.csv has a row with more or fewer values than its first line"):
        history.add(path, {"epoch": 2, "loss": 1.0})
