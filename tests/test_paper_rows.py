"""The paper's rows: small ones from training to the table, and the table's figures by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import paper_rows, paper_table
from sib_tf.commands import cli
from sib_tf.errors import InputError


def run(**values) -> int:
    arguments = [f"--{name}={value}" for name, value in values.items()]
    return cli.run(paper_rows.main, paper_rows.FLAGS, paper_rows.__doc__, ["benchmarks.paper_rows", *arguments])


def write_row(
    name: str,
    accuracy: list[float],
    baseline: list[float],
    num_steps: int = 3,
    episode_hash: str = "a",
    views: int = 1,
    parent: str = "rows",
):
    """A row as benchmarks.paper_rows leaves it, with two episodes."""
    folder = Path(parent) / name
    folder.mkdir(parents=True)
    zeros = dict.fromkeys(
        ("accuracy", "ci95", "baseline_accuracy", "baseline_ci95", "difference", "difference_ci95"), 0
    )
    model = {"feature_dim": 256, "num_steps": num_steps}
    metrics = {**zeros, "dataset": {"name": "cifar_fs"}, "model": model}
    metrics |= {"episode_hash": episode_hash, "views": views}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    np.savez(folder / "metrics.npz", accuracy=[baseline, accuracy], baseline=baseline)


def table() -> dict[tuple, tuple]:
    return {row[:4]: row[4:] for row in paper_table.rows(["rows"])}


def test_a_row_is_the_mean_over_seeds_with_its_interval_over_episodes():
    write_row("1shot_k3_seed0", [0.6, 0.8], [0.5, 0.6])
    write_row("1shot_k3_seed1", [0.8, 0.8], [0.5, 0.6])
    # Means over the seeds 0.7 and 0.8: 0.75 +- 1.96 * 0.0707 / sqrt(2); gains 0.2 and 0.2.
    expected = ("68.7 +-0.6", "75.00 +-9.80", "70.00, 80.00", "+20.00 +-0.00")
    assert table()["cifar_fs", "Conv-4-64", "1", "3"] == expected


def test_rows_without_a_run_say_so_and_unpublished_ones_are_there():
    write_row("5shot_k1_seed0", [0.6, 0.8], [0.5, 0.6], num_steps=1)
    assert table()["cifar_fs", "WRN-28-10", "1", "5"] == ("80.0 +-0.6", "not run", "", "")
    assert table()["cifar_fs", "Conv-4-64", "5", "1"][:2] == ("", "70.00 +-19.60")
    assert len(table()) == len(paper_table.PUBLISHED) + 1


def test_more_views_are_a_table_of_their_own():
    write_row("1shot_k3_seed0", [0.6, 0.8], [0.5, 0.6])
    write_row("1shot_k3_seed0", [0.7, 0.9], [0.5, 0.6], views=4, parent="rows4")
    write_row("5shot_k3_seed0", [0.7, 0.9], [0.5, 0.6], views=4, parent="rows4")
    start = ("cifar_fs", "Conv-4-64", "1", "3")
    # Without the row of one view there is nothing to compare with.
    assert paper_table.views_rows(["rows", "rows4"]) == [
        (*start, "1", "70.00 +-19.60", ""),
        (*start, "4", "80.00 +-19.60", "+10.00 +-0.00"),
    ]
    assert paper_table.views_rows(["rows"]) == []
    assert {row[:4]: row[5] for row in paper_table.rows(["rows", "rows4"])}[start] == "70.00 +-19.60"


def test_rows_of_different_episodes_or_none_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"rows_dir rows holds no metrics; make some with benchmarks\.paper_rows\."):
        table()
    write_row("1shot_k3_seed0", [0.6, 0.8], [0.5, 0.6])
    write_row("1shot_k3_seed1", [0.8, 0.8], [0.5, 0.6], episode_hash="b")
    with pytest.raises(InputError, match="were measured on different episodes"):
        table()


@pytest.mark.slow
def test_rows_are_trained_measured_and_not_done_again(capsys, tiny_features):
    values = {"features_dir": tiny_features, "output_dir": "rows", "steps": 4, "episodes": 6, "seeds": 2}
    values |= {"shots": "1", "num_steps": "1"}
    assert run(**values) == 0
    assert len(list(Path("rows").glob("1shot_k1_seed[01]/metrics.json"))) == 2
    first = {path: path.stat().st_mtime_ns for path in Path("rows").rglob("*")}
    capsys.readouterr()
    assert run(**values) == 0
    assert capsys.readouterr().out.splitlines() == [f"1shot_k1_seed{i}: measured already." for i in (0, 1)]
    assert {path: path.stat().st_mtime_ns for path in Path("rows").rglob("*")} == first


@pytest.mark.parametrize("values", [{"shots": "one"}, {"num_steps": "0,3"}, {"shots": ""}])
def test_numbers_that_are_none_are_named(capsys, values):
    assert run(features_dir="none", output_dir="rows", **values) == cli.USAGE_ERROR
    name = next(iter(values))
    assert f"{name} must be whole numbers of at least 1, with commas; got" in capsys.readouterr().err
