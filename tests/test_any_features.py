"""One head for features of any length: no weight has D, it trains on several caches, and goes under any backbone."""

import dataclasses
import shutil

import exported
import keras
import numpy as np
import pytest
from running import run

from export import tflite
from sib_tf import evaluation, runs
from sib_tf.any_backbone.virtual_backbones import of_length
from sib_tf.calibration import calibrate
from sib_tf.config import EpisodeSpec, MetaTrainConfig, SIBConfig
from sib_tf.episodes import EpisodeRows, EpisodeSampler
from sib_tf.errors import InputError
from sib_tf.features import FeatureCache, extraction
from sib_tf.meta_training import meta_train
from sib_tf.outer_steps import Trainer
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


def test_its_temperatures_are_fitted_on_all_caches_together(head, tiny_features, tmp_path):
    """The same episodes twice have the same best temperatures, and so does a single cache however it is given."""
    shutil.copytree(head, tmp_path / "sib")
    found = [calibrate(folders, tmp_path / "sib", SPEC, 30, seed=0) for folders in (tiny_features, [tiny_features] * 2)]
    (one, _, after_one), (both, _, after_both) = found
    np.testing.assert_allclose([one.offset, one.slope], [both.offset, both.slope], atol=2e-3)
    assert after_one["nll"] == pytest.approx(after_both["nll"], abs=1e-4)


def test_caches_of_one_length_train_as_the_mean_of_their_losses():
    """Side by side in one compiled step, padded to one shape; the gradient is that of the mean."""
    config = dataclasses.replace(TRAINING, optimizer="sgd", momentum=0.0, weight_decay=0.0, learning_rate=0.1)
    caches, losses, changes = [MemoryCache(6), MemoryCache(6)], [], []
    caches[1]._table = caches[1]._table[:, ::-1] ** 2  # Other features of the same length.
    rows = [EpisodeSampler(cache.labels("train"), SPEC, i).sample(2) for i, cache in enumerate(caches)]
    for chosen in ([0], [1], [0, 1]):
        keras.utils.set_random_seed(0)
        model = SIB(MODEL)
        model.build()
        trainer = Trainer(model, [caches[i].table("train") for i in chosen], config)
        before = model.get_weights()
        losses.append(float(trainer.steps([EpisodeRows(*(f[None] for f in rows[i])) for i in chosen])[0]))
        changes.append([new - old for new, old in zip(model.get_weights(), before, strict=True)])
    assert losses[2] == pytest.approx(np.mean(losses[:2]), abs=1e-6)
    for one, other, both in zip(*changes, strict=True):
        np.testing.assert_allclose(both, (one + other) / 2, atol=1e-6)


def test_virtual_backbones_show_the_same_in_parts(tmp_path):
    """Features of every length as one, virtual gaps among them: however many cores share a batch."""
    given = {"batch_episodes": 4, "virtual_backbones": 0.7, "domain_gaps": 0.5, "feature_length": 8}
    results = []
    for cores in (1, 2):
        keras.utils.set_random_seed(0)
        model = SIB(dataclasses.replace(MODEL, normalization="episode"))
        model.build()
        tables = [of_length(MemoryCache(dim).table("train"), 8, dim) for dim in (6, 9)]
        trainer = Trainer(model, tables, dataclasses.replace(TRAINING, **given), cores)
        rows = [EpisodeSampler(MemoryCache(6).labels("train"), SPEC, i).sample(12) for i in range(2)]
        batch = [EpisodeRows(*(field.reshape(3, 4, *field.shape[1:]) for field in each)) for each in rows]
        results.append((trainer.parts, trainer.steps(batch).numpy(), *model.get_weights()))
    assert [each[0] for each in results] == [1, 2]
    for alone, shared in zip(*(each[1:] for each in results), strict=True):
        np.testing.assert_allclose(shared, alone, rtol=0, atol=5e-6)


def test_a_common_length_is_for_heads_of_any(tmp_path):
    config, model = dataclasses.replace(TRAINING, feature_length=8), SIBConfig(feature_dim=6, **KIND)
    with pytest.raises(InputError, match="feature_length is for models of features of any length"):
        meta_train(MemoryCache(6), model, config, tmp_path / "sib")


def test_what_has_weights_of_a_length_is_refused():
    with pytest.raises(InputError, match=r"prior must be none for features of any length"):
        SIBConfig(feature_dim=None, prior="gaussian")
    with pytest.raises(InputError, match=r"feature_dim must be at least 1, or None; got 0\."):
        SIBConfig(feature_dim=0)


def test_its_file_is_loaded_as_it_was(head):
    model, again = (keras.saving.load_model(head / "best.keras", safe_mode=True) for _ in range(2))
    assert model.config == again.config == MODEL
