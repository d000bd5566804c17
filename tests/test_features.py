"""Feature caches: right, whole, made once, and refused when they are not what they say."""

import dataclasses
import shutil

import keras
import numpy as np
import pytest

from sib_tf import backbones, checkpoints, features
from sib_tf.config import BackboneConfig, PretrainConfig
from sib_tf.errors import InputError
from sib_tf.features import FeatureCache, extraction
from sib_tf.pictures.pixels import centre_crop
from sib_tf.reports import meta_test
from sib_tf.storage import atomic
from train import evaluate


@pytest.fixture
def cache_copy(tiny_features, tmp_path):
    shutil.copytree(tiny_features, tmp_path / "copy")
    return tmp_path / "copy"


def test_the_middle_is_cropped():
    images = np.arange(84 * 84).reshape(1, 84, 84, 1)
    np.testing.assert_array_equal(centre_crop(images, 80), images[:, 2:82, 2:82])
    np.testing.assert_array_equal(centre_crop(images, 81), images[:, 1:82, 1:82])
    assert centre_crop(images, 84).shape == images.shape


def test_embedding_is_the_backbone_in_inference_mode_whatever_the_batch(tiny_dataset, tiny_backbone, monkeypatch):
    images = tiny_dataset.test.images[:10]
    expected = tiny_backbone(images.astype(np.float32), training=False).numpy()
    for batch_size in (3, 10, 256):
        monkeypatch.setattr(features, "_BATCH", batch_size)
        found = features.embed(tiny_backbone, images)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_backbone_is_traced_once_for_all_splits_and_shards(tiny_dataset, tmp_path, monkeypatch):
    traced = []

    class Counted(keras.layers.GlobalAveragePooling2D):
        def call(self, pictures):
            traced.append(pictures.shape)
            return super().call(pictures)

    pictures = keras.Input((32, 32, 3))
    backbone = keras.Model(pictures, Counted()(pictures))
    monkeypatch.setattr(features, "_BATCH", 10)
    monkeypatch.setattr(extraction, "_SHARD", 20)
    traced.clear()
    extraction.extract(tiny_dataset, backbone, tmp_path / "features")
    assert traced == [(None, 32, 32, 3)]


def test_a_cache_holds_every_picture_once(tiny_dataset, tiny_backbone, tiny_features):
    cache = FeatureCache.open(tiny_features)
    assert (cache.views, cache.feature_dim) == (1, 16)
    for name in ("train", "validation", "test"):
        split = tiny_dataset.split(name)
        np.testing.assert_array_equal(cache.labels(name), split.labels)
        np.testing.assert_allclose(cache.table(name), features.embed(tiny_backbone, split.images), rtol=1e-5, atol=1e-6)
    assert isinstance(cache.table("train").base, np.memmap)
    assert cache.identity["dataset"]["name"] == "tiny"
    assert "files" not in cache.identity


def test_the_same_cache_is_not_made_again_and_another_is(tiny_dataset, tiny_backbone, cache_copy):
    before = (cache_copy / "train_features.npy").stat().st_mtime_ns
    other_settings = PretrainConfig(seed=5)  # They make no difference to a single, plain view.
    assert not extraction.extract(tiny_dataset, tiny_backbone, cache_copy)
    assert not extraction.extract(tiny_dataset, tiny_backbone, cache_copy, augmentation_config=other_settings)
    assert (cache_copy / "train_features.npy").stat().st_mtime_ns == before
    keras.utils.set_random_seed(1)
    other = backbones.build(BackboneConfig(width=4))
    assert extraction.extract(tiny_dataset, other, cache_copy)
    np.testing.assert_allclose(
        FeatureCache.open(cache_copy).table("test"),
        features.embed(other, tiny_dataset.test.images),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.slow
def test_views_are_augmented_and_reproducible(tiny_dataset, tiny_backbone, tiny_features, tmp_path):
    for folder in ("first", "second"):
        assert extraction.extract(tiny_dataset, tiny_backbone, tmp_path / folder, views=3)
    first, second = (FeatureCache.open(tmp_path / folder) for folder in ("first", "second"))
    count = len(tiny_dataset.train.labels)
    table = first.table("train")
    assert table.shape == (3 * count, 16)
    assert first.table("validation").shape == (len(tiny_dataset.validation.labels), 16)
    np.testing.assert_array_equal(table[:count], FeatureCache.open(tiny_features).table("train"))
    views = table.reshape(3, count, 16)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert (np.abs(views[a] - views[b]).max(-1) > 1e-4).mean() > 0.99
    # A view is of its own picture: nearer to it than to a picture of another class.
    own = np.linalg.norm(views[1] - views[0], axis=-1).mean()
    assert own < np.linalg.norm(views[1] - np.roll(views[0], count // 2, axis=0), axis=-1).mean()
    np.testing.assert_array_equal(second.table("train"), table)
    assert extraction.extract(tiny_dataset, tiny_backbone, tmp_path / "first", 3, PretrainConfig(seed=1))


@pytest.mark.parametrize("name", ["train_features.npy", "test_labels.npy"])
def test_a_damaged_or_missing_file_is_named_and_made_again(tiny_dataset, tiny_backbone, cache_copy, name):
    path = cache_copy / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    message = rf"{name} is missing or damaged; make the cache again with train\.extract_features or train\.import_feat"
    with pytest.raises(InputError, match=message):
        FeatureCache.open(cache_copy)
    path.unlink()
    with pytest.raises(InputError, match=message):
        FeatureCache.open(cache_copy)
    assert extraction.extract(tiny_dataset, tiny_backbone, cache_copy)
    FeatureCache.open(cache_copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda manifest: [1], r"manifest\.json is no manifest; make the cache again"),
        (lambda manifest: {**manifest, "files": 3}, r"manifest\.json is no manifest; make the cache again"),
        (lambda manifest: {"format": 1}, r"lacks \['backbone', 'dataset', 'feature_dim', 'files', 'views'\]; make"),
        (lambda manifest: {**manifest, "format": 2}, r"has cache format 2; this version reads 1\."),
        (lambda manifest: {**manifest, "files": {}}, r"train_features\.npy is missing or damaged"),
    ],
)
def test_a_manifest_that_is_not_whole_is_refused(cache_copy, change, message):
    path = cache_copy / "manifest.json"
    atomic.write_json(path, change(atomic.read_json(path, "Manifest")))
    with pytest.raises(InputError, match=message):
        FeatureCache.open(cache_copy)


def test_what_is_no_cache_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path, tmp_path / "none", tmp_path / "file"):
        with pytest.raises(InputError, match=rf"features_dir {folder} holds no feature cache; make one with train"):
            FeatureCache.open(folder)


