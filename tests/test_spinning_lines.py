"""Spinning lines: what is known of them in closed form, the steps, and a small run from the command line."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import running
import tensorflow as tf
from PIL import Image
from test_cli import check_error

from sib_tf import checkpoints, distributions, templates
from sib_tf.storage import run_records
from sib_tf.zero_shot.config import SpinningLinesConfig
from sib_tf.zero_shot.spinning_lines import PredictionGradientNetwork, SpinningLines, experiment, tasks
from train import spinning_lines as entry_point

SMALL = SpinningLinesConfig(num_steps=2, posterior_samples=3, hidden_units=4, queries=6, steps=4, batch_tasks=2)


def build(config=SMALL) -> SpinningLines:
    tf.keras.utils.set_random_seed(0)
    model = SpinningLines(config)
    model.build()
    random = np.random.RandomState(0)
    for variable in model.trainable_variables:
        variable.assign(variable + 0.1 * random.normal(size=variable.shape))
    return model


def test_tasks_are_a_pure_function_of_the_seed():
    first, again, other = (tasks.sample_tasks(SMALL, 3, seed) for seed in ([0, 1], [0, 1], [0, 2]))
    for one, two, three in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one, two)
        assert np.abs(one - three).min() > 0


def test_inputs_and_targets_are_tied_to_the_slope():
    """20,000 tasks: means within four standard errors."""
    config = dataclasses.replace(SMALL, spread=2.0, noise=0.3)
    slope, x, y = tasks.sample_tasks(config, 20_000, 5)
    assert abs(slope.mean()) < 4 / np.sqrt(20_000)
    assert (x - slope[:, None]).std() == pytest.approx(2.0, rel=0.02)
    assert (y - slope[:, None] * x).std() == pytest.approx(0.3, rel=0.02)


def test_the_exact_posterior_by_numerical_integration():
    _, x, y = tasks.sample_tasks(SMALL, 4, 7)
    grid = np.linspace(-6, 6, 200_001)
    for i in range(4):
        log_p = -0.5 * grid**2 - 0.5 * ((y[i][:, None] - grid * x[i][:, None]) ** 2).sum(0) / SMALL.noise**2
        p = np.exp(log_p - log_p.max())
        p /= p.sum()
        mean = (p * grid).sum()
        found_mean, found_scale = tasks.exact_posterior(x[i : i + 1], y[i : i + 1], SMALL.noise)
        assert found_mean[0] == pytest.approx(mean, abs=1e-6)
        assert found_scale[0] == pytest.approx(np.sqrt((p * (grid - mean) ** 2).sum()), rel=1e-6)


def test_divergence_by_hand():
    """One standard deviation off and twice as wide: (4 + 1 - 1) / 2 - log 2. Of the posterior itself: 0."""
    _, x, y = tasks.sample_tasks(SMALL, 2, 8)
    mean, scale = tasks.exact_posterior(x, y, SMALL.noise)
    own = np.stack([mean, np.log(scale)], -1)[:, None]
    np.testing.assert_allclose(tasks.divergence(own, x, y, SMALL.noise), 0, atol=1e-12)
    other = np.stack([mean + scale, np.log(2 * scale)], -1)[:, None]
    np.testing.assert_allclose(tasks.divergence(other, x, y, SMALL.noise), 2 - np.log(2), atol=1e-9)


def test_the_least_divergence_is_that_of_the_best_guess_from_the_inputs():
    """Slopes and targets drawn again 100,000 times for the same inputs: the mean divergence of the best q; 1 %."""
    _, x, _ = tasks.sample_tasks(SMALL, 1, 9)
    precision = 1 + SMALL.queries / SMALL.spread**2
    random = np.random.RandomState(1)
    slope = x.sum() / SMALL.spread**2 / precision + random.normal(size=100_000) / np.sqrt(precision)
    y = slope[:, None] * x + SMALL.noise * random.normal(size=(100_000, SMALL.queries))
    means, scale = tasks.exact_posterior(x, y, SMALL.noise)
    q = np.broadcast_to([[[means.mean(), np.log(scale[0])]]], (100_000, 1, 2))
    found = tasks.divergence(q, x, y, SMALL.noise).mean()
    assert tasks.least_divergence(x, SMALL)[0] == pytest.approx(found, rel=0.01)


def test_true_gradient_steps_are_those_of_the_bound():
    """theta^1 by a tape through minus the bound, with the same fixed noise."""
    model = build(dataclasses.replace(SMALL, num_steps=1))
    _, x, y = tasks.sample_tasks(SMALL, 3, 10)
    theta, after = model.adapt_with_targets(x, y)
    noise = distributions.fixed_noise(3, 1, 1)
    with tf.GradientTape() as tape:
        tape.watch(theta)
        loss = model.negative_bound(theta, x, y, noise)
    gradient = tape.gradient(loss, theta)
    expected = theta - model.posterior.scaled(SMALL.inner_learning_rate * gradient)
    np.testing.assert_allclose(after, expected, rtol=1e-4, atol=1e-5)


def test_a_task_does_not_see_its_neighbours_and_the_order_of_points_is_nothing():
    model = build()
    _, x, _ = tasks.sample_tasks(SMALL, 3, 11)
    together = model(x)
    np.testing.assert_allclose(model(x[1:2]), together[1:2], atol=1e-5)
    np.testing.assert_allclose(model(x[:, ::-1]), together, atol=1e-5)


def test_the_network_reads_predictions_only_and_survives_a_round_trip(tmp_path):
    network = PredictionGradientNetwork(5)
    assert PredictionGradientNetwork.from_config(network.get_config()).hidden_units == 5
    assert np.isfinite(network(np.zeros((2, 4), "f"))).all()
    model = build()
    _, x, _ = tasks.sample_tasks(SMALL, 3, 12)
    checkpoints.save_model(model, tmp_path / "model.keras")
    again = checkpoints.load_model(tmp_path / "model.keras", SpinningLines)
    np.testing.assert_array_equal(again(x), model(x))


@pytest.mark.slow
def test_lines_turn_to_the_truth(capsys):
    """300 outer steps: KL falls at every step, to less than a tenth, and its report says so."""
    assert running.run(entry_point, output_dir="lines", steps=300, batch_tasks=16, test_tasks=300) == 0
    metrics = json.loads(Path("lines/metrics.json").read_text())
    means = [figure["mean"] for figure in metrics["divergence"]]
    assert metrics["falls_monotonically"]
    assert (np.diff(means) < 0).all()
    assert metrics["share_left"] < 0.1
    assert means[-1] > metrics["least_divergence"]["mean"] - 3 * metrics["least_divergence"]["ci95"]
    page = Path("lines/report.md").read_text()
    assert f"| 0 | {means[0]:.3f} +-" in page
    for name in ("divergence.png", "lines.png", "training.png", "lines.gif"):
        assert f"({name})" in page
        with Image.open(Path("lines") / name) as picture:
            assert picture.width > 200
    with Image.open("lines/lines.gif") as moving:
        assert moving.n_frames > 40
    assert "nats at k = 0" in capsys.readouterr().out


def test_another_configuration_needs_another_folder(capsys):
    run_records.claim_folder("lines", {"spinning_lines": {}, "test_tasks": 2})
    code = running.run(entry_point, output_dir="lines", test_tasks=2)
    check_error(capsys, code, "lines holds a run with other settings")


def test_a_descent_that_runs_off_says_so():
    """True gradients of targets almost without noise, and no synthetic ones yet."""
    model = SpinningLines(dataclasses.replace(SMALL, noise=1e-12))
    model.build()
    metrics, _, true_gradient = experiment.measure(model, 5)
    assert np.isfinite(true_gradient[1]).all() and not np.isfinite(true_gradient[2]).all()
    page = templates.render("report.md", "sib_tf.zero_shot.spinning_lines", **metrics)
    assert re.search(r"^\| 2 \| \d+\.\d{3} \+-\d+\.\d{3} \| diverges \| diverges \| \d", page, re.MULTILINE)
