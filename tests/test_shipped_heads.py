"""The heads that ship: their files, their folders and the model agree, and they do what they are there for."""

import numpy as np
import pytest
from running import run

from export import tflite
from sib_tf import SIBClassifier, heads, runs
from sib_tf.calibration import calibrate
from sib_tf.config import EpisodeSpec
from sib_tf.errors import InputError
from sib_tf.prediction import trained_run
from sib_tf.prediction.litert import LiteRTModel
from sib_tf.prediction.models import KerasModel
from sib_tf.prediction.signatures import Signatures

DIM = 40


def episode(seed: int, counts, shots=1, dim: int = DIM, noise: float = 1.2, gap: float = 0.0):
    """Support, labels, queries and their classes, around random centres; `counts` are queries of each class.

    The queries are moved by a random offset of that length.
    """
    random = np.random.RandomState(seed)
    labels, truth = (np.repeat(range(len(counts)), each) for each in (np.broadcast_to(shots, len(counts)), counts))
    centres, offset = random.normal(size=(len(counts), dim)), gap * random.normal(size=dim)
    support, query = (centres[of] + noise * random.normal(size=(len(of), dim)) for of in (labels, truth))
    return support.astype(np.float32), labels, (query + offset).astype(np.float32), truth


@pytest.fixture(scope="module")
def general():
    return LiteRTModel(heads.path("general"))


@pytest.mark.parametrize("name", heads.NAMES)
@pytest.mark.parametrize(("dim", "way"), [(40, 5), (7, 3)])
def test_file_and_folder_agree_with_the_model(name, dim, way):
    sib, _ = runs.load_model(name)
    support, labels, query, _ = episode(0, [6] * way, 2, dim)
    path, class_mask = sib.adapt(support[None], labels[None], query[None], way=way)
    expected, found = np.array(sib.classify(path[-1], query[None], class_mask)[0]), []
    for model in (LiteRTModel(heads.path(name)), KerasModel(trained_run.load_head(name, None))):
        logits, probabilities = model.classify(query, model.adapt(support, labels, query)[-1])
        np.testing.assert_allclose(logits, expected, atol=1e-3)
        # Calibration is a temperature: the most probable class stays.
        np.testing.assert_array_equal(probabilities.argmax(axis=1), expected.argmax(axis=1))
        found.append(probabilities)
    np.testing.assert_allclose(*found, atol=1e-4)


def test_padding_and_batches_change_nothing():
    head = trained_run.load_head("general", DIM)
    signatures = Signatures(None, head.sib, head.calibration)
    support, labels, query, _ = episode(0, [6] * 4, 2)
    alone = signatures.adapt(support[None], labels[None], query[None], way=4)
    # Once padded behind, once before.
    rows = [np.concatenate([each, np.ones((3, DIM), np.float32)]) for each in (support, query)]
    support_mask, query_mask = (np.stack([mask, mask[::-1]]) for mask in (np.arange(len(r)) < len(r) - 3 for r in rows))
    supports, given, queries = (
        np.stack([each, each[::-1]]) for each in (rows[0], np.append(labels, [0, 0, 0]), rows[1])
    )
    together = signatures.adapt(supports, given, queries, support_mask, query_mask, way=6)["weights"]
    for weights in together:
        np.testing.assert_allclose(weights[:4], alone["weights"][0], atol=2e-5)
        assert not np.any(weights[4:])
    expected = signatures.classify(query[None], alone["weights"])["probabilities"]
    found = signatures.classify(query[None], together[:1])["probabilities"]
    np.testing.assert_allclose(found[..., :4], expected, atol=1e-5)
    assert not np.any(found[..., 4:])


def test_a_static_file_is_the_model_too(general, tmp_path):
    given = {"model_dir": "general", "feature_dim": DIM, "output": tmp_path / "head.tflite", "episodes": 2}
    assert run(tflite, given, head_only=True, way=6, max_support=20, max_query=40) == 0
    support, labels, query, _ = episode(0, [6] * 4, 2)
    static = LiteRTModel(tmp_path / "head.tflite")
    weights = static.adapt(support, labels, query)
    assert static.description["weights_dim"] == weights.shape[-1] == 2 * DIM
    np.testing.assert_allclose(weights, general.adapt(support, labels, query), atol=1e-4)


@pytest.mark.parametrize(
    ("counts", "shots", "gap", "least"),
    [
        ([15] * 5, 1, 0.0, 0.05),
        ([30, 20, 10, 10, 5], 1, 0.0, 0.0),
        ([30, 5, 2, 2, 1], 5, 0.0, 0.0),
        ([8] * 5, (1, 2, 5, 20, 40), 0.0, 0.0),
        ([15] * 5, 5, 2.0, 0.05),
    ],
    ids=["even", "uneven", "very uneven", "uneven labels", "another domain"],
)
def test_the_general_head_gains_on_piles_of_every_kind(general, counts, shots, gap, least):
    """In the mean over 30 draws, over nearest prototypes of the rows as they are."""
    gains = []
    for seed in range(30):
        support, labels, query, truth = episode(seed, counts, shots, noise=2.0, gap=gap)
        prototypes = np.stack([_unit(support[labels == c]).mean(axis=0) for c in range(5)])
        before = (_unit(query) @ _unit(prototypes).T).argmax(axis=1)
        after = general.classify(query, general.adapt(support, labels, query)[-1])[1].argmax(axis=1)
        gains.append((after == truth).mean() - (before == truth).mean())
    assert np.mean(gains) > least


def test_the_classifier_takes_the_head_that_it_is_told_of():
    support, labels, query, truth = episode(3, [15] * 5)
    X, y = np.concatenate([support, query]), np.concatenate([labels, np.full(75, -1)])
    told = {balanced: SIBClassifier(balanced=balanced).fit(X, y) for balanced in (False, True)}
    files = {balanced: classifier._head.model.path.name for balanced, classifier in told.items()}
    assert files == {False: "general.tflite", True: "balanced.tflite"}
    shares = np.bincount(told[True].transduction_[5:], minlength=5)
    assert shares.max() - shares.min() <= 10
    assert (told[True].transduction_[5:] == truth).mean() > 0.5


def test_they_ship_calibrated(tiny_features):
    with pytest.raises(InputError, match=r"model_dir must be .*; head general ships calibrated"):
        calibrate(tiny_features, "general", EpisodeSpec(), episodes=10, seed=0)


def _unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
