"""Stage 2: meta-training of the SIB model on cached features, through its K unrolled steps."""

import dataclasses
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from sib_tf import runs
from sib_tf.any_backbone import virtual_backbones
from sib_tf.config import MetaTrainConfig, SIBConfig
from sib_tf.devices import Devices
from sib_tf.episodes import EpisodeRows, EpisodeSampler, fingerprint, stream
from sib_tf.errors import InputError
from sib_tf.evaluation import Evaluator
from sib_tf.features import FeatureCache
from sib_tf.outer_steps import Trainer
from sib_tf.sib import SIB
from sib_tf.snapshots import Snapshots
from sib_tf.storage import preemption

# The validation list is the same for every run, so that runs can be compared.
VALIDATION_SEED = 1


class DivergenceError(InputError):
    """A loss that is not finite, at outer step `step`, counted from 1: the settings are too wild."""

    def __init__(self, message: str, step: int):
        super().__init__(message)
        self.step = step


def meta_train(
    caches: FeatureCache | Sequence[FeatureCache],
    model_config: SIBConfig,
    config: MetaTrainConfig,
    output_dir: str | os.PathLike,
    devices: Devices | None = None,
) -> float:
    """Meta-trains a SIB model and keeps the one that is best on the validation list.

    Writes to `output_dir`: `config.json`, `best.keras`, `last.keras`, `training/` (the state that the same call goes
    on from), `tensorboard/`.

    Args:
        caches: of one backbone; or of several, of which every outer step takes episodes of each specification. A model
            for them has a `feature_dim` of None.
        output_dir: the run's folder; the same one for all workers.
        devices: what to compute on; None: one device. The parameters are the same up to rounding.

    Returns:
        The best validation accuracy, in [0, 1].

    Raises:
        InputError: the folder holds another run or is in use, the split is too small for the episodes, or replicas
            cannot share them evenly.
        DivergenceError: a loss is not finite; the message names the step, and the state before it is kept.
        Preempted: SIGTERM came; the state is saved.
    """
    output_dir, devices = Path(output_dir), devices or Devices()
    caches = list(caches) if isinstance(caches, Sequence) else [caches]
    devices.check_shared("batch_episodes", config.batch_episodes)  # Before the folder is claimed.
    train, validation = ([cache.table(split) for cache in caches] for split in ("train", "validation"))
    lists = validation_lists(caches, config)
    samplers = training_samplers(caches, config)
    record = run_record(caches, model_config, config, lists)
    if config.longest_feature:
        if model_config.feature_dim is not None:
            raise InputError("longest_feature is for models of features of any length: give any_feature_dim too.")
        train = [virtual_backbones.projected(table, config.longest_feature, i) for i, table in enumerate(train)]
    with runs.training(output_dir, record, config.seed, devices, "from the last validation") as folder:
        with devices.strategy.scope():
            model = SIB(model_config, name="sib")  # By default the name counts the models of the process.
            model.build()
            trainer = Trainer(model, train, config, devices=devices)
        # The training goes on meanwhile, and has a core at least.
        lists = [Evaluator(rows, max(os.cpu_count() - 1, 1)) for rows in lists]
        with Snapshots(trainer, lists, validation, folder, devices) as snapshots:
            snapshots.restore(output_dir / "training")
            _train(trainer, snapshots, [_calls(each, config, snapshots.step) for each in samplers], devices)
    return snapshots.best


def training_samplers(caches: Sequence[FeatureCache], config: MetaTrainConfig) -> list[EpisodeSampler]:
    """Returns a sampler for each cache and specification of the training episodes, with seeds apart."""
    kinds = itertools.product(caches, (config.episodes, *config.mixture))
    return [
        EpisodeSampler(cache.labels("train"), spec, config.seed + (i << 32), cache.views)
        for i, (cache, spec) in enumerate(kinds)
    ]


def validation_lists(caches: Sequence[FeatureCache], config: MetaTrainConfig) -> list[EpisodeRows]:
    """Returns the fixed validation list of each cache and specification."""
    kinds = itertools.product(caches, (config.validation, *config.mixture))
    return [
        EpisodeSampler(cache.labels("validation"), spec, VALIDATION_SEED).sample(config.validation_episodes)
        for cache, spec in kinds
    ]


def run_record(
    caches: Sequence[FeatureCache], model_config: SIBConfig, config: MetaTrainConfig, lists: list[EpisodeRows]
) -> dict:
    """Returns what `config.json` holds: the model, its training, the features it belongs to, the validation lists."""
    return {
        "model": dataclasses.asdict(model_config),
        "meta_training": dataclasses.asdict(config),
        "features": caches[0].identity if len(caches) == 1 else [cache.identity for cache in caches],
        "validation_episode_hashes": [fingerprint(rows) for rows in lists],
    }


def _train(trainer: Trainer, snapshots: Snapshots, calls: list[Iterator[EpisodeRows]], devices: Devices) -> None:
    """Trains between validations, and shows where it is."""
    config, step, losses = trainer.config, snapshots.step, snapshots.losses
    bar = tqdm(total=config.steps, initial=step, unit="step", desc="meta-train", disable=not devices.chief)
    with bar as progress, preemption.notice() as notice:
        for rows in zip(*calls, strict=True):
            if devices.any(notice.given):
                snapshots.save(step, losses)
                raise preemption.Preempted(f"The state of step {step} is saved; the same command goes on from there.")
            found = trainer.steps(rows).numpy()
            if not np.isfinite(found).all():
                snapshots.finish()
                raise _divergence(found, step, snapshots)
            losses = np.append(losses, found)
            step += len(found)
            progress.update(len(found))
            if step % config.validate_every == 0 or step == config.steps:
                loss, losses = losses.mean(), losses[:0]
                snapshots.validate(step, loss, progress)
        snapshots.finish()


def _divergence(losses: np.ndarray, step: int, snapshots: Snapshots) -> DivergenceError:
    """Of the losses of the steps after `step`."""
    wrong = int(np.argmin(np.isfinite(losses)))
    step += wrong + 1
    message = (
        f"The loss became {losses[wrong]} at step {step}; lower learning_rate or inner_learning_rate. The state of "
        f"step {snapshots.step} and the best model are kept in {snapshots.output_dir}."
    )
    return DivergenceError(message, step)


def _calls(sampler: EpisodeSampler, config: MetaTrainConfig, step: int) -> Iterator[EpisodeRows]:
    """Yields `[steps, batch_episodes, ...]` rows, call after call, from `step` on; no call goes beyond a validation.

    They are drawn ahead as long as calls have as many steps.
    """
    length = 0
    while step < config.steps:
        to_validation = config.validate_every - step % config.validate_every
        count = min(config.steps_per_call, to_validation, config.steps - step)
        if count != length:
            ahead, length = iter(stream(sampler, count, config.batch_episodes, step)), count
        yield next(ahead)
        step += count
