"""The comparison of files with the trained model: passes what is equal, names what is not."""

import exported
import numpy as np
import pytest

from export import verification
from export.precisions import PRECISIONS
from sib_tf.config import EpisodeSpec
from sib_tf.episodes import EpisodeSampler
from sib_tf.prediction.model import SIGNATURES
from sib_tf.prediction.models import KerasModel

SPEC = EpisodeSpec(way=5, shot=1, query=4)


@pytest.fixture(scope="module")
def model():
    return KerasModel(exported.load_run(exported.run_folder()))


@pytest.fixture(scope="module")
def reference(model, tiny_dataset):
    return verification.Reference(model, tiny_dataset.test, SPEC, episodes=6)


class Changed:
    """A model whose answers are changed on the way."""

    def __init__(self, model, precision="float32", **changes):
        self.description = {**model.description, "precision": precision}
        for name in SIGNATURES:
            answer, change = getattr(model, name), changes.get(name, lambda x: x)
            setattr(self, name, lambda *inputs, answer=answer, change=change: change(answer(*inputs)))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"x" * 1234)
    return path


def test_an_equal_model_passes(reference, model, file):
    verdict = reference.judge(file, Changed(model))
    assert verdict.failures == ()
    assert (verdict.features, verdict.weights, verdict.probabilities, verdict.disagreement) == (0, 0, 0, 0)
    assert (verdict.difference, verdict.difference_ci95) == (0, 0)
    assert (verdict.name, verdict.precision, verdict.bytes, verdict.episodes) == ("model.tflite", "float32", 1234, 6)
    assert verdict.accuracy == reference.itself.accuracy


@pytest.mark.parametrize(
    ("changes", "failure"),
    [
        ({"embed": lambda x: x + 1e-3 * np.abs(x).max()}, "features 0.001 > 1e-05"),
        ({"adapt": lambda x: x + 1e-3 * np.abs(x).max()}, "weights 0.001 > 0.0001"),
        ({"classify": lambda x: (x[0], x[1] + 0.01)}, "probabilities 0.01 > 0.0001"),
        ({"classify": lambda x: (x[0], np.roll(x[1], 1, axis=1))}, "disagreement 1 > 0.001"),
        ({"classify": lambda x: (x[0], x[1] * np.nan)}, "probabilities nan"),
        ({"embed": lambda x: np.where(np.arange(x.size).reshape(x.shape) == 5, np.float32("nan"), x)}, "features nan"),
    ],
)
def test_what_differs_is_named(reference, model, file, changes, failure, monkeypatch):
    # The model itself refuses NaN, as it should; here the comparison is on trial.
    monkeypatch.setattr("sib_tf.prediction.model.np.isfinite", lambda x: np.ones_like(x, bool))
    verdict = reference.judge(file, Changed(model, **changes))
    assert any(found.startswith(failure) for found in verdict.failures), verdict.failures
    assert failure in verification.table([verdict])


def test_int8_may_differ_in_values_but_not_in_accuracy(reference, model, file):
    noisy = Changed(model, "int8", embed=lambda x: x * 1.5)  # Cosines do not see the length.
    assert reference.judge(file, noisy).failures == ()
    rotated = Changed(model, "int8", classify=lambda x: (x[0], np.roll(x[1], 1, axis=1)))
    failures = " ".join(reference.judge(file, rotated).failures)
    assert "disagreement" in failures
    if reference.itself.accuracy > 0.4:
        assert "accuracy -" in failures


def test_episodes_are_those_of_the_sampler(model, tiny_dataset):
    """Pictures are embedded once each; the answers are still those of whole episodes."""
    split = tiny_dataset.test
    reference = verification.Reference(model, split, SPEC, episodes=3, seed=5)
    rows = EpisodeSampler(split.labels, SPEC, 5).sample(3)
    hits = []
    for support, labels, query, truth in zip(
        rows.support, rows.support_labels, rows.query, rows.query_labels, strict=True
    ):
        path = model.adapt(model.embed(split.images[support]), labels, model.embed(split.images[query]))
        probabilities = model.classify(model.embed(split.images[query]), path[-1])[1]
        hits.append((probabilities.argmax(1) == truth).mean())
    assert reference.itself.accuracy == pytest.approx(np.mean(hits), abs=1e-12)


@pytest.mark.parametrize(
    ("sizes", "descriptions", "way", "query"),
    [
        ([48] * 7, [{}], 5, 15),
        ([48, 9, 40], [{}], 3, 8),
        ([48] * 7, [{}, {"way": 3, "max_support": 9, "max_query": 50}], 3, 15),
        ([48] * 7, [{}, {"way": 20, "max_support": 4, "max_query": 10}, {"max_query": None}], 4, 2),
        ([48] * 7, [{}, {"way": 20, "max_support": 20, "max_query": 3}], 5, 1),
        ([48] * 7, [{"gradient_network": "joint", "way": 7}, {"way": 7, "max_support": 35, "max_query": 105}], 7, 15),
    ],
)
def test_episodes_fit_into_all_files_and_the_pictures_there_are(sizes, descriptions, way, query):
    spec = verification.episode_spec(np.repeat(np.arange(len(sizes)), sizes), *descriptions)
    assert spec == EpisodeSpec(way=way, shot=1, query=query)


@pytest.mark.parametrize(
    ("precision", "expected"),
    [("float32", (2e-4, 5e-4, 5e-4)), ("float16", (0.05, 0.05, 0.05)), ("int8", (np.inf, np.inf, np.inf))],
)
def test_deep_networks_may_round_more(precision, expected):
    limits = PRECISIONS[precision].limits.of_deep_network()
    assert (limits.features, limits.weights, limits.probabilities) == pytest.approx(expected)
    assert limits.disagreement == PRECISIONS[precision].limits.disagreement
