"""Trains on spinning lines and measures, step by step, how far q_theta^k is from the true posterior."""

import dataclasses
import os
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from sib_tf import checkpoints, distributions
from sib_tf.errors import InputError
from sib_tf.evaluation import mean_and_ci95
from sib_tf.storage import atomic, run_lock
from sib_tf.zero_shot.config import SpinningLinesConfig
from sib_tf.zero_shot.spinning_lines import figures, tasks
from sib_tf.zero_shot.spinning_lines.model import SpinningLines

_STEPS_PER_CALL = 50
# Seeds of the tasks to train on, to choose the true gradient's step size on, and to measure on.
_TRAIN, _CHOOSE, _TEST = 0, 1, 2
# Step sizes of the true-gradient descent, relative to eta; the best one is shown beside the same one.
_RATES = (0.25, 0.5, 1.0, 2.0, 4.0)


@dataclasses.dataclass(frozen=True, eq=False)
class Experiment:
    """What was measured on unseen tasks.

    Attributes:
        metrics: the content of `metrics.json`.
        divergence: `[K + 1, tasks]` in nats, KL(q_theta^k || p(w | x, y)).
        true_gradient: the same of descent with the true gradient and its best step size.
    """

    metrics: dict
    divergence: np.ndarray
    true_gradient: np.ndarray


def run(config: SpinningLinesConfig, output_dir: str | os.PathLike, test_tasks: int = 2000) -> Experiment:
    """Trains, measures, and writes `model.keras`, `metrics.json`, `report.md`, two figures and an animation.

    Raises:
        InputError: the folder holds a run of another configuration or is in use, or the loss is not finite.
    """
    folder = Path(output_dir)
    with run_lock.held(folder):
        checkpoints.claim_folder(folder, {"spinning_lines": dataclasses.asdict(config), "test_tasks": test_tasks})
        return _run(config, folder, test_tasks)


def _run(config: SpinningLinesConfig, folder: Path, test_tasks: int) -> Experiment:
    keras.utils.set_random_seed(config.seed)
    model = SpinningLines(config)
    model.build()
    losses = train(model)
    checkpoints.save_model(model, folder / "model.keras")
    found = measure(model, test_tasks)
    figures.divergence_figure(found.divergence, found.true_gradient, found.metrics, folder / "divergence.png")
    _, x, y = tasks.sample_tasks(config, 9, [config.seed, _TEST])
    path = np.stack(model.adapt(x))[:, :, 0]
    figures.lines_figure(path, x, y, config, folder / "lines.png")
    figures.animate(path, x, y, config, folder / "lines.gif")
    figures.loss_figure(losses, folder / "training.png")
    atomic.write_json(folder / "metrics.json", found.metrics)
    atomic.write_text(folder / "report.md", _page(found.metrics))
    return found


def train(model: SpinningLines) -> np.ndarray:
    """Meta-trains on minus the bound under theta^K; returns the loss of every outer step, `[steps]` in nats.

    Raises:
        InputError: the loss is not finite.
    """
    config = model.config
    # Slowly at first: steps of an untrained network that are too long run off.
    warm_up = max(1, config.steps // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, config.steps - warm_up), warmup_target=config.learning_rate, warmup_steps=warm_up
    )
    optimizer = keras.optimizers.Adam(schedule)
    optimizer.build(model.trainable_variables)

    def step(xy):
        x, y = xy
        seed = tf.stack([config.seed, tf.cast(optimizer.iterations, tf.int32)])
        noise = distributions.random_noise(seed, config.batch_tasks, config.posterior_samples, 1, 1)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model.negative_bound(model(x, noise), x, y, noise))
        variables = model.trainable_variables
        # Lines far out have large losses: without a bound on the gradient one of them could undo many steps.
        gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, variables), 1.0)
        optimizer.apply(gradients, variables)
        return loss

    @tf.function(jit_compile=True, autograph=False)
    def steps(x, y):
        return tf.map_fn(step, (x, y), parallel_iterations=1, fn_output_signature=tf.float32)

    found, size = [], _STEPS_PER_CALL
    with tqdm(total=config.steps, unit="step", desc="spinning lines") as progress:
        for first in range(0, config.steps, size):
            count = min(size, config.steps - first)
            _, *xy = tasks.sample_tasks(config, count * config.batch_tasks, [config.seed, _TRAIN, first])
            found.append(steps(*(field.reshape(count, config.batch_tasks, -1) for field in xy)).numpy())
            if not np.isfinite(found[-1]).all():
                raise InputError(
                    f"The loss became {found[-1][~np.isfinite(found[-1])][0]} after step {first}; lower learning_rate "
                    "or inner_learning_rate."
                )
            progress.update(count)
            progress.set_postfix(loss=f"{found[-1].mean():.2f}")
    return np.concatenate(found)