def test_an_extraction_that_is_cut_off_leaves_the_old_cache_and_goes_on_from_whole_shards(
    tiny_dataset, cache_copy, tmp_path, monkeypatch
):
    before = FeatureCache.open(cache_copy).manifest
    backbone = backbones.build(BackboneConfig(width=2))
    extraction.extract(tiny_dataset, backbone, tmp_path / "unbroken")
    monkeypatch.setattr(features, "_BATCH", 10)
    monkeypatch.setattr(extraction, "_SHARD", 50)
    fitted, embedded = extraction.fit_stored, []

    def stopping(images, *rest):
        embedded.append(len(images))
        if sum(embedded) > 260:  # In the second shard of the validation pictures, behind the 192 of training.
            raise KeyboardInterrupt
        return fitted(images, *rest)

    monkeypatch.setattr(extraction, "fit_stored", stopping)
    with pytest.raises(KeyboardInterrupt):
        extraction.extract(tiny_dataset, backbone, cache_copy)
    assert FeatureCache.open(cache_copy).manifest == before
    embedded.clear()
    monkeypatch.setattr(extraction, "fit_stored", lambda *given: embedded.append(len(given[0])) or fitted(*given))
    assert extraction.extract(tiny_dataset, backbone, cache_copy)
    assert sum(embedded) == 192 + 144 + 144 - 192 - 50
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "unbroken"]
    for split in ("train", "validation", "test"):
        found, expected = (FeatureCache.open(folder).table(split) for folder in (cache_copy, tmp_path / "unbroken"))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_impossible_extractions_are_refused(tiny_dataset, tiny_backbone, tmp_path):
    with pytest.raises(InputError, match=r"views must be at least 1; got 0\."):
        extraction.extract(tiny_dataset, tiny_backbone, tmp_path / "out", views=0)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("kept")
    with pytest.raises(InputError, match=r"output_dir .*mine holds other files; name a new folder\."):
        extraction.extract(tiny_dataset, tiny_backbone, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "kept"
    with pytest.raises(InputError, match=r"thesis\.txt is a file; name a folder\."):
        extraction.extract(tiny_dataset, tiny_backbone, tmp_path / "mine" / "thesis.txt")
    assert not (tmp_path / "out").exists()


def test_the_fingerprint_of_weights_survives_saving_and_sees_one_weight(tiny_backbone, tmp_path):
    checkpoints.save_model(tiny_backbone, tmp_path / "backbone.keras")
    again = checkpoints.load_model(tmp_path / "backbone.keras")
    assert features.weights_fingerprint(again) == features.weights_fingerprint(tiny_backbone)
    kernel = again.get_layer("block3_conv").kernel
    value = kernel.numpy()
    value[0, 0, 0, 0] = np.nextafter(value[0, 0, 0, 0], np.float32(1))
    kernel.assign(value)
    assert features.weights_fingerprint(again) != features.weights_fingerprint(tiny_backbone)


def test_a_report_takes_pictures_as_the_features_did(tiny_dataset, tiny_backbone, tiny_features, tmp_path):
    extraction.extract(tiny_dataset, tiny_backbone, tmp_path / "reduced", larger="reduce")
    assert evaluate._backbone(features.read_manifest(tmp_path / "reduced")).image_size == tiny_backbone.input_shape[1]
    assert evaluate._backbone(features.read_manifest(tiny_features)) is None


def test_pictures_that_features_were_not_made_from_are_refused(tiny_dataset, tiny_features):
    made_from = features.read_manifest(tiny_features)["dataset"]
    meta_test.require_pictures_of(made_from, tiny_dataset, "test")
    others = dataclasses.replace(
        tiny_dataset, test=dataclasses.replace(tiny_dataset.test, images=tiny_dataset.test.images[::-1])
    )
    with pytest.raises(
        InputError, match=r"give data_dir, stored_size and the like as train\.extract_features had them"
    ):
        meta_test.require_pictures_of(made_from, others, "test")
