"""Histories of training: rows are added in one move, and steps that are taken again are written once."""

import pytest

from sib_tf.errors import InputError
from sib_tf.reports import history


def test_steps_that_are_taken_again_are_written_once(tmp_path):
    path = tmp_path / "run" / "history.csv"
    assert history.read(path) == []
    for step, loss in ((2, 0.5), (4, 0.25), (6, 0.125), (4, 1e-7)):
        history.add(path, {"step": step, "loss": loss})
    assert path.read_text() == "step,loss\n2,0.5\n4,1e-07\n"
    assert history.read(path, "loss") == [{"step": 2, "loss": 0.5}, {"step": 4, "loss": 1e-7}]
    assert [file.name for file in path.parent.iterdir()] == ["history.csv"]


@pytest.mark.parametrize("row", ["x", "ten,0.5", "2,0.5,1"])
def test_a_damaged_row_is_named(tmp_path, row):
    path = tmp_path / "history.csv"
    path.write_text(f"epoch,loss\n0,1.5\n{row}")
    with pytest.raises(InputError, match=r"history\.csv must have a number for every column in every row"):
        history.add(path, {"epoch": 3, "loss": 1.0})


def test_a_column_that_is_not_there_is_named(tmp_path):
    (tmp_path / "history.csv").write_text("epoch,loss\n0,1.5\n")
    with pytest.raises(InputError, match=r"history\.csv has no column step"):
        history.read(tmp_path / "history.csv", "step")
