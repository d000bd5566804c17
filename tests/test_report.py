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
NO_STEP = {**METRICS, "accuracy_by_step": [0.5], "ci95_by_step": [0.02]}
BOTH = METRICS["confidence"]
MEASURED = {"accuracy": 0.7, "ci95": 0.01, "baseline_accuracy": 0.6, "baseline_ci95": 0.02, "queries": 15}
DIRICHLET, TOTALS = ([{"value": value, **MEASURED} for value in values] for values in ((0.5, 2.0, "balanced"), (1, 15)))


@pytest.mark.parametrize(
    ("draw", "values"),
    [
        (figures.accuracy_figure, (METRICS, ACCURACY, BASELINE)),
        (figures.accuracy_figure, (NO_STEP, ACCURACY[:1], BASELINE)),
        (figures.training_figure, (PRETRAINING, META_TRAINING)),
        (figures.training_figure, (PRETRAINING, [])),
        (figures.training_figure, ([], META_TRAINING)),
        (figures.reliability_figure, (BOTH,)),
        (figures.reliability_figure, ({"uncalibrated": BOTH["uncalibrated"]},)),
        (figures.curves_figure, ({"dirichlet_alpha": DIRICHLET, "total_query": TOTALS},)),
        (figures.curves_figure, ({"dirichlet_alpha": [], "total_query": TOTALS},)),
    ],
)
def test_figures_are_drawn_of_all_or_some_values(tmp_path, draw, values):
    draw(*values, tmp_path / "new" / "figure.png")
    assert not plt.get_fignums()
    with Image.open(tmp_path / "new" / "figure.png") as image:
        assert image.format == "PNG" and min(image.size) > 300 and len(np.unique(np.asarray(image))) > 10


def test_bands_do_not_lead_the_axis_above_100_percent(tmp_path, monkeypatch):
    tops = []
    monkeypatch.setattr(figures, "save", lambda figure, path: tops.extend(axis.get_ylim()[1] for axis in figure.axes))
    points = [{"value": value, **MEASURED, "accuracy": 0.99, "ci95": 0.05} for value in (0.5, "balanced")]
    figures.curves_figure({"dirichlet_alpha": points, "total_query": []}, tmp_path / "curves.png")
    assert 100 < tops[0] < 102


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
