"""Scores predictions of the target's pictures: the one place where the target's labels are read."""

import itertools
from pathlib import Path

import numpy as np

from sib_tf.datasets.domains import DomainDataset
from sib_tf.errors import InputError
from sib_tf.evaluation import mean_and_ci95
from sib_tf.storage import array_files, atomic
from sib_tf.zero_shot.config import DomainAdaptationConfig
from sib_tf.zero_shot.domain_adaptation import tasks

# What is compared, minibatch by minibatch.
PAIRS = (("sib_rot", "k0"), ("sib_rot", "source_only"), ("sib_rot", "rot"), ("k0", "source_only"))


def collect(folder: Path, dataset: DomainDataset, config: DomainAdaptationConfig, plan) -> dict:
    """Reads the plan's finished runs.

    Returns:
        (target, method, seed) -> {"accuracy": `[minibatches]` in [0, 1], "oracle": the same of the checkpoint that is
        best on the target, or None, "result": what training wrote}.

    Raises:
        InputError: a run's files are damaged.
    """
    found = {}
    for target in plan.targets:
        labels = dataset.domains[target].labels
        labels = labels[tasks.fixed(np.arange(len(labels)), config.minibatch)]
        for method, seed in itertools.product(plan.methods, plan.seeds):
            home = folder / target / f"{method}-{seed}"
            answers = array_files.read_npz(home / "predictions.npz", f"remove {home} to train it again")
            if "chosen" not in answers or any(each.shape != labels.shape for each in answers.values()):
                raise InputError(f"{home} has no answers for every picture of {target}; remove it to train it again.")
            hits = {name: (each == labels).mean(axis=1) for name, each in answers.items()}
            accuracy = hits.pop("chosen")
            oracle = max(hits.values(), key=np.mean) if hits else None
            result = atomic.read_json(home / "result.json", "Result")
            found[target, method, seed] = {"accuracy": accuracy, "oracle": oracle, "result": result}
    return found


def summary(scores: dict) -> dict:
    """Turns what `collect` returns into the JSON values of `metrics.json`; accuracies are in [0, 1].

    Intervals are 95 %. Those of a target are over its minibatches, those of all seeds of each minibatch's mean over
    the seeds. `average` has two: over the minibatches of all targets, which says how sure the figure is for these
    trained models, and over (target, seed), which counts training them again too.
    """
    targets, methods, seeds = (tuple(dict.fromkeys(key[i] for key in scores)) for i in range(3))
    accuracy = {key: score["accuracy"] for key, score in scores.items()}
    names = [*methods, *(pair for pair in PAIRS if set(pair) <= set(methods))]
    rows = []
    for name in names:
        per = {(target, seed): _values(accuracy, target, name, seed) for target in targets for seed in seeds}
        by_target = {target: np.mean([per[target, seed] for seed in seeds], axis=0) for target in targets}
        rows.append(
            {
                "name": name if isinstance(name, str) else " - ".join(name),
                "paired": not isinstance(name, str),
                "targets": {target: _figure(values) for target, values in by_target.items()},
                "average": {
                    "mean": float(np.mean([values.mean() for values in by_target.values()])),
                    "ci95_minibatches": _stratified(list(by_target.values())),
                    "ci95_runs": _runs_interval([values.mean() for values in per.values()]),
                },
                "runs": [{"target": t, "seed": s, **_figure(values)} for (t, s), values in per.items()],
            }
        )
    return {"rows": rows, "runs": [_run(key, score) for key, score in scores.items()]}


def _values(accuracy: dict, target: str, name, seed: int) -> np.ndarray:
    if isinstance(name, str):
        return accuracy[target, name, seed]
    return accuracy[target, name[0], seed] - accuracy[target, name[1], seed]


def _figure(values: np.ndarray) -> dict:
    mean, half = mean_and_ci95(values)
    return {"mean": mean, "ci95": half}


def _stratified(values: list[np.ndarray]) -> float:
    """Half-width of the mean over targets: the minibatches of each are a sample of their own."""
    return float(np.sqrt(sum(mean_and_ci95(each)[1] ** 2 for each in values)) / len(values))


def _runs_interval(means: list[float]) -> float | None:
    """Half-width over runs by Student's t, which small numbers of them need; None for one alone."""
    if len(means) < 2:
        return None
    from scipy import stats

    return float(stats.t.ppf(0.975, len(means) - 1) * np.std(means, ddof=1) / np.sqrt(len(means)))


def _run(key: tuple, score: dict) -> dict:
    target, method, seed = key
    oracle = None if score["oracle"] is None else float(score["oracle"].mean())
    kept = {name: score["result"][name] for name in ("step", "validation_accuracy", "seconds")}
    own = {"accuracy": float(score["accuracy"].mean()), "oracle": oracle}
    return {"target": target, "method": method, "seed": seed, **own, **kept}
