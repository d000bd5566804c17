"""Trains every method on every (target, seed), scores the predictions, and writes the report.

What is done stays: a finished (target, method, seed) is a whole folder, and is read, not trained again.
"""

import dataclasses
import os
import time
from pathlib import Path

import keras
import numpy as np

from sib_tf import checkpoints
from sib_tf.datasets.domains import DomainDataset
from sib_tf.errors import InputError, require, require_choice
from sib_tf.storage import atomic, run_lock
from sib_tf.zero_shot.config import DOMAIN_METHODS, DomainAdaptationConfig
from sib_tf.zero_shot.domain_adaptation import figures, page, scoring, starting, tasks, training
from sib_tf.zero_shot.domain_adaptation.model import AdaptiveHead

RESULT, PREDICTIONS = "result.json", "predictions.npz"


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes:
        targets: domains, each in turn without labels.
        methods: of `DOMAIN_METHODS`.
        seeds: of weights, order and augmentation.
        weights: of the backbone, as in `starting.backbone`.
        oracle: whether the target is predicted at every validation, to show what the best checkpoint would have had.
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
    """Runs the plan; writes `<target>/<method>-<seed>/`, `metrics.json`, `report.md` and its figures.

    Returns:
        The content of `metrics.json`.

    Raises:
        InputError: an unknown target, too few pictures, or the folder holds a run of another configuration or is
            in use.
    """
    for target in plan.targets:
        require_choice("target", target, tuple(dataset.domains))
    _check_sizes(dataset, config)
    folder = Path(output_dir)
    record = {"dataset": dataset.name, "digest": dataset.digest, "weights": plan.weights, "oracle": plan.oracle}
    with run_lock.held(folder):
        checkpoints.claim_folder(folder, {**record, "domain_adaptation": dataclasses.asdict(config)})
        return _run(dataset, config, plan, record, folder)


def _run(dataset: DomainDataset, config: DomainAdaptationConfig, plan: Plan, record: dict, folder: Path) -> dict:
    for target in plan.targets:
        sources = tasks.split(dataset, target, config.validation_fraction)
        for seed in plan.seeds:
            for method in plan.methods:
                home = folder / target / f"{method}-{seed}"
                if not (home / RESULT).is_file():
                    _train(config, sources, method, seed, len(dataset.class_names), plan, home)
    scores = scoring.collect(folder, dataset, config, plan)
    metrics = {**record, "config": dataclasses.asdict(config), **dataclasses.asdict(plan), **scoring.summary(scores)}
    figures.pictures_figure(dataset, folder / "domains.png")
    figures.accuracy_figure(metrics, folder / "accuracy.png")
    atomic.write_json(folder / "metrics.json", metrics)
    atomic.write_text(folder / "report.md", page.text(metrics))
    return metrics


def _train(config, sources: tasks.Sources, method: str, seed: int, classes: int, plan: Plan, home: Path) -> None:
    keras.utils.set_random_seed(seed)
    backbone = starting.backbone(config, sources, plan.weights)
    head = AdaptiveHead(config, backbone.output_shape[-1], classes, method)
    learner = training.Learner(backbone, head, seed)
    start = time.perf_counter()
    trained = training.train(learner, sources, plan.oracle)
    chosen = trained.chosen
    result = {
        "method": method,
        "seed": seed,
        "step": chosen.step,
        "validation_accuracy": chosen.validation_accuracy,
        "validations": [[each.step, each.validation_accuracy] for each in trained.all],
        "last_losses": trained.losses[-20:].mean(axis=0).round(4).tolist(),
        "seconds": round(time.perf_counter() - start, 1),
    }
    every = {f"step{each.step}": each.prediction for each in trained.all if each.prediction is not None}
    with atomic.new_folder(home) as partial:
        np.savez(partial / PREDICTIONS, chosen=chosen.prediction, **every)
        backbone.save(partial / "backbone.keras")
        head.save(partial / "head.keras")
        atomic.write_json(partial / RESULT, result)


def _check_sizes(dataset: DomainDataset, config: DomainAdaptationConfig) -> None:
    for domain, pictures in dataset.domains.items():
        if len(pictures.labels) < config.minibatch:
            raise InputError(
                f"minibatch must be at most the pictures of a domain, {len(pictures.labels)} for {domain}; "
                f"got {config.minibatch}."
            )
