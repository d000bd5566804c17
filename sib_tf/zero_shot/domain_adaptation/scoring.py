"""Scores predictions of the target's pictures: the one place where the target's labels are read."""

import itertools
from pathlib import Path

import numpy as np
from scipy import stats

from sib_tf.datasets.domains import DomainDataset
from sib_tf.errors import InputError
from sib_tf.evaluation import mean_and_ci95
from sib_tf.storage import array_files, atomic
from sib_tf.zero_shot.config import DomainAdaptationConfig
from sib_tf.zero_shot.domain_adaptation import tasks

# What is compared, minibatch by minibatch.
PAIRS = (
    ("sib_rot", "k0"),
    ("sib_rot", "source_only"),
    ("sib_rot", "rot"),
    ("k0", "source_only"),
    ("sib_rot", "shipped_head"),
    ("shipped_head", "prototypes"),
)


def collect(folder: Path, dataset: DomainDataset, config: DomainAdaptationConfig, plan) -> dict:
    """Reads the plan's finished runs; an InputError if files are damaged.

    Returns:
        (target, method, seed) -> {"accuracy": `[minibatches]` in [0, 1], "oracle": the same of the checkpoint that is
        best on the target, or None, "result": what training wrote}.
    """
    found = {}
    for target, method, seed in itertools.product(plan.targets, plan.methods, plan.seeds):
        labels = dataset.domains[target].labels
        labels = labels[tasks.fixed(np.arange(len(labels)), config.minibatch)]
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
    compared = [(method,) for method in methods] + [pair for pair in PAIRS if set(pair) <= set(methods)]
    rows = [_row(names, scores, targets, seeds) for names in compared]
    return {"rows": rows, "runs": [_run(*key, **score) for key, score in scores.items()]}


def _row(names: tuple[str, ...], scores: dict, targets: tuple[str, ...], seeds: tuple[int, ...]) -> dict:
    """Of one method, or of the first less the second."""
    runs = {}
    for target, seed in itertools.product(targets, seeds):
        first, *second = (scores[target, name, seed]["accuracy"] for name in names)
        runs[target, seed] = first - sum(second)
    by_target = {target: np.mean([runs[target, seed] for seed in seeds], axis=0) for target in targets}
    figures = {target: _figure(values) for target, values in by_target.items()}
    means = [values.mean() for values in runs.values()]
    if all(len({runs[target, seed].tobytes() for seed in seeds}) == 1 for target in targets):
        # Nothing is trained, and seeds change nothing: they are not runs of their own.
        means = means[:: len(seeds)]
    # By Student's t, which small numbers of runs need.
    half = float(stats.t.ppf(0.975, len(means) - 1) * stats.sem(means)) if len(means) > 1 else None
    return {
        "name": " - ".join(names),
        "paired": len(names) > 1,
        "targets": figures,
        "average": {
            "mean": float(np.mean([values.mean() for values in by_target.values()])),
            # The minibatches of each target are a sample of their own.
            "ci95_minibatches": float(np.linalg.norm([each["ci95"] for each in figures.values()]) / len(targets)),
            "ci95_runs": half,
        },
        "runs": [{"target": t, "seed": s, **_figure(values)} for (t, s), values in runs.items()],
    }


def _figure(values: np.ndarray) -> dict:
    mean, half = mean_and_ci95(values)
    return {"mean": mean, "ci95": half}


def _run(target: str, method: str, seed: int, accuracy: np.ndarray, oracle: np.ndarray | None, result: dict) -> dict:
    return {
        "target": target,
        "method": method,
        "seed": seed,
        "accuracy": float(accuracy.mean()),
        "oracle": None if oracle is None else float(oracle.mean()),
        **{name: result[name] for name in ("step", "validation_accuracy", "seconds")},
    }
