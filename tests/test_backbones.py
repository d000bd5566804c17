"""Backbones: shapes, the released code's numbers, files, and batch normalisation's fast path."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from sib_tf import backbones, checkpoints, released
from sib_tf.config import BackboneConfig
from sib_tf.errors import InputError
from sib_tf.features import weights_fingerprint
from sib_tf.layers import FusedBatchNormalization


def random_pictures(count: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).uniform(0, 255, (count, size, size, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("fields", "size", "dim"),
    [
        ({"name": "conv4", "width": 64}, 32, 256),
        ({"name": "conv4", "width": 64}, 80, 1600),
        ({"name": "conv4", "width": 4}, 47, 16),
        ({"name": "wide_resnet", "width": 1, "depth": 10}, 32, 64),
        ({"name": "wide_resnet", "width": 2, "depth": 16}, 80, 128),
    ],
)
def test_features_have_the_length_that_is_promised(fields, size, dim):
    config = BackboneConfig(image_size=size, **fields)
    model = backbones.build(config)
    assert model.output_shape == (None, dim)
    assert np.isfinite(model(random_pictures(2, size), training=False)).all()


@pytest.mark.parametrize(("size", "strides"), [(32, [1, 2, 2]), (80, [2, 2, 2])])
def test_strides_of_the_wide_resnet_follow_the_size(size, strides):
    model = backbones.build(BackboneConfig(name="wide_resnet", width=1, depth=10, image_size=size))
    assert [model.get_layer(f"group{group}_block0_conv1").strides[0] for group in range(3)] == strides


def test_normalisation_is_the_first_layer():
    keras.utils.set_random_seed(0)
    plain = backbones.build(BackboneConfig(width=4))
    mean, std = (120.0, 110.0, 100.0), (70.0, 60.0, 50.0)
    ours = backbones.build(BackboneConfig(width=4, mean=mean, std=std))
    for name in [layer.name for layer in plain.layers if layer.name.startswith("block") and layer.weights]:
        ours.get_layer(name).set_weights(plain.get_layer(name).get_weights())
    batch = random_pictures(3, 32)
    np.testing.assert_allclose(ours(batch), plain((batch - mean) / std), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["conv4_64_32px", "wide_resnet_10_2_32px"])
def test_numbers_of_the_released_code(golden, name):
    with np.load(golden(f"{name}.npz")) as arrays:
        recorded = dict(arrays)
    state, after = (
        {key.removeprefix(part): value for key, value in recorded.items() if key.startswith(part)}
        for part in ("state/", "after/")
    )
    model, config = released.backbone(state, 32, (0.0,) * 3, (1.0,) * 3)

    def in_our_order(features):
        return released.channels_last(features, config.width) if config.name == "conv4" else features

    inference = model(recorded["images"], training=False)
    np.testing.assert_allclose(inference, in_our_order(recorded["features_eval"]), rtol=1e-5, atol=1e-5)
    training = model(recorded["images"], training=True)
    np.testing.assert_allclose(training, in_our_order(recorded["features_train"]), rtol=1e-5, atol=1e-5)
    expected, _ = released.backbone({**state, **after}, 32, (0.0,) * 3, (1.0,) * 3)
    moved = 0
    for ours, theirs in zip(model.weights, expected.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5, err_msg=ours.path)
        moved += "moving" in ours.path
    assert moved == sum(key.endswith(("running_mean", "running_var")) for key in after)


@pytest.mark.parametrize("fields", [{"name": "conv4", "width": 4}, {"name": "wide_resnet", "width": 1, "depth": 10}])
def test_a_backbone_is_loaded_as_it_was_saved(tmp_path, fields):
    config = BackboneConfig(mean=(120.0, 115.0, 104.0), std=(70.0, 68.0, 72.0), **fields)
    model = backbones.build(config)
    model(random_pictures(8, 32), training=True)  # Moves the moving averages.
    checkpoints.save_model(model, tmp_path / backbones.FILE)
    record = {"backbone": json.loads(json.dumps(config.__dict__))}
    (tmp_path / "config.json").write_text(json.dumps(record))
    again, found = backbones.load(tmp_path)
    assert found == config
    batch = random_pictures(3, 32, seed=1)
    np.testing.assert_array_equal(again(batch, training=False), model(batch, training=False))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (None, r"Configuration .*config\.json cannot be read \(No such file"),
        ("[]", r"config\.json describes no backbone; name the folder of train\.pretrain, train\.import_b"),
        ('{"model": {}}', r"config\.json describes no backbone; name the folder of train\.pretrain,"),
        ('{"backbone": {"width": 4, "colour": 1}}', r"config\.json has unknown fields \['colour'\]"),
        ('{"backbone": {"width": 4}}', r"There is no model file .*backbone\.keras"),
    ],
)
def test_folders_without_a_whole_backbone_are_named(tmp_path, record, message):
    if record:
        (tmp_path / "config.json").write_text(record)
    with pytest.raises(InputError, match=message):
        backbones.load(tmp_path)


class TestFusedBatchNormalization:
    """The fused kernel against Keras's own layer, both from the same random weights."""

    KINDS = (FusedBatchNormalization, keras.layers.BatchNormalization)
    SHAPE = (6, 4, 5, 3)

    def pair(self):
        random = np.random.RandomState(1)
        values = [random.uniform(0.5, 2, 3), random.normal(size=3), random.normal(size=3), random.uniform(0.5, 2, 3)]
        layers = [kind(momentum=0.9, epsilon=1e-5) for kind in self.KINDS]
        for layer in layers:
            layer.build(self.SHAPE)
            layer.set_weights(values)
        return layers

    def batch(self):
        return tf.constant(np.random.RandomState(0).normal(3, 2, self.SHAPE).astype(np.float32))

    @pytest.mark.parametrize("training", [False, True])
    def test_outputs_and_averages_are_keras_own(self, training):
        fused, plain = self.pair()
        before = plain.moving_variance.numpy()
        np.testing.assert_allclose(
            fused(self.batch(), training=training), plain(self.batch(), training=training), rtol=1e-5, atol=1e-5
        )
        np.testing.assert_allclose(fused.moving_mean, plain.moving_mean, rtol=1e-5, atol=1e-6)
        # The batch's part of the moving variance is unbiased: Bessel's factor n / (n - 1) over n = 6 * 4 * 5 values.
        bessel = 120 / 119 if training else 1.0
        added = plain.moving_variance - 0.9 * before if training else 0.0
        expected = 0.9 * before + bessel * added if training else before
        np.testing.assert_allclose(fused.moving_variance, expected, rtol=1e-5)

    def test_gradients_are_keras_own(self):
        batch = self.batch()
        weights = tf.constant(np.random.RandomState(2).normal(size=self.SHAPE).astype(np.float32))
        gradients = []
        for layer in self.pair():
            with tf.GradientTape() as tape:
                tape.watch(batch)
                loss = tf.reduce_sum(weights * tf.tanh(layer(batch, training=True)))
            gradients.append(tape.gradient(loss, [batch, layer.gamma.value, layer.beta.value]))
        for fused, plain in zip(*gradients, strict=True):
            assert np.abs(plain).max() > 0.01
            np.testing.assert_allclose(fused, plain, rtol=1e-4, atol=1e-5)

    def test_a_frozen_layer_is_keras_own(self):
        found, expected = (kind(trainable=False)(self.batch(), training=True) for kind in self.KINDS)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_relu_after_pooling_is_relu_before_pooling():
    batch = np.random.RandomState(0).normal(size=(4, 9, 8, 5)).astype(np.float32)
    pool, relu = keras.layers.MaxPooling2D(2), keras.layers.ReLU()
    np.testing.assert_array_equal(relu(pool(batch)), pool(relu(batch)))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_of_convolutions_alone_and_survives_its_file(tmp_path, precision):
    """Features within 5 % of the largest: 8 bits of a bfloat16 number count. Weights are the same ones, float32."""
    pictures = np.random.RandomState(0).randint(0, 256, (8, 32, 32, 3)).astype(np.float32)
    features = []
    for chosen in ("float32", precision):
        keras.utils.set_random_seed(0)
        config = BackboneConfig(width=4, mean=(128.0,) * 3, std=(64.0,) * 3, precision=chosen)
        checkpoints.save_model(backbones.build(config), tmp_path / "backbone.keras")
        features.append(checkpoints.load_model(tmp_path / "backbone.keras")(pictures))
    model = checkpoints.load_model(tmp_path / "backbone.keras")
    assert features[1].dtype == "float32"
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert {layer.compute_dtype for layer in model.layers if "conv" in layer.name} == {precision}
    assert model.get_layer("normalise").compute_dtype == model.get_layer("feature").compute_dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"
    np.testing.assert_allclose(features[1], features[0], atol=0.05 * np.abs(features[0]).max())
    assert not np.array_equal(features[1], features[0])
    whole = backbones.in_float32(model, config)  # What is exported.
    assert weights_fingerprint(whole) == weights_fingerprint(model)
    np.testing.assert_array_equal(whole(pictures), features[0])


def test_other_precisions_are_refused():
    with pytest.raises(InputError, match=r"precision must be one of float32, bfloat16, float16; got 'int8'\."):
        BackboneConfig(precision="int8")
