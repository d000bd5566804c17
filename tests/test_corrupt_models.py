"""Models and the states of training that are damaged or hostile: refused by name, before a parser in C++ sees them."""

import io
import json
import shutil
import zipfile
from pathlib import Path

import exported
import keras
import numpy as np
import pytest
import tensorflow as tf
from damage import check_damage, damaged, refused
from test_checkpoints import small_model, start, state_of

from export import conversion
from export.model_server import MOST_ANSWER, RestServer
from sib_tf import checkpoints
from sib_tf.features import FeatureCache
from sib_tf.prediction import litert
from sib_tf.prediction.litert import METADATA, LiteRTModel, read_metadata
from sib_tf.prediction.models import CONFIG, SavedModel
from sib_tf.storage import atomic


def weights_of(model) -> bytes:
    return b"".join(weight.numpy().tobytes() for weight in model.weights)


def test_keras_files_are_refused_or_load_as_they_were(tmp_path):
    """Keras reads every member of the archive to its end, where zipfile compares its checksum."""
    model, path = small_model(units=300), tmp_path / "best.keras"  # A quarter of the file are weights.
    checkpoints.save_model(model, path)
    config = checkpoints.load_model(path).get_config()

    def same(found):
        return weights_of(found) == weights_of(model) and found.get_config() == config

    assert check_damage(path, checkpoints.load_model, same, flips=150, cuts=15) > 0.8


def test_a_keras_file_that_is_a_bomb_is_not_unpacked(tmp_path):
    path, packed = tmp_path / "best.keras", tmp_path / "packed.keras"
    checkpoints.save_model(small_model(), path)
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in whole.namelist():
            archive.writestr(name, whole.read(name) + bytes(8 << 20) * (name == "config.json"))
    assert "at most " in refused(
        lambda: checkpoints.load_model(packed), "packed.keras cannot be loaded (it unpacks to "
    )


def test_states_of_training_are_refused_or_restored_as_they_were(tmp_path):
    """TensorFlow compares checksums of every tensor and of every block of the index."""
    run, found = start(), start(5)
    run["step"].assign(3)
    state_of(tmp_path, **run).save()

    def restored(_):
        for weight in found["model"].weights:
            weight.assign(tf.zeros_like(weight))
        found["step"].assign(0)
        there = state_of(tmp_path, **found).restore()
        return there and found["step"].numpy() == 3 and weights_of(found["model"]) == weights_of(run["model"])

    for name, flips, cuts in (("checkpoint", 60, 8), ("ckpt-1.index", 30, 6), ("ckpt-1.data-00000-of-00001", 20, 4)):
        check_damage(tmp_path / name, restored, bool, flips, cuts, refusal=f"{tmp_path}.*to start anew")


def test_feature_caches_are_refused_or_open_as_they_were(tiny_features, tmp_path):
    folder = shutil.copytree(tiny_features, tmp_path / "features")
    manifest = FeatureCache.open(folder).manifest
    for path in sorted(folder.iterdir()):
        check_damage(path, lambda _: FeatureCache.open(folder).manifest, manifest.__eq__, flips=20, cuts=4)


def test_a_manifest_without_digest_must_fit_its_files(tiny_features, tmp_path):
    """As earlier versions wrote it."""
    folder = shutil.copytree(tiny_features, tmp_path / "features")
    manifest = FeatureCache.open(folder).manifest
    for changed in ({"views": 2}, {"feature_dim": 15}, {"views": "1"}):
        (folder / "manifest.json").write_text(json.dumps({**manifest, **changed}))
        refused(lambda: FeatureCache.open(folder), "manifest.json says that the features of train are")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert FeatureCache.open(folder).manifest == manifest


@pytest.fixture
def folder(models, tmp_path) -> Path:
    """A SavedModel that may be changed."""
    return shutil.copytree(models["saved"] / "1", tmp_path / "1")


def test_saved_models_are_refused_before_tensorflow_sees_them(folder, monkeypatch):
    assert SavedModel(folder).description["image_size"] == 32

    def parsed(*args):
        raise AssertionError("a damaged file was parsed")

    monkeypatch.setattr(tf.saved_model, "load", parsed)
    names = ["saved_model.pb", "fingerprint.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"]
    for name in names:
        path = folder / name
        whole = path.read_bytes()
        for _, content in [*damaged(whole, flips=12, cuts=3), ("missing", None)]:
            path.unlink() if content is None else path.write_bytes(content)
            refused(lambda: SavedModel(folder), f"{path} is missing or damaged; export it again, or copy it again")
        path.write_bytes(whole)


