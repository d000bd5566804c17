"""Figures and pages from metrics."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from sib_tf import templates
from sib_tf.errors import InputError
from sib_tf.reports import figures

ACCURACY = np.array([[0.5, 0.6, 0.4], [0.6, 0.7, 0.5]])
BASELINE = np.array([0.5, 0.5, 0.5])
METRICS = {
    "accuracy": 0.6,
    "ci95": 0.0123,
    "accuracy_by_step": [0.5, 0.6],
    "ci95_by_step": [0.02, 0.0123],
    "baseline_accuracy": 0.5,
    "baseline_ci95": 0.01,
    "difference": 0.1,
    "difference_ci95": 0.005,
    "episodes": 3,
    "seed": 7,
    "split": "test",
    "episode_spec": "5-way 1-shot, 15 queries a class",
    "episode_hash": "0123456789abcdef0123",
    "dataset": {"name": "tiny"},
    "model": {"gradient_network": "joint", "num_steps": 1, "inner_learning_rate": 1e-3},
    "confidence": {
        "uncalibrated": {"ece": 0.1234, "nll": 1.0, "bins": [[0.3, 0.2, 0.5], [0.9, 0.7, 0.5]]},
        "calibrated": {"ece": 0.0123, "nll": 0.9, "bins": [[0.3, 0.3, 1.0]]},
    },
    "hardware": "2 cores",
    "seconds": 1.25,
    "summary": "In short.",
}
PRETRAINING = [{"epoch": 0, "val_prototype_accuracy": 0.3}, {"epoch": 1, "val_prototype_accuracy": 0.4}]
META_TRAINING = [{"step": 10, "validation_accuracy": 0.5}]


def is_figure(path) -> bool:
    with Image.open(path) as image:
        image.load()
        assert not plt.get_fignums()
        return image.format == "PNG" and min(image.size) > 300 and len(np.unique(np.asarray(image))) > 10


@pytest.mark.parametrize("steps", [1, 2])
def test_the_accuracy_figure_is_drawn_for_any_k(tmp_path, steps):
    metrics = {**METRICS, "accuracy_by_step": [0.5, 0.6][:steps], "ci95_by_step": [0.02, 0.0123][:steps]}
    figures.accuracy_figure(metrics, ACCURACY[:steps], BASELINE, tmp_path / "new" / "accuracy.png")
    assert is_figure(tmp_path / "new" / "accuracy.png")


@pytest.mark.parametrize("histories", [(PRETRAINING, META_TRAINING), (PRETRAINING, []), ([], META_TRAINING)])
def test_the_training_figure_is_drawn_with_and_without_histories(tmp_path, histories):
    figures.training_figure(*histories, tmp_path / "training.png")
    assert is_figure(tmp_path / "training.png")


def page(**more) -> list[str]:
    return templates.render("meta_test.md", "sib_tf.reports", **{**METRICS, "figures": {}, **more}).splitlines()


def test_the_page_has_every_figure_that_was_measured():
    lines = page(figures={"Accuracy": "accuracy.png"})
    for line in (
        "# SIB on tiny",
        "In short.",
        "| nearest prototypes (K = 0) | 50.00 % | +-1.00 |",
        "| SIB after k = 0 | 50.00 % | +-2.00 |",
        "| SIB after k = 1 | 60.00 % | +-1.23 |",
        "| difference to prototypes, same episodes | 10.00 % | +-0.50 |",
        "Episodes: 3 of the test split, 5-way 1-shot, 15 queries a class; seed 7, hash `0123456789abcdef`.",
        "Model: joint, K = 1, eta = 0.001.",
        "Expected calibration error: 12.34 % uncalibrated, 1.23 % calibrated.",
        "Time: 1.2 s on 2 cores.",
        "![Accuracy](accuracy.png)",
    ):
        assert line in lines


def test_a_figure_does_not_replace_a_folder(tmp_path):
    with pytest.raises(InputError, match=r"is a folder; name a file\."):
        figures.training_figure([], [], tmp_path)
    assert plt.get_fignums() == []


def test_bins_of_the_histogram_all_hold_equally_many_possible_differences():
    random = np.random.RandomState(0)
    difference = 100 * (random.binomial(75, 0.7, 2000) - random.binomial(75, 0.5, 2000)) / 75
    edges = figures._bin_edges(difference)
    assert len(edges) <= 41
    assert edges[0] < difference.min()
    assert edges[-1] > difference.max()
    possible = 100 * np.arange(-75, 76) / 75
    counts = np.histogram(possible[(possible > edges[0]) & (possible < edges[-1])], edges)[0]
    assert counts.min() == counts.max()
    assert len(figures._bin_edges(np.zeros(3))) == 2


def test_the_reliability_figure_is_drawn_with_and_without_a_calibration(tmp_path):
    both = METRICS["confidence"]
    for confidence in (both, {"uncalibrated": both["uncalibrated"]}):
        figures.reliability_figure(confidence, tmp_path / "reliability.png")
        assert is_figure(tmp_path / "reliability.png")


def test_the_page_has_what_not_every_model_is_measured_on():
    shares = {"auroc": 0.9, "baseline_auroc": 0.8, "difference": 0.1, "accepted_known": 0.75, "accepted_unknown": 0.125}
    measured = {"unknown_classes": 3, **shares, **{f"{name}_ci95": 0.01 for name in shares}}
    without = "\n".join(page())
    assert "Evidence lower bound" not in without
    assert "None of these" not in without
    lines = page(evidence_bound={"mean": -81.234, "ci95": 0.5}, open_set=measured)
    assert "Evidence lower bound of an episode's query labels: -81.23 +-0.50 nats." in lines
    assert (
        "None of these: with queries of 3 more classes that have no support, the score tells known from unknown with "
        "AUROC 90.00 +-1.00 % (largest probability under theta^0: 80.00 +-1.00 %, paired difference +10.00 +-1.00 "
        "points); at probability 0.5 it accepts 75.0 % of the known and 12.5 % of the unknown pictures."
    ) in lines


@pytest.mark.parametrize("dirichlet", [True, False])
def test_the_curves_are_drawn_with_and_without_imbalanced_query_sets(tmp_path, dirichlet):
    figures_of = {"accuracy": 0.7, "ci95": 0.01, "baseline_accuracy": 0.6, "baseline_ci95": 0.02, "queries": 15}
    curves = {
        "dirichlet_alpha": [{"value": value, **figures_of} for value in (0.5, 2.0, "balanced") if dirichlet],
        "total_query": [{"value": value, **figures_of} for value in (1, 15)],
    }
    figures.curves_figure(curves, tmp_path / "curves.png")
    assert is_figure(tmp_path / "curves.png")
