"""Files that earlier versions wrote are still read, and give what they gave."""

from pathlib import Path

import numpy as np
import pytest
from exported import load_run, pictures

from sib_tf.prediction.litert import LiteRTModel
from sib_tf.prediction.models import KerasModel

FOLDER = Path(__file__).with_name("written_before")
LABELS = np.arange(5)


@pytest.mark.parametrize("kind", ["per_class", "joint"])
def test_keras_files_still_load(kind):
    check(KerasModel(load_run(FOLDER / kind)), kind, atol=1e-5)


def test_tflite_files_still_load():
    check(LiteRTModel(FOLDER / "model.tflite"), "per_class", atol=1e-4)


def check(model, kind: str, atol: float) -> None:
    with np.load(FOLDER / "answers.npz") as answers:
        features = model.embed(pictures(12, seed=1))
        np.testing.assert_allclose(features, answers[f"{kind}_features"], atol=atol)
        path = model.adapt(features[:5], LABELS, features[5:])
        np.testing.assert_allclose(path, answers[f"{kind}_path"], atol=atol)
        logits, _ = model.classify(features[5:], path[-1])
        np.testing.assert_allclose(logits, answers[f"{kind}_logits"], atol=10 * atol)