def measure(model: SpinningLines, test_tasks: int) -> Experiment:
    """Measures on `test_tasks` unseen tasks, and beside it what others reach."""
    config = model.config
    _, x, y = tasks.sample_tasks(config, test_tasks, [config.seed, _TEST])
    divergence = _divergences(model.adapt(x), x, y, config)
    same = _divergences(model.adapt_with_targets(x, y), x, y, config)
    rate = _best_rate(model)
    best = _divergences(model.adapt_with_targets(x, y, rate * config.inner_learning_rate), x, y, config)
    mean, _ = tasks.exact_posterior(x, y, config.noise)
    error = np.abs(np.asarray(model.adapt(x))[:, :, 0, 0] - mean)
    metrics = {
        "config": dataclasses.asdict(config),
        "tasks": test_tasks,
        "divergence": _figures(divergence),
        "share_left": float(divergence[-1].mean() / divergence[0].mean()),
        "falls_monotonically": bool((np.diff(divergence.mean(axis=1)) < 0).all()),
        "least_divergence": _figures(tasks.least_divergence(x, config)[None])[0],
        "true_gradient_same_rate": _figures(same),
        "true_gradient_best_rate": {"rate": rate, "divergence": _figures(best)},
        "slope_error_to_oracle": _figures(error),
    }
    return Experiment(metrics, divergence, best)


def _divergences(path, x, y, config) -> np.ndarray:
    return np.stack([tasks.divergence(theta, x, y, config.noise) for theta in path])


def _best_rate(model: SpinningLines) -> float:
    """The step size, as a multiple of eta, with which K true-gradient steps come nearest, on tasks of their own."""
    config = model.config
    _, x, y = tasks.sample_tasks(config, 500, [config.seed, _CHOOSE])

    def left(rate: float) -> float:
        theta = model.adapt_with_targets(x, y, rate * config.inner_learning_rate)[-1]
        found = tasks.divergence(theta, x, y, config.noise).mean()
        return found if np.isfinite(found) else np.inf

    return min(_RATES, key=left)


def _figures(values: np.ndarray) -> list[dict]:
    """Mean and 95 % half-width over tasks of every row; what is not finite (a descent that ran off) says None."""
    pairs = [mean_and_ci95(row) if np.isfinite(row).all() else (None, None) for row in values]
    return [{"mean": mean, "ci95": half} for mean, half in pairs]


def _page(metrics: dict) -> str:
    config, best = metrics["config"], metrics["true_gradient_best_rate"]
    rows = zip(
        metrics["divergence"], metrics["true_gradient_same_rate"], best["divergence"], metrics["slope_error_to_oracle"],
        strict=True,
    )  # fmt: skip
    table = [f"| {k} | {' | '.join(map(_text, row))} |" for k, row in enumerate(rows)]
    first, last = metrics["divergence"][0]["mean"], metrics["divergence"][-1]["mean"]
    return f"""# Spinning lines

Each task is a line y = w x through {config["queries"]} points; its slope is the mean of its inputs. No target is seen.
K = {config["num_steps"]} synthetic-gradient steps from a learned lambda bring q(w) from KL(q || p(w | x, y)) =
{first:.1f} nats to {last:.2f}, {100 * metrics["share_left"]:.1f} % of it, on {metrics["tasks"]} unseen tasks.
The oracle that knows the targets has 0; the least possible without them is {_text(metrics["least_divergence"])}.

| k | KL in nats, SIB | true gradient, the same step size | true gradient, best of {len(_RATES)} step sizes \
({best["rate"]:g} times) | SIB: slope's distance to the oracle's |
|---|---|---|---|---|
{chr(10).join(table)}

Means and 95 % intervals over tasks. The generator (how slopes and inputs are tied, the numbers of points, the noise) is
ours: the paper's text leaves it open.

![KL after every step](divergence.png)

![Nine unseen tasks: the line after every step, and the true posterior](lines.png)

![The lines turning](lines.gif)

![Minus the bound while training](training.png)
"""


def _text(figure: dict) -> str:
    if figure["mean"] is None:
        return "diverges"
    return f"{figure['mean']:.3f} +-{figure['ci95']:.3f}"
