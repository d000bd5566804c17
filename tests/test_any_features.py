"""One head for features of any length: no weight has D, it trains on several caches, and goes under any backbone."""

import exported
import keras
import numpy as np
import pytest
from running import run

from export import tflite
from sib_tf import evaluation, runs
from sib_tf.config import EpisodeSpec, MetaTrainConfig, SIBConfig
from sib_tf.errors import InputError
from sib_tf.features import FeatureCache, extraction
from sib_tf.meta_training import meta_train
from sib_tf.prediction import trained_run
from sib_tf.prediction.litert import LiteRTModel
from sib_tf.prediction.models import KerasModel
from sib_tf.sib import SIB

SPEC = EpisodeSpec(way=(3, 3), query=(5, 5))
TRAINING = MetaTrainConfig(SPEC, SPEC, steps=20, batch_episodes=2, validate_every=10, validation_episodes=20)
# One step: compiling them is most of the time.
KIND = {"way": None, "gradient_network": "per_class", "inner_learning_rate": 0.1, "num_steps": 1}
MODEL = SIBConfig(feature_dim=None, **KIND)


class MemoryCache:
    """Random features of length D around the centres of 8 classes of 20."""

    views = 1

    def __init__(self, feature_dim: int):
        self.feature_dim, random = feature_dim, np.random.RandomState(feature_dim)
        centres = random.normal(size=(8, 1, feature_dim))
        self._table = (centres + 1.5 * random.normal(size=(8, 20, feature_dim))).astype(np.float32)
        self.identity = {"backbone": {"name": "none", "weights": f"of {feature_dim}"}}

    def table(self, split):
        return self._table.reshape(160, self.feature_dim)

    def labels(self, split):
        return np.repeat(np.arange(8), 20)


def episode(feature_dim: int):
    random = np.random.RandomState(0)
    support, query = (random.normal(size=(2, rows, feature_dim)).astype(np.float32) for rows in (6, 10))
    return support, np.arange(6)[None].repeat(2, 0) % 3, query


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A folder of a meta-training on features of lengths 6 and 9."""
    folder = tmp_path_factory.mktemp("any") / "sib"
    assert meta_train([MemoryCache(6), MemoryCache(9)], MODEL, TRAINING, folder) > 0.5  # Chance is 1/3.
    return folder


def test_no_weight_has_the_length_of_a_feature():
    model = SIB(MODEL)
    model.build()
    sized = SIB(SIBConfig(feature_dim=37, way=None, gradient_network="per_class"))
    sized.build()
    assert [weight.name for weight in sized.weights if 37 in weight.shape] == ["feature_scale"]
    assert model.initialization.feature_scale.shape == ()


def test_it_is_the_same_model_for_every_length(head):
    model, record = runs.load_model(head)
    assert [one["backbone"]["weights"] for one in record["features"]] == ["of 6", "of 9"]
    for feature_dim in (2, 6, 40):
        support, labels, query = episode(feature_dim)
        bound = model.bound(feature_dim)
        assert bound.initialization.feature_scale.shape == (feature_dim,)
        expected = model(support, labels, query, way=3)
        np.testing.assert_allclose(bound(support, labels, query, way=3), expected, rtol=1e-5, atol=1e-5)


def test_steps_learn_from_every_cache(head, tmp_path):
    """With the first cache alone, seeds and numbers are those of a model of its length whose vector a is one number."""
    alone = MemoryCache(6)
    fixed = {**KIND, "learned_initialization": False}
    weights = []
    for name, dim in (("any", None), ("own", 6)):
        meta_train(alone, SIBConfig(feature_dim=dim, **fixed), TRAINING, tmp_path / name)
        weights.append(runs.load_model(tmp_path / name)[0])
    for one, other in zip(
        weights[0].gradient_networks[0].weights, weights[1].gradient_networks[0].weights, strict=True
    ):
        np.testing.assert_array_equal(one, other)
    both = runs.load_model(head)[0].gradient_networks[0].weights
    assert any(
        not np.array_equal(one, other) for one, other in zip(both, weights[0].gradient_networks[0].weights, strict=True)
    )


def test_evaluation_takes_features_of_any_length(head):
    from sib_tf.episodes import EpisodeSampler

    model, _ = runs.load_model(head, "another backbone's", "whatever this is")
    for dim in (5, 30):
        cache = MemoryCache(dim)
        rows = EpisodeSampler(cache.labels("test"), SPEC, 0).sample(10)
        found = evaluation.Evaluator(rows)(model, cache.table("test")).accuracy
        expected = evaluation.Evaluator(rows)(model.bound(dim), cache.table("test")).accuracy
        np.testing.assert_array_equal(found, expected)


def test_it_goes_under_any_backbone_and_into_its_files(head, tmp_path, tiny_dataset):
    backbone = exported.run_folder() / "backbone"
    loaded = trained_run.load(head, backbone)
    assert loaded.sib.config.feature_dim == loaded.backbone.output_shape[-1] == 16
    extraction.extract(tiny_dataset, loaded.backbone, tmp_path / "features")
    given = {
        "model_dir": head,
        "features_dir": tmp_path / "features",
        "output": tmp_path / "head.tflite",
        "episodes": 3,
    }
    assert run(tflite, given, head_only=True) == 0
    table, model = FeatureCache.open(tmp_path / "features").table("test"), KerasModel(loaded)
    labels = np.arange(6) % 3
    found, expected = (
        each.adapt(table[:6], labels, table[6:20]) for each in (LiteRTModel(tmp_path / "head.tflite"), model)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_what_has_weights_of_a_length_is_refused():
    with pytest.raises(InputError, match=r"prior must be none for features of any length"):
        SIBConfig(feature_dim=None, prior="gaussian")
    with pytest.raises(InputError, match=r"feature_dim must be at least 1, or None; got 0\."):
        SIBConfig(feature_dim=0)


def test_its_file_is_loaded_as_it_was(head):
    model, again = (keras.saving.load_model(head / "best.keras", safe_mode=True) for _ in range(2))
    assert model.config == again.config == MODEL
