"""Rows of meta-trainings, the paper's and those of prior and posterior: from training to the table, and by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from running import run
from test_cli import check_error

from benchmarks import bayes_rows, paper_rows, row_tables
from sib_tf.errors import InputError

CONV4 = {"backbone": {"name": "conv4"}, "image_size": 32, "feature_dim": 256}


def write(path: str, accuracy: list[float], baseline=(0.5, 0.6), features: dict = CONV4, **changes) -> None:
    """A row as the commands leave it, with two episodes; `changes` are of its metrics."""
    path = Path(path)
    path.parent.mkdir(parents=True)
    names = ("accuracy", "ci95", "baseline_accuracy", "baseline_ci95", "difference", "difference_ci95")
    metrics = {**dict.fromkeys(names, 0), "dataset": {"name": "cifar_fs"}, "model": {"num_steps": 3}, "views": 1}
    path.write_text(json.dumps({**metrics, "episode_hash": "a", **changes}))
    np.savez(path.with_suffix(".npz"), accuracy=[baseline, accuracy], baseline=baseline)
    config = {"features": features, "meta_training": {"steps": 20000}}
    (path.parent / "config.json").write_text(json.dumps(config))


def paper() -> dict[tuple, tuple]:
    return {row[:4]: row[4:] for row in row_tables.paper(["rows"])}


def test_a_row_is_the_mean_over_seeds_with_its_interval_over_episodes():
    write("rows/1shot_k3_seed0/metrics.json", [0.6, 0.8])
    write("rows/1shot_k3_seed1/metrics.json", [0.8, 0.8])
    # Means over the seeds 0.7 and 0.8: 0.75 +- 1.96 * 0.0707 / sqrt(2); gains 0.2 and 0.2.
    expected = ("68.7 +-0.6", "75.00 +-9.80", "70.00, 80.00", "+20.00 +-0.00")
    assert paper()["cifar_fs", "Conv-4-64", "1", "3"] == expected


def test_rows_without_a_run_say_so_and_unpublished_ones_are_there():
    write("rows/5shot_k1_seed0/metrics.json", [0.6, 0.8], model={"num_steps": 1})
    assert paper()["cifar_fs", "WRN-28-10", "1", "5"] == ("80.0 +-0.6", "not run", "", "")
    assert paper()["cifar_fs", "Conv-4-64", "5", "1"][:2] == ("", "70.00 +-19.60")
    assert len(paper()) == len(row_tables.PUBLISHED) + 1


@pytest.mark.parametrize(
    ("name", "image_size", "feature_dim", "expected"),
    [("conv4", 80, 3200, "Conv-4-128"), ("wide_resnet", 80, 640, "WRN-28-10"), ("other", 32, 640, "other")],
)
def test_backbones_are_named_as_their_record_says(name, image_size, feature_dim, expected):
    features = {"backbone": {"name": name}, "image_size": image_size, "feature_dim": feature_dim}
    write("rows/1shot_k3_seed0/metrics.json", [0.6, 0.8], features=features)
    assert paper()["cifar_fs", expected, "1", "3"][1] == "70.00 +-19.60"


def test_more_views_are_a_table_of_their_own():
    write("rows/1shot_k3_seed0/metrics.json", [0.6, 0.8])
    write("rows4/1shot_k3_seed0/metrics.json", [0.7, 0.9], views=4)
    write("rows4/5shot_k3_seed0/metrics.json", [0.7, 0.9], views=4)
    start = ("cifar_fs", "Conv-4-64", "1", "3")
    # Without the row of one view there is nothing to compare with.
    assert row_tables.views(["rows", "rows4"]) == [
        (*start, "1", "70.00 +-19.60", ""),
        (*start, "4", "80.00 +-19.60", "+10.00 +-0.00"),
    ]
    assert row_tables.views(["rows"]) == []
    assert {row[:4]: row[5] for row in row_tables.paper(["rows", "rows4"])}[start] == "70.00 +-19.60"


def test_rows_of_different_episodes_or_none_are_refused():
    with pytest.raises(InputError, match=r"rows_dir rows holds no metrics; make some with benchmarks\.paper_rows\."):
        paper()
    write("rows/1shot_k3_seed0/metrics.json", [0.6, 0.8])
    write("rows/1shot_k3_seed1/metrics.json", [0.8, 0.8], episode_hash="b")
    with pytest.raises(InputError, match="were measured on different episodes"):
        paper()


def test_prior_and_posterior_are_paired_with_the_model_without_a_prior():
    def confidence(ece: float) -> dict:
        return {"uncalibrated": {"ece": ece, "nll": 1.0}}

    write("bayes/1shot_mean_seed0/balanced.json", [0.5, 0.7], confidence=confidence(0.02))
    write("bayes/1shot_prior_kl0.1_seed0/balanced.json", [0.6, 0.8], confidence=confidence(0.01))
    write("bayes/1shot_prior_kl0.1_seed1/balanced.json", [0.8, 0.8], confidence=confidence(0.03))
    # Means over the seeds 0.7 and 0.8: 0.75, and 0.2 and 0.1 above. Half-widths 1.96 * std / sqrt(2).
    found = row_tables.bayes("bayes")
    assert found.pop("rows") == [
        ("1", "balanced", "none, dirac; means", "", "60.00 +-19.60", "", "2.00 %", "1.000"),
        ("1", "balanced", "gaussian, dirac; means", "0.1", "75.00 +-9.80", "+15.00 +-9.80", "2.00 %", "1.000"),
    ]
    assert found == {"dataset": "cifar_fs", "steps": 20000, "seeds": 2, "weights": ["0.1"]}


@pytest.mark.slow
def test_rows_are_trained_measured_and_not_done_again(capsys, tiny_features):
    values = {"features_dir": tiny_features, "output_dir": "rows", "steps": 4, "episodes": 6, "seeds": 2}
    values |= {"shots": "1", "num_steps": "1"}
    assert run(paper_rows, **values) == 0
    assert len(list(Path("rows").glob("1shot_k1_seed[01]/metrics.json"))) == 2
    first = {path: path.stat().st_mtime_ns for path in Path("rows").rglob("*")}
    capsys.readouterr()
    assert run(paper_rows, **values) == 0
    assert capsys.readouterr().out.splitlines() == [f"1shot_k1_seed{i}: measured already." for i in (0, 1)]
    assert {path: path.stat().st_mtime_ns for path in Path("rows").rglob("*")} == first
    # What the command writes is what the table reads.
    assert {row[1] for row in row_tables.paper(["rows"]) if row[0] == "tiny"} == {"Conv-4-4"}


@pytest.mark.slow
def test_variants_are_trained_chosen_measured_and_not_done_again(capsys, tiny_features, monkeypatch):
    posterior = {**bayes_rows.VARIANTS["posterior"], "num_steps": 1, "posterior_samples": 1}
    monkeypatch.setattr(bayes_rows, "VARIANTS", {"posterior": posterior})
    values = {"features_dir": tiny_features, "output_dir": "bayes", "steps": 2, "episodes": 4, "seeds": 1}
    values |= {"shots": "1", "kl_weights": "0.1"}
    assert run(bayes_rows, **values) == 0
    assert "posterior, 1 shot: validation accuracy by kl_weight 0.1: " in capsys.readouterr().out
    assert len(row_tables.bayes("bayes")["rows"]) == 2
    metrics = json.loads(Path("bayes/1shot_posterior_kl0.1_seed0/balanced.json").read_text())
    assert metrics["evidence_bound"]["mean"] < 0
    assert run(bayes_rows, **values) == 0
    assert "paired difference" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("module", "values", "message"),
    [
        (paper_rows, {"shots": "one"}, "shots must be whole numbers of at least 1, with commas; got 'one'"),
        (paper_rows, {"num_steps": "0,3"}, "num_steps must be whole numbers of at least 1, with commas; got '0,3'"),
        (paper_rows, {"shots": ""}, "shots must be whole numbers of at least 1, with commas; got ''"),
        (bayes_rows, {"kl_weights": "much"}, "kl_weights must be numbers above 0, with commas; got 'much'"),
    ],
)
def test_numbers_that_are_none_are_named(capsys, module, values, message):
    check_error(capsys, run(module, features_dir="none", output_dir="rows", **values), message)
