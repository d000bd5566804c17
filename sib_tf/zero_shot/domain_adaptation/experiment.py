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

from sib_tf.datasets.domains import DomainDataset
from sib_tf.errors import InputError, require, require_choice
from sib_tf.features import weights_fingerprint
from sib_tf.storage import atomic, run_lock, run_records
from sib_tf.zero_shot.config import DOMAIN_METHODS, UNTRAINED_METHODS, DomainAdaptationConfig
from sib_tf.zero_shot.domain_adaptation import backbone, report, scoring, tasks, training, turned_features, untrained
from sib_tf.zero_shot.domain_adaptation.model import AdaptiveHead


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to run: every method on every target, a domain without labels, with every seed.

    `weights` are the backbone's, as in `backbone.build`, or the folder of an imported one. With `oracle` the target is
    predicted at every validation, to show what the best checkpoint would have had.
    """

    targets: tuple[str, ...]
    methods: tuple[str, ...] = DOMAIN_METHODS
    seeds: tuple[int, ...] = (0,)
    weights: str = "random"
    oracle: bool = False

    def __post_init__(self):
        for method in self.methods:
            require_choice("methods", method, DOMAIN_METHODS + UNTRAINED_METHODS)
        for name in ("targets", "methods", "seeds"):
            values = getattr(self, name)
            require(name, ",".join(map(str, values)), values and len(set(values)) == len(values), "some, each once")


def run(dataset: DomainDataset, config: DomainAdaptationConfig, plan: Plan, output_dir: str | os.PathLike) -> dict:
    """Writes `<target>/<method>-<seed>/`, `metrics.json`, whose content is returned, `report.md` and its figures.

    Raises an InputError if a target is unknown, a domain too small, or the folder another run's or in use.
    """
    if config.backbone != "imported" and (given := set(plan.methods) & set(UNTRAINED_METHODS)):
        raise InputError(f"methods {sorted(given)} train nothing: they take --backbone=imported; leave them out.")
    for target in plan.targets:
        require_choice("target", target, tuple(dataset.domains))
    for domain, pictures in dataset.domains.items():
        most = len(pictures.labels)
        expected = f"at most the pictures of a domain, {most} for {domain}"
        require("minibatch", config.minibatch, config.minibatch <= most, expected)
    folder, settings = Path(output_dir), dataclasses.asdict(config)
    imported = backbone.imported(plan.weights, config.image_size) if config.backbone == "imported" else None
    weights = weights_fingerprint(imported)[:12] if imported else plan.weights
    record = {"dataset": dataset.name, "digest": dataset.digest, "weights": weights, "oracle": plan.oracle}
    with run_lock.held(folder):
        run_records.claim_folder(folder, {**record, "domain_adaptation": settings})
        seen = turned_features.embed(dataset, imported, folder / "features") if imported else dataset
        for target in plan.targets:
            sources = tasks.split(seen, target, config.validation_fraction)
            for seed, method in itertools.product(plan.seeds, plan.methods):
                home = folder / target / f"{method}-{seed}"
                if not (home / "result.json").is_file():
                    _run(config, sources, method, seed, len(dataset.class_names), plan, home)
        scores = scoring.collect(folder, dataset, config, plan)
        metrics = {**dataclasses.asdict(plan), **record, "config": settings, **scoring.summary(scores)}
        report.write(folder, dataset, metrics)
        atomic.write_json(folder / "metrics.json", metrics)
    return metrics


def _run(config, sources: tasks.Sources, method: str, seed: int, classes: int, plan: Plan, home: Path) -> None:
    start, learner, validated, losses = time.perf_counter(), None, [], np.zeros((0, 2))
    if method in UNTRAINED_METHODS:
        chosen = untrained.predict(method, sources, config.minibatch, seed)
    else:
        learner = _learner(config, sources, method, seed, classes, plan.weights)
        start = time.perf_counter()
        chosen, validated, losses = training.train(learner, sources, plan.oracle)
    result = {
        "method": method,
        "seed": seed,
        "step": chosen.step,
        "validation_accuracy": chosen.validation_accuracy,
        "validations": [[each.step, each.validation_accuracy] for each in validated],
        "last_losses": losses[-20:].mean(axis=0).round(4).tolist() if len(losses) else [],
        "seconds": round(time.perf_counter() - start, 1),
    }
    every = {f"step{each.step}": each.prediction for each in validated if each.prediction is not None}
    with atomic.new_folder(home) as partial:
        np.savez(partial / "predictions.npz", chosen=chosen.prediction, **every)
        if learner is not None:
            learner.save(partial)
        atomic.write_json(partial / "result.json", result)


def _learner(config, sources: tasks.Sources, method: str, seed: int, classes: int, weights: str) -> training.Learner:
    keras.utils.set_random_seed(seed)
    if config.backbone == "imported":
        head = AdaptiveHead(config, sources.target.shape[-1], classes, method)
        return training.FeatureLearner(head, seed)
    features = backbone.build(config, sources, weights)
    return training.Learner(features, AdaptiveHead(config, features.output_shape[-1], classes, method), seed)
