"""Calibration: errors worked by hand, temperatures recovered from data that has them, the same answers exported."""

import dataclasses

import exported
import numpy as np
import pytest
from scipy import special

from sib_tf import calibration
from sib_tf.calibration import Calibration
from sib_tf.errors import InputError
from sib_tf.features import weights_fingerprint
from sib_tf.prediction.litert import LiteRTModel
from sib_tf.prediction.models import KerasModel
from sib_tf.prediction.signatures import Signatures

SOME = Calibration(offset=(0.1, 0.2, 0.3, -0.4), slope=(0.0, -1.0, 2.0, -3.0), model="x")


def drawn(episodes, queries, temperature, seed=0, way=4):
    """Logits `[episodes, queries, way]` of varied sharpness, and labels drawn from softmax(logits / temperature)."""
    random = np.random.RandomState(seed)
    logits = random.normal(0, 1, (episodes, queries, way)) * random.uniform(1, 6, (episodes, 1, 1))
    p = special.softmax(logits / temperature(logits)[:, None, None], axis=-1)
    labels = (p.cumsum(-1) < random.random_sample((episodes, queries, 1))).sum(-1)
    return logits, np.minimum(labels, way - 1)


def test_quality_of_four_answers_by_hand():
    """Confidences 0.9 (right), 0.9 (wrong), 0.6 (right) and a masked one: two bins, gaps 0.4 and 0.4."""
    p = np.array([[[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [1.0, 0.0]]])
    found = calibration.quality(p, np.array([[0, 1, 1, 1]]), np.array([[True, True, True, False]]))
    assert found["ece"] == pytest.approx(2 / 3 * 0.4 + 1 / 3 * 0.4)
    assert found["nll"] == pytest.approx(-(np.log(0.9) + np.log(0.1) + np.log(0.6)) / 3)
    np.testing.assert_allclose(found["bins"], [[0.6, 1, 1 / 3], [0.9, 0.5, 2 / 3]])


def test_temperature_by_hand_and_whatever_is_masked():
    logits = np.array([[[2.0, 0.0], [0.0, 1.0], [9.0, 0.0]]], np.float32)
    mask = np.array([[True, True, False]])
    mean = (special.expit(2.0) + special.expit(1.0)) / 2
    expected = np.exp(0.3 + 2.0 * (mean - 0.7))
    np.testing.assert_allclose(SOME.temperature(logits, 2, mask), [expected], rtol=1e-6)
    logits[0, 2] = -50
    np.testing.assert_allclose(SOME.temperature(logits, 2, mask), [expected], rtol=1e-6)
    np.testing.assert_allclose(SOME.temperature(logits[:, :2], 2), [expected], rtol=1e-6)
    np.testing.assert_allclose(SOME.temperature(logits, 2, np.zeros((1, 3), bool)), [np.exp(0.3)], rtol=1e-6)


def test_temperatures_are_those_of_every_step():
    logits = np.random.RandomState(0).normal(size=(2, len(SOME.offset), 6, 3)).astype("f")
    for mask in (None, np.arange(6)[None] < [[6], [4]]):
        expected = [SOME.temperature(logits[:, step], step, mask) for step in range(len(SOME.offset))]
        np.testing.assert_allclose(SOME.temperatures(logits, mask), np.stack(expected, axis=1), rtol=1e-6)


def test_one_temperature_is_recovered():
    logits, labels = drawn(200, 100, lambda x: np.full(len(x), 2.5))
    mask = np.ones(labels.shape, bool)
    found = calibration.fit(logits[None], labels, mask, "x")
    temperature = np.asarray(found.temperature(logits.astype(np.float32), 0))
    np.testing.assert_allclose(temperature, 2.5, rtol=0.06)
    before, after = (
        calibration.quality(calibration.probabilities(logits, mask, use, 0), labels, mask) for use in (None, found)
    )
    assert after["ece"] < 0.01 < 0.1 < before["ece"]
    assert after["nll"] < before["nll"]


def test_temperatures_that_follow_the_confidence_are_recovered():
    def follow(logits):
        return np.exp(0.5 - 2.0 * (special.softmax(logits, axis=-1).max(-1).mean(-1) - 0.7))

    logits, labels = drawn(300, 100, follow)
    found = calibration.fit(logits[None], labels, np.ones(labels.shape, bool), "x")
    np.testing.assert_allclose((found.offset[0], found.slope[0]), (0.5, -2.0), atol=0.2)


def test_answers_do_not_change():
    logits, _ = drawn(20, 30, lambda x: np.ones(len(x)))
    mask = np.ones((20, 30), bool)
    plain, calibrated = (calibration.probabilities(logits, mask, use, 1) for use in (None, SOME))
    assert (plain.argmax(-1) == calibrated.argmax(-1)).all()
    np.testing.assert_allclose(calibrated.sum(-1), 1, atol=1e-6)


def test_is_kept_and_refused_for_other_weights(tmp_path):
    assert calibration.load(tmp_path, "x") is None
    SOME.save(tmp_path / calibration.FILE)
    assert calibration.load(tmp_path, "x") == SOME
    with pytest.raises(InputError, match=r"calibration\.json was fitted for other weights; fit it again with"):
        calibration.load(tmp_path, "y")
    (tmp_path / calibration.FILE).write_text("{}")
    with pytest.raises(InputError, match="not a whole Calibration"):
        calibration.load(tmp_path, "x")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose folder holds a calibration."""
    folder = exported.write_run(tmp_path_factory.mktemp("run"))
    plain = exported.load_run(folder)
    assert plain.calibration is None
    fitted = dataclasses.replace(SOME, model=weights_fingerprint(plain.sib))
    fitted.save(folder / "sib" / calibration.FILE)
    return exported.load_run(folder)


def test_exported_probabilities_are_the_calibrated_ones_padding_or_not(run, tmp_path):
    plain, keras_model = Signatures(run.backbone, run.sib), KerasModel(run)
    static = LiteRTModel(exported.write_tflite(run, tmp_path / "model.tflite", 5, 5, 30))
    features, labels = keras_model.embed(exported.pictures(25)), np.arange(3, dtype=np.int32)
    support, query = features[:3], features[3:]
    path = plain.adapt(support[None], labels[None], query[None], way=3)["weights_by_step"].numpy()
    found = {model: model.adapt(support, labels, query) for model in (keras_model, static)}
    for step in range(4):
        logits = plain.classify(query[None], path[:, step])["logits"].numpy()
        expected = calibration.probabilities(logits, np.ones((1, 22), bool), run.calibration, step)
        for model, atol in ((keras_model, 1e-5), (static, 1e-4)):
            found_logits, probabilities = model.classify(query, found[model][step])
            np.testing.assert_allclose(found_logits, logits[0], atol=1e-4)
            np.testing.assert_allclose(probabilities, expected[0], atol=atol)
    assert run.description()["calibrated"]
