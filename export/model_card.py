"""The page that lies beside an exported model: what it is, how good, for what, and how it is called."""

import dataclasses
from collections.abc import Sequence

from sib_tf import templates
from sib_tf.config import SIBConfig
from sib_tf.errors import InputError
from sib_tf.prediction import trained_run
from sib_tf.storage import atomic

FILE = "MODEL_CARD.md"
# What is read of metrics.json.
_METRICS = {"summary": str, "model": dict, "backbone": dict}


def load_metrics(paths: Sequence[str], run: trained_run.Run) -> list[str]:
    """Returns the summaries of metrics files of `train.evaluate`.

    What they say of their model must be true of this one; that does not tell two trainings alike apart.

    Raises:
        InputError: a file is missing, is not such a file, or is of another model.
    """
    summaries = []
    for path in paths:
        metrics = atomic.read_json(path, "metrics")
        if not isinstance(metrics, dict) or not all(isinstance(metrics.get(k), kind) for k, kind in _METRICS.items()):
            raise InputError(f"metrics {path} is not a file that train.evaluate writes.")
        summary, config = metrics["summary"], dataclasses.asdict(run.sib.config)
        # Settings that there were not yet are at their defaults.
        measured = dataclasses.asdict(SIBConfig()) | metrics["model"]
        if measured["feature_dim"] is None:  # Of any length; here it is bound to one.
            measured["feature_dim"] = config["feature_dim"]
        if differing := sorted(name for name, value in config.items() if measured[name] != value):
            differing = ", ".join(differing)
            raise InputError(f"metrics are of another model ({differing} differ): {summary} Name those of model_dir.")
        if metrics["backbone"].get("weights") != run.description()["backbone"]["weights"]:
            raise InputError(f"metrics are of a model with another backbone: {summary} Name those of model_dir.")
        summaries.append(summary)
    return summaries


def text(description: dict, summaries: Sequence[str]) -> str:
    """Returns the card as Markdown, of a `trained_run.Run.description` and summaries of `load_metrics`."""
    return templates.render("model_card.md", "export", **description, summaries=summaries)
