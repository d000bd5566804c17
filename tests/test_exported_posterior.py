"""Files of models with a gaussian posterior: classified by its mean, or by samples that say how far they disagree."""

import dataclasses

import exported
import numpy as np
import pytest
import tensorflow as tf

from export.serving import ServingSignatures
from sib_tf.calibration import Calibration
from sib_tf.distributions import MOST_CLASSES, disagreement, mixture_logits
from sib_tf.errors import InputError
from sib_tf.prediction.litert import LiteRTModel
from sib_tf.prediction.models import KerasModel, SavedModel

WAY, SAMPLES = 3, 4
STATIC = {"way": 5, "max_support": 10, "max_query": 12}
LABELS = np.repeat(np.arange(WAY), 2)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    config = {"prior": "gaussian", "posterior": "gaussian", "posterior_samples": SAMPLES, "kl_weight": 0.01}
    return exported.write_run(tmp_path_factory.mktemp("posterior"), num_steps=1, **config)


@pytest.fixture(scope="module")
def features(home):
    found = KerasModel(exported.load_run(home)).embed(exported.pictures(14))
    return found[:6], found[6:]


def test_disagreement_by_hand():
    """Two samples: of one mind, no disagreement; each sure of another class, log 2; the mixture's probabilities too."""
    sure = [[30.0, 0.0], [0.0, 30.0]]
    logits = tf.constant([[[sure[0], sure[0]], [sure[0], sure[1]]]], tf.float32)  # [1, 2 samples, 2 queries, 2]
    np.testing.assert_allclose(disagreement(logits), [[0, np.log(2)]], atol=1e-5)
    np.testing.assert_allclose(tf.nn.softmax(mixture_logits(logits)), [[[1, 0], [0.5, 0.5]]], atol=1e-5)


def test_without_samples_the_mean_classifies(home, features):
    support, query = features
    run = exported.load_run(home)
    path, _ = run.sib.adapt(support[None], LABELS[None], query[None], way=WAY)
    means = np.stack([run.sib.mean_weights(theta)[0] for theta in path])
    model = KerasModel(run)
    found = model.adapt(support, LABELS, query)
    np.testing.assert_allclose(found, means, atol=1e-5)
    with pytest.raises(InputError, match="has no samples of a posterior"):
        model.uncertainty(query, found[-1])


@pytest.mark.parametrize(("limits", "calibrated"), [({}, False), (STATIC, True)])
def test_samples_classify_together_everywhere(home, features, tmp_path, limits, calibrated):
    """Keras and both kinds of LiteRT file, against the model's own predictions."""
    support, query = features
    run = exported.load_run(home, SAMPLES)
    if calibrated:
        fitted = Calibration(offset=(0.1, 0.4), slope=(0.0, 0.5), model="any")
        run = dataclasses.replace(run, calibration=fitted)
    path, _ = run.sib.adapt(support[None], LABELS[None], query[None], way=WAY)
    logits = run.sib.classify(path[-1], query[None])
    sampled = run.sib.sampled_logits(path[-1], query[None])
    temperature = 1.0 if not calibrated else run.calibration.temperature(logits, 1)[0]
    expected = tf.nn.softmax(logits[0] / temperature)
    model = LiteRTModel(exported.write_tflite(run, tmp_path / "samples.tflite", **limits))
    weights = model.adapt(support, LABELS, query)[-1]
    assert weights.shape == (WAY, SAMPLES * query.shape[1])
    found_logits, probabilities = model.classify(query, weights)
    np.testing.assert_allclose(found_logits, logits[0], atol=1e-4)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    np.testing.assert_allclose(model.uncertainty(query, weights), disagreement(sampled)[0], atol=1e-5)
    assert np.asarray(disagreement(sampled)).max() > 1e-4
    keras_model = KerasModel(run)
    np.testing.assert_allclose(keras_model.adapt(support, LABELS, query)[-1], weights, atol=1e-4)
    np.testing.assert_allclose(keras_model.uncertainty(query, weights), model.uncertainty(query, weights), atol=1e-5)


def test_a_server_gives_the_uncertainty_too(home, tmp_path):
    run = exported.load_run(home, SAMPLES)
    exported.write_saved_model(run, tmp_path)
    pictures = exported.pictures(14)
    masks = {"support_mask": np.ones((1, 6), bool), "query_mask": np.arange(8)[None] < 6}
    inputs = {"support_images": pictures[None, :6], "query_images": pictures[None, 6:], **masks}
    inputs["support_labels"] = LABELS[None].astype("i")
    serve = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    result = serve(**{name: tf.constant(value) for name, value in inputs.items()})
    keras_model = KerasModel(run)
    support, query = keras_model.embed(pictures[:6]), keras_model.embed(pictures[6:12])
    path, _ = run.sib.adapt(support[None], LABELS[None], query[None], way=WAY)
    expected = disagreement(run.sib.sampled_logits(path[-1], query[None]))
    np.testing.assert_allclose(result["uncertainty"][0, :6], expected[0], atol=1e-5)
    assert not result["uncertainty"].numpy()[0, 6:].any()
    weights = SavedModel(tmp_path).adapt(support, LABELS, query)[-1]
    assert weights.shape == (WAY, SAMPLES * query.shape[1])


def test_a_point_has_nothing_to_sample():
    with pytest.raises(InputError, match="posterior_samples must be 0 for a model with posterior=dirac; got 2"):
        exported.load_run(exported.run_folder(), samples=2)


def test_more_classes_than_the_noise_has_are_refused(home, tmp_path):
    """By the runners' checks, and by a server's graph."""
    run = exported.load_run(home, SAMPLES)
    many = MOST_CLASSES + 1
    features = np.ones((many, run.sib.config.feature_dim), np.float32)
    with pytest.raises(InputError, match=f"way must be at most {MOST_CLASSES} for a model with a gaussian posterior"):
        KerasModel(run).adapt(features, np.arange(many), features)
    serving, masks = ServingSignatures(run.signatures()), np.ones((1, many), bool)
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"support rows, nor than {MOST_CLASSES}"):
        serving.adapt(features[None], np.arange(many, dtype="i")[None], masks, features[None], masks)
