"""Trains on spinning lines and measures, step by step, how far q_theta^k is from the true posterior."""

import dataclasses
import os
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from sib_tf import checkpoints, distributions
from sib_tf.evaluation import mean_and_ci95
from sib_tf.storage import atomic, run_lock, run_records
from sib_tf.zero_shot import optimization
from sib_tf.zero_shot.config import SpinningLinesConfig
from sib_tf.zero_shot.spinning_lines import report, tasks
from sib_tf.zero_shot.spinning_lines.model import SpinningLines

_STEPS_PER_CALL = 50
# Seeds of the tasks to train on, to choose the true gradient's step size on, and to measure on.
_TRAIN, _CHOOSE, _TEST = 0, 1, 2
# Step sizes of the true-gradient descent, relative to eta; the best one is shown beside the same one.
_RATES = (0.25, 0.5, 1.0, 2.0, 4.0)


def run(config: SpinningLinesConfig, output_dir: str | os.PathLike, test_tasks: int = 2000) -> dict:
    """Writes `model.keras`, `metrics.json`, whose content is returned, `report.md`, its figures and an animation.

    Raises an InputError if the folder is another run's or in use, or the loss is not finite.
    """
    folder = Path(output_dir)
    with run_lock.held(folder):
        run_records.claim_folder(folder, {"spinning_lines": dataclasses.asdict(config), "test_tasks": test_tasks})
        keras.utils.set_random_seed(config.seed)
        model = SpinningLines(config)
        model.build()
        losses = train(model)
        checkpoints.save_model(model, folder / "model.keras")
        metrics, divergence, true_gradient = measure(model, test_tasks)
        report.write(folder, metrics, divergence, true_gradient, losses)
        _, x, y = tasks.sample_tasks(config, 9, [config.seed, _TEST])
        report.draw_lines(folder, np.stack(model.adapt(x))[:, :, 0], x, y, config)
        atomic.write_json(folder / "metrics.json", metrics)
    return metrics


def train(model: SpinningLines) -> np.ndarray:
    """Meta-trains on minus the bound under theta^K; returns the loss of every outer step, `[steps]` in nats.

    Raises an InputError if a loss is not finite.
    """
    config, variables = model.config, model.trainable_variables
    optimizer = optimization.adam(config)
    optimizer.build(variables)

    def step(xy):
        x, y = xy
        seed = tf.stack([config.seed, tf.cast(optimizer.iterations, tf.int32)])
        noise = distributions.random_noise(seed, config.batch_tasks, config.posterior_samples, 1, 1)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model.negative_bound(model(x, noise), x, y, noise))
        # Lines far out have large losses.
        optimization.apply_clipped(optimizer, tape.gradient(loss, variables), variables, norm=1.0)
        return loss

    @tf.function(jit_compile=True, autograph=False)
    def steps(x, y):
        return tf.map_fn(step, (x, y), parallel_iterations=1, fn_output_signature=tf.float32)

    found = []
    with tqdm(total=config.steps, unit="step", desc="spinning lines") as progress:
        for first in range(0, config.steps, _STEPS_PER_CALL):
            count = min(_STEPS_PER_CALL, config.steps - first)
            _, *xy = tasks.sample_tasks(config, count * config.batch_tasks, [config.seed, _TRAIN, first])
            found.append(steps(*(field.reshape(count, config.batch_tasks, -1) for field in xy)).numpy())
            optimization.require_finite(found[-1], f"after step {first}", "learning_rate or inner_learning_rate")
            progress.update(count)
            progress.set_postfix(loss=f"{found[-1].mean():.2f}")
    return np.concatenate(found)


def measure(model: SpinningLines, test_tasks: int) -> tuple[dict, np.ndarray, np.ndarray]:
    """Measures on unseen tasks, and beside it what others reach.

    Returns:
        The content of `metrics.json`; KL(q_theta^k || p(w | x, y)) of every task in nats, `[K + 1, tasks]`; and the
        same of descent with the true gradient and its best step size.
    """
    config = model.config
    _, x, y = tasks.sample_tasks(config, test_tasks, [config.seed, _TEST])

    def divergences(path: list) -> np.ndarray:
        return np.stack([tasks.divergence(theta, x, y, config.noise) for theta in path])

    path, rate = model.adapt(x), _best_rate(model)
    divergence = divergences(path)
    best = divergences(model.adapt_with_targets(x, y, rate * config.inner_learning_rate))
    mean, _ = tasks.exact_posterior(x, y, config.noise)
    metrics = {
        "config": dataclasses.asdict(config),
        "tasks": test_tasks,
        "divergence": _intervals(divergence),
        "share_left": float(divergence[-1].mean() / divergence[0].mean()),
        "falls_monotonically": bool((np.diff(divergence.mean(axis=1)) < 0).all()),
        "least_divergence": _intervals(tasks.least_divergence(x, config)[None])[0],
        "true_gradient_same_rate": _intervals(divergences(model.adapt_with_targets(x, y))),
        "true_gradient_best_rate": {"rate": rate, "rates": _RATES, "divergence": _intervals(best)},
        "slope_error_to_oracle": _intervals(np.abs(np.asarray(path)[:, :, 0, 0] - mean)),
    }
    return metrics, divergence, best


def _best_rate(model: SpinningLines) -> float:
    """The step size, as a multiple of eta, with which K true-gradient steps come nearest, on tasks of their own."""
    config = model.config
    _, x, y = tasks.sample_tasks(config, 500, [config.seed, _CHOOSE])

    def left(rate: float) -> float:
        theta = model.adapt_with_targets(x, y, rate * config.inner_learning_rate)[-1]
        found = tasks.divergence(theta, x, y, config.noise).mean()
        return found if np.isfinite(found) else np.inf

    return min(_RATES, key=left)


def _intervals(values: np.ndarray) -> list[dict]:
    """Mean and 95 % half-width over tasks of every row; what is not finite (a descent that ran off) says None."""
    pairs = [mean_and_ci95(row) if np.isfinite(row).all() else (None, None) for row in values]
    return [{"mean": mean, "ci95": half} for mean, half in pairs]
