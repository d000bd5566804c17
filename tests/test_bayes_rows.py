"""Prior and posterior compared: a small run from training to the table, and the table's figures by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import bayes_rows, bayes_table
from sib_tf.commands import cli


def run(**values) -> int:
    arguments = [f"--{name}={value}" for name, value in values.items()]
    return cli.run(bayes_rows.main, bayes_rows.FLAGS, bayes_rows.__doc__, ["benchmarks.bayes_rows", *arguments])


def write(name: str, accuracy: list[float], ece: float) -> None:
    folder = Path("bayes") / name
    folder.mkdir(parents=True)
    zeros = dict.fromkeys(
        ("accuracy", "ci95", "baseline_accuracy", "baseline_ci95", "difference", "difference_ci95"), 0
    )
    confidence = {"uncalibrated": {"ece": ece, "nll": 1.0}}
    metrics = {**zeros, "dataset": {"name": "tiny"}, "confidence": confidence}
    (folder / "balanced.json").write_text(json.dumps(metrics))
    (folder / "config.json").write_text(json.dumps({"meta_training": {"steps": 20000}}))
    np.savez(folder / "balanced.npz", accuracy=[[0, 0], accuracy])


def test_the_table_is_of_means_over_seeds_and_paired_differences():
    write("1shot_mean_seed0", [0.5, 0.7], 0.02)
    write("1shot_prior_kl0.1_seed0", [0.6, 0.8], 0.01)
    write("1shot_prior_kl0.1_seed1", [0.8, 0.8], 0.03)
    # Means over the seeds 0.7 and 0.8: 0.75, and 0.2 and 0.1 above. Half-widths 1.96 * std / sqrt(2).
    table = bayes_table.load("bayes")
    assert table.rows == [
        ("1", "balanced", "none, dirac; means", "", "60.00 +-19.60", "", "2.00 %", "1.000"),
        ("1", "balanced", "gaussian, dirac; means", "0.1", "75.00 +-9.80", "+15.00 +-9.80", "2.00 %", "1.000"),
    ]
    assert (
        "tiny,\nmeta-trained for 20,000 steps on balanced episodes of the row's shot. Means over 2 seeds;" in table.text
    )
    assert "among 0.1. Calibration" in table.text


@pytest.mark.slow
def test_variants_are_trained_chosen_measured_and_not_done_again(capsys, tiny_features, monkeypatch):
    few = {"mean": {"num_steps": 1}, "posterior": {**bayes_rows.VARIANTS["posterior"], "num_steps": 1}}
    monkeypatch.setattr(bayes_rows, "VARIANTS", few)
    values = {"features_dir": tiny_features, "output_dir": "bayes", "steps": 2, "episodes": 4, "seeds": 1}
    values |= {"shots": "1", "kl_weights": "0.1"}
    assert run(**values) == 0
    assert "posterior, 1 shot: validation accuracy by kl_weight 0.1: " in capsys.readouterr().out
    assert len(bayes_table.load("bayes").rows) == 4
    metrics = json.loads(Path("bayes/1shot_posterior_kl0.1_seed0/balanced.json").read_text())
    assert metrics["evidence_bound"]["mean"] < 0
    assert run(**values) == 0
    assert "paired difference" not in capsys.readouterr().out


def test_numbers_that_are_none_are_named(capsys):
    assert run(features_dir="none", output_dir="bayes", kl_weights="much") == cli.USAGE_ERROR
    assert "kl_weights must be numbers above 0, with commas; got 'much'" in capsys.readouterr().err