def test_descriptions_of_saved_models_are_refused_or_what_was_written(folder, monkeypatch):
    expected = SavedModel(folder).description
    monkeypatch.setattr(tf.saved_model, "load", lambda *args: keras.Model())
    monkeypatch.setattr(keras.Model, "signatures", None, raising=False)
    check_damage(folder / CONFIG, lambda path: SavedModel(path.parent).description, expected.__eq__, flips=60, cuts=6)


def test_saved_models_of_before_the_digests_are_loaded(folder, models):
    description = atomic.read_json(folder / CONFIG, "Configuration")
    del description["files"]
    (folder / CONFIG).write_text(json.dumps(description))
    pictures = exported.pictures(2)
    np.testing.assert_array_equal(SavedModel(folder).embed(pictures), SavedModel(models["saved"] / "1").embed(pictures))


@pytest.mark.parametrize(
    "changed",
    [
        {"image_size": "32"}, {"image_size": 0}, {"image_size": 10**30}, {"feature_dim": None}, {"num_steps": -1},
        {"way": [5]}, {"max_query": 1.5}, {"gradient_network": None}, {"known": [1.0]}, {"known": ["a", "b"]},
        {"format": 2}, {"files": 3}, {"files": {"saved_model.pb": 3}},
    ],
)  # fmt: skip
def test_descriptions_of_other_kinds_are_refused(folder, changed):
    atomic.write_json(folder / CONFIG, {**atomic.read_json(folder / CONFIG, "Configuration"), **changed})
    refused(lambda: SavedModel(folder), str(folder))


def write_tflite(path: Path, **changes) -> dict:
    """A file in all but the model, for what is read before the interpreter is there."""
    model = np.random.RandomState(0).bytes(3000)
    path.write_bytes(model)
    description = {"format": 1, "image_size": 32, "feature_dim": 16, "num_steps": 3, "way": 5, "max_support": 5}
    description |= {"max_query": 75, "gradient_network": "joint", "precision": "float32"}
    description |= {"model_sha256": litert.hashlib.sha256(model).hexdigest(), **changes}
    conversion.append_text(path, METADATA, json.dumps(description))
    return description


def test_tflite_files_are_refused_before_the_interpreter_sees_them(tmp_path, monkeypatch):
    path = tmp_path / "model.tflite"
    expected = write_tflite(path)
    assert check_damage(path, read_metadata, expected.__eq__, flips=500, cuts=50) > 0.8

    def parsed(*args, **kwargs):
        raise AssertionError("a damaged file was parsed")

    monkeypatch.setattr(litert, "Interpreter", parsed)
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    refused(lambda: LiteRTModel(path), "model.tflite is damaged (its checksum differs); copy it or export it again")
    for changed in ({"image_size": "32"}, {"way": -1}, {"num_steps": 1e9}, {"gradient_network": 3}):
        path.unlink()
        write_tflite(path, **changed)
        refused(lambda: LiteRTModel(path), "model.tflite describes itself with")


def test_a_description_that_is_a_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"model")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(METADATA, b'{"format": 1, "x": "' + b" " * (4 << 20) + b'"}')
    refused(lambda: read_metadata(path), "model.tflite is not a file of export.tflite, or is damaged")


@pytest.mark.parametrize(
    "answer",
    [b"[" * 100_000, b'{"outputs": {"a": NaN}}', b'{"outputs": 1, "outputs": 2}', b"\xff", b'{"outputs": [1]}', b"3"],
)
def test_hostile_answers_of_a_server_are_refused(monkeypatch, answer):
    server = RestServer("http://localhost:8501", "sib", 1.0)
    monkeypatch.setattr(server, "_exchange", lambda request: (200, answer))
    for call in (server.signatures, lambda: server.predict({})):
        refused(call, "server http://localhost:8501 gave no model server's answer")
    monkeypatch.setattr(server, "_exchange", lambda request: (500, answer))
    refused(server.signatures, "refused the request with status 500")


def test_an_endless_answer_is_refused(monkeypatch):
    class Endless(io.BytesIO):
        status, length = 200, None

        def read(self, size):
            assert size == MOST_ANSWER
            return bytes(size)

    monkeypatch.setattr("urllib.request.urlopen", lambda *args, **kwargs: Endless())
    server = RestServer("http://localhost:8501", "sib", 1.0)
    refused(server.signatures, "more than the 67,108,864 bytes allowed")
