"""Users' own models of kinds that are rare: taken with their numbers, or refused with the way out."""

import keras
import numpy as np
import pytest
from test_pretrained import MOBILENET, pictures, write_keras

from sib_tf import backbones, checkpoints, runs
from sib_tf.backbones import pretrained
from sib_tf.backbones.pretrained import Request, keras_applications
from sib_tf.config import SIBConfig
from sib_tf.errors import InputError
from sib_tf.features import FeatureCache, weights_fingerprint
from sib_tf.sib import SIB
from sib_tf.storage import atomic, run_records


def model_of(outputs) -> keras.Model:
    """A model whose outputs are what the function `outputs` makes of 4 numbers for each picture."""
    keras.utils.set_random_seed(0)
    given = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(given))
    return keras.Model(given, outputs(keras.layers.GlobalAveragePooling2D()(x)))


def imported(model: keras.Model, tmp_path) -> keras.Model:
    model.save(tmp_path / "own.keras")
    pretrained.import_backbone(Request(str(tmp_path / "own.keras")), tmp_path / "backbone")
    return backbones.load(tmp_path / "backbone")[0]


@keras.saving.register_keras_serializable("test_own_models")
class OfNoKnownInput(keras.Model):
    def call(self, given):
        return keras.ops.mean(given, (1, 2))


def unbuilt() -> keras.Model:
    return keras.Sequential([keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D()])


@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: model_of(lambda x: [x, x]), r"own\.keras must give one vector a picture; it has 2 outputs\. Keep one"),
        (lambda: model_of(lambda x: {"a": x, "b": x}), r"it has 2 outputs"),
        (unbuilt, r"own\.keras must take square RGB pictures \[\.\., size, size, 3\]; it takes \(\)\."),
        (OfNoKnownInput, r"own\.keras must take square RGB pictures \[\.\., size, size, 3\]; it takes \(\)\."),
        (lambda: model_of(keras.layers.Softmax()), r"ends in class probabilities: they add up to 1\. Take"),
        (lambda: model_of(lambda x: keras.ops.cast(1000 * x, "int32")), r"must give float32 numbers; it gives int32\."),
    ],
)
def test_models_that_cannot_be_backbones(tmp_path, make, message):
    with pytest.raises(InputError, match=message):
        imported(make(), tmp_path)
    assert not (tmp_path / "backbone").exists()


def test_a_single_output_may_have_a_name(tmp_path):
    model = model_of(lambda x: {"features": x})
    np.testing.assert_allclose(imported(model, tmp_path)(pictures(32)), model(pictures(32))["features"], rtol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_all_arithmetic_becomes_float32(tmp_path, policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        inner = model_of(lambda x: x)
        model = keras.Sequential([keras.Input((32, 32, 3)), inner])
    finally:
        keras.config.set_dtype_policy(before)
    found = imported(model, tmp_path)
    assert {layer.compute_dtype for layer in found._flatten_layers()} == {"float32"}
    assert found.output.dtype == "float32"
    np.testing.assert_allclose(found(pictures(32)), np.asarray(model(pictures(32)), np.float32), rtol=2e-2)


def test_a_file_that_is_gone_and_a_folder_are_named(tmp_path):
    (tmp_path / "folder.keras").mkdir()
    for name in ("gone.keras", "folder.keras"):
        with pytest.raises(InputError, match=rf"source .*{name} is no file; name a model that Keras saved"):
            pretrained.import_backbone(Request(str(tmp_path / name)), tmp_path / "backbone")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 10_000}, r"image_size must be from 16 to 2048 pixels; got 10000\."),
        ({"alpha": 100.0}, r"alpha must be above 0 and at most 4; got 100\.0\."),
        ({"alpha": float("nan")}, r"alpha must be above 0 and at most 4; got nan\."),
        ({"std": float("inf")}, r"std must be above 0 and finite; got inf\."),
        ({"mean": float("nan")}, r"mean must be finite; got nan\."),
    ],
)
def test_what_would_take_all_memory_is_refused_before_it_is_built(options, message):
    with pytest.raises(InputError, match=message):
        Request(MOBILENET, **options)


@pytest.mark.parametrize("weights", ["gone.pth", "."])
def test_weights_that_are_no_file_are_named(weights):
    with pytest.raises(InputError, match=r"weights must be a \.pth file of efficientnet_lite0; got "):
        pretrained.module_of("efficientnet_lite0").build(Request("efficientnet_lite0", weights=weights))


def test_weights_of_another_network_never_leave_random_ones(tmp_path):
    """Keras only warns where parts have nothing in the file."""
    path = write_keras(tmp_path / "own.keras")
    with pytest.raises(InputError, match=r"cannot be built with weights=\S*own\.keras \("):
        keras_applications.build(Request(MOBILENET, 32, str(path), alpha=0.25))


def test_an_import_that_is_killed_between_its_files_leaves_no_mixed_backbone(tmp_path, monkeypatch):
    path = write_keras(tmp_path / "own.keras")
    pretrained.import_backbone(Request(str(path)), tmp_path / "backbone")
    other = write_keras(tmp_path / "other.keras", size=48)

    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(atomic, "write_json", killed)
        pretrained.import_backbone(Request(str(other)), tmp_path / "backbone")
    with pytest.raises(InputError, match=r"Configuration .*config\.json cannot be read"):
        backbones.load(tmp_path / "backbone")
    pretrained.import_backbone(Request(str(other)), tmp_path / "backbone")
    assert backbones.load(tmp_path / "backbone")[0].input_shape == (None, 48, 48, 3)


def test_a_folder_whose_configuration_is_no_record_is_left_alone(tmp_path):
    atomic.write_json(tmp_path / "backbone/config.json", 3)
    with pytest.raises(InputError, match=r"backbone holds another run; name a new folder\."):
        pretrained.import_backbone(Request(str(write_keras(tmp_path / "own.keras"))), tmp_path / "backbone")


def test_numbers_that_scale_pictures_tell_backbones_apart(tmp_path):
    """They are no weights of their layers; a cache of other features would be taken for this one's."""
    fingerprints = []
    for scale in (1 / 255, 1 / 127.5, 1 / 255):
        keras.utils.set_random_seed(0)
        given = keras.Input((32, 32, 3))
        scaled = keras.layers.Rescaling(scale, name="scale")(given)
        x = keras.layers.Conv2D(4, 3, name="conv")(scaled)
        model = keras.Model(given, keras.layers.GlobalAveragePooling2D(name="pool")(x), name="own")
        fingerprints.append(weights_fingerprint(imported(model, tmp_path)))
    assert fingerprints[0] == fingerprints[2] != fingerprints[1]


def test_a_head_is_refused_under_its_backbone_at_another_image_size(tiny_features, tmp_path):
    cache = FeatureCache.open(tiny_features)
    sib = SIB(SIBConfig(feature_dim=cache.feature_dim, num_steps=0))
    sib.build()
    checkpoints.save_model(sib, tmp_path / checkpoints.BEST)
    atomic.write_json(tmp_path / run_records.CONFIG, {"model": {}, "features": cache.identity})
    weights = cache.manifest["backbone"]["weights"]
    runs.load_model(tmp_path, weights, "mine", 32)
    with pytest.raises(InputError, match=r"meta-trained on features of pictures of 32 pixels, not 48 as mine; name"):
        runs.load_model(tmp_path, weights, "mine", 48)
