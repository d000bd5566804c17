"""Trains every method on every (target, seed), scores the predictions, and writes the report.

What is done stays: a finished (target, method, seed) is a whole folder, and is read, not trained again.
"""

import dataclasses
import itertools
import os
import time
from pathlib import Path

import keras
import numpy as np

from sib_tf import checkpoints
from sib_tf.datasets.domains import DomainDataset
from sib_tf.errors import require, require_choice
from sib_tf.storage import atomic, run_lock
from sib_tf.zero_shot.config import DOMAIN_METHODS, DomainAdaptationConfig
from sib_tf.zero_shot.domain_adaptation import backbone, report, scoring, tasks, training
from sib_tf.zero_shot.domain_adaptation.model import AdaptiveHead


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to run: every method on every target, a domain without labels, with every seed.

    `weights` are the backbone's, as in `backbone.build`. With `oracle` the target is predicted at every validation, to
    show what the best checkpoint would have had.
    """

    targets: tuple[str, ...]
    methods: tuple[str, ...] = DOMAIN_METHODS
    seeds: tuple[int, ...] = (0,)
    weights: str = "random"
    oracle: bool = False

    def __post_init__(self):
        for method in self.methods:
            require_choice("methods", method, DOMAIN_METHODS)
        for name in ("targets", "methods", "seeds"):
            values = getattr(self, name)
            require(name, ",".join(map(str, values)), values and len(set(values)) == len(values), "some, each once")


def run(dataset: DomainDataset, config: DomainAdaptationConfig, plan: Plan, output_dir: str | os.PathLike) -> dict:
    """Writes `<target>/<method>-<seed>/`, `metrics.json`, whose content is returned, `report.md` and its figures.

    Raises an InputError if a target is unknown, a domain too small, or the folder another run's or in use.
    """
    for target in plan.targets:
        require_choice("target", target, tuple(dataset.domains))
    for domain, pictures in dataset.domains.items():
        most = len(pictures.labels)
        expected = f"at most the pictures of a domain, {most} for {domain}"
        require("minibatch", config.minibatch, config.minibatch <= most, expected)
    folder, settings = Path(output_dir), dataclasses.asdict(config)
    record = {"dataset": dataset.name, "digest": dataset.digest, "weights": plan.weights, "oracle": plan.oracle}
    with run_lock.held(folder):
        checkpoints.claim_folder(folder, {**record, "domain_adaptation": settings})
        for target in plan.targets:
            sources = tasks.split(dataset, target, config.validation_fraction)
            for seed, method in itertools.product(plan.seeds, plan.methods):
                home = folder / target / f"{method}-{seed}"
                if not (home / "result.json").is_file():
                    _train(config, sources, method, seed, len(dataset.class_names), plan, home)
        scores = scoring.collect(folder, dataset, config, plan)
        metrics = {**record, "config": settings, **dataclasses.asdict(plan), **scoring.summary(scores)}
        report.write(folder, dataset, metrics)
        atomic.write_json(folder / "metrics.json", metrics)
    return metrics


def _train(config, sources: tasks.Sources, method: str, seed: int, classes: int, plan: Plan, home: Path) -> None:
    keras.utils.set_random_seed(seed)
    features = backbone.build(config, sources, plan.weights)
    head = AdaptiveHead(config, features.output_shape[-1], classes, method)
    start = time.perf_counter()
    chosen, validated, losses = training.train(training.Learner(features, head, seed), sources, plan.oracle)
    result = {
        "method": method,
        "seed": seed,
        "step": chosen.step,
        "validation_accuracy": chosen.validation_accuracy,
        "validations": [[each.step, each.validation_accuracy] for each in validated],
        "last_losses": losses[-20:].mean(axis=0).round(4).tolist(),
        "seconds": round(time.perf_counter() - start, 1),
    }
    every = {f"step{each.step}": each.prediction for each in validated if each.prediction is not None}
    with atomic.new_folder(home) as partial:
        np.savez(partial / "predictions.npz", chosen=chosen.prediction, **every)
        features.save(partial / "backbone.keras")
        head.save(partial / "head.keras")
        atomic.write_json(partial / "result.json", result)
