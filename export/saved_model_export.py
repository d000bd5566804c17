"""A trained model to one version of a SavedModel that is checked before it appears."""

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from export import model_card, verification
from export.serving import ServingSignatures
from sib_tf.config import EpisodeSpec
from sib_tf.datasets import MetaDataset, Split
from sib_tf.episodes import EpisodeSampler
from sib_tf.errors import InputError
from sib_tf.features import centre_crop
from sib_tf.prediction import trained_run
from sib_tf.prediction.models import CONFIG, KerasModel, SavedModel
from sib_tf.storage import atomic, digests, run_lock

# What is read of metrics.json.
_METRICS = {"summary": str, "model": dict, "backbone": dict}
CARD, EXAMPLE = "MODEL_CARD.md", "example_request.json"


def version_folder(output_dir: str | os.PathLike, version: int | None) -> Path:
    """Returns the folder of a version, by default the one after the highest.

    Raises:
        InputError: the version is there already: a server may be using it.
    """
    root = Path(output_dir)
    names = [child.name for child in root.iterdir()] if root.is_dir() else []
    # As the server does: "٣" is a digit too.
    there = [int(name) for name in names if name.isascii() and name.isdigit()]
    version = max(there, default=0) + 1 if version is None else version
    if version in there:
        raise InputError(f"version {version} is in {root} already; name another, or leave --version out.")
    return root / str(version)


def load_metrics(paths: Sequence[str]) -> list[dict]:
    """Reads metrics files of `train.evaluate`.

    Raises:
        InputError: a file is missing or is not such a file.
    """
    metrics = [atomic.read_json(path, "metrics") for path in paths]
    for path, values in zip(paths, metrics, strict=True):
        if not isinstance(values, dict) or not all(
            isinstance(values.get(name), kind) for name, kind in _METRICS.items()
        ):
            raise InputError(f"metrics {path} is not a file that train.evaluate writes.")
    return metrics


def export(
    run: trained_run.Run, data: MetaDataset, folder: Path, metrics: list[dict], episodes: int, spec: EpisodeSpec
) -> str:
    """Writes `folder`, if the SavedModel does what the trained model does.

    Args:
        run: the trained model.
        data: its data set: the comparison and the example use test classes.
        folder: of the version.
        metrics: what `train.evaluate` measured, for the model card.
        episodes, spec: of the comparison.

    Returns:
        The comparison as a table.

    Raises:
        InputError: the metrics are another model's, or the SavedModel differs from the model; nothing is written.
    """
    description = {**run.description(), "max_support": None, "max_query": None, "precision": "float32"}
    _check_metrics(metrics, run, description["backbone"]["weights"])
    reference = verification.Reference(KerasModel(run), data.test, spec, episodes)
    with run_lock.held(folder, beside=True), atomic.new_folder(folder) as partial:
        if folder.exists():
            raise InputError(f"{folder} was written by another process meanwhile; start again for the next version.")
        ServingSignatures(run.signatures()).archive().write_out(partial, verbose=False)
        # TensorFlow's own files: the card and the example may be edited.
        atomic.write_json(partial / CONFIG, {**description, "files": digests.of_folder(partial)})
        atomic.write_text(partial / CARD, model_card.text(description, metrics))
        # On one line: indented, its pixels would take eight times the space.
        atomic.write_text(partial / EXAMPLE, json.dumps(example_request(data.test, run, spec)))
        verdict = reference.judge(partial, SavedModel(partial), f"{folder.parent.name}/{folder.name}")
        if verdict.failures:
            raise InputError(
                f"The SavedModel does not do what the model does ({'; '.join(verdict.failures)}); nothing was written."
            )
    return verification.table([verdict])


def example_request(split: Split, run: trained_run.Run, spec: EpisodeSpec) -> dict:
    """Returns a body for TF Serving's REST predict call: one episode of real pictures, two queries a class."""
    spec = EpisodeSpec(way=spec.way, shot=1, query=min(2, spec.query[1]))
    rows = EpisodeSampler(split.labels, spec, seed=0).sample(1)
    images = centre_crop(split.images, run.backbone_config.image_size)
    inputs = {
        "support_images": images[rows.support],
        "support_labels": rows.support_labels,
        "support_mask": rows.support_mask,
        "query_images": images[rows.query],
        "query_mask": rows.query_mask,
    }
    return {"signature_name": "serving_default", "inputs": {k: np.asarray(v).tolist() for k, v in inputs.items()}}


def _check_metrics(metrics: list[dict], run: trained_run.Run, backbone_weights: str) -> None:
    """What metrics say of their model must be true of this one; they do not tell two trainings alike apart."""
    config = dataclasses.asdict(run.sib.config)
    for values in metrics:
        if differing := sorted(name for name, value in config.items() if values["model"].get(name) != value):
            raise InputError(
                f"metrics are of another model ({', '.join(differing)} differ): {values['summary']} Name those of "
                "model_dir."
            )
        if values["backbone"].get("weights") != backbone_weights:
            raise InputError(
                f"metrics are of a model with another backbone: {values['summary']} Name those of model_dir."
            )
