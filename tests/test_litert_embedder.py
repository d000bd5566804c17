"""Embedders in .tflite files as backbones: the numbers of the bare interpreter, however the backbone is used."""

import csv
import dataclasses
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import flatbuffers
import keras
import numpy as np
import pytest
import running
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from conftest import CHECKOUT, draw_class, real_data
from PIL import Image

from sib_tf import backbones, checkpoints
from sib_tf.backbones import pretrained
from sib_tf.backbones.pretrained import Request, litert_embedder
from sib_tf.backbones.pretrained.litert_normalization import read_normalization
from sib_tf.config import SIBConfig
from sib_tf.errors import InputError
from sib_tf.features import FeatureCache, embed, weights_fingerprint
from sib_tf.pictures.pixels import fit_stored
from sib_tf.prediction.models import open_model
from sib_tf.sib import SIB
from sib_tf.storage import atomic, run_records
from train import extract_features, import_backbone

SIZE, DIM = 32, 5
MEAN, STD = 127.0, 64.0


def drawn(count: int, size: int = SIZE) -> np.ndarray:
    """uint8 `[count, size, size, 3]`, each of a class of its own."""
    random = np.random.RandomState(0)
    return fit_stored(np.concatenate([draw_class(seed, 1, random) for seed in range(count)]), size)


def network(shape=(SIZE, SIZE, 3), pool: bool = True) -> keras.Model:
    keras.utils.set_random_seed(3)
    inputs = keras.Input(shape)
    x = keras.layers.Conv2D(DIM, 5, 2, activation="relu")(inputs)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x) if pool else x)


def two_inputs() -> keras.Model:
    inputs = [keras.Input((SIZE, SIZE, 3)) for _ in range(2)]
    return keras.Model(inputs, network()(keras.layers.Add()(inputs)))


def converted(model: keras.Model, kind: tf.DType | None = None) -> bytes:
    """The model as a .tflite file; of a quantised `kind` its input and output are of that type."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if kind:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([picture[None].astype(np.float32)] for picture in drawn(20))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = kind
    return converter.convert()


@pytest.fixture(scope="module")
def files() -> dict[type, bytes]:
    """The network as float and as int8 file, by the type of its pictures."""
    return {np.float32: converted(network()), np.int8: converted(network(), tf.int8)}


def with_normalization(content: bytes, means: list[float], deviations: list[float], damage: bytes = b"") -> bytes:
    """The file with TensorFlow Lite metadata as its makers write them: another step first, then the normalisation."""
    model = schema.ModelT.InitFromPackedBuf(bytearray(content), 0)
    entry, buffer = schema.MetadataT(), schema.BufferT()
    entry.name, entry.buffer = b"TFLITE_METADATA", len(model.buffers)
    buffer.data = np.frombuffer(damage or metadata(means, deviations), np.uint8)
    model.metadata, model.buffers = [*(model.metadata or []), entry], [*model.buffers, buffer]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def metadata(means: list[float], deviations: list[float]) -> bytes:
    builder = flatbuffers.Builder(256)

    def table(fields: int, **offsets: int) -> int:
        builder.StartObject(fields)
        for field, offset in offsets.items():
            builder.PrependUOffsetTRelativeSlot(int(field[1:]), offset, 0)
        return builder.EndObject()

    def numbers(values) -> int:
        builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            builder.PrependFloat32(value)
        return builder.EndVector()

    def tables(*offsets: int) -> int:
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return builder.EndVector()

    def unit(kind: int, options: int) -> int:
        builder.StartObject(2)
        builder.PrependUint8Slot(0, kind, 0)
        builder.PrependUOffsetTRelativeSlot(1, options, 0)
        return builder.EndObject()

    vectors = [numbers(means), numbers(deviations)]
    units = tables(unit(2, table(1)), unit(1, table(2, _0=vectors[0], _1=vectors[1])))
    subgraph = table(4, _2=tables(table(6, _4=units)))
    builder.Finish(table(7, _0=builder.CreateString("embedder"), _3=tables(subgraph)), b"M001")
    return bytes(builder.Output())


def write(content: bytes, name: str = "an embedder.tflite") -> Path:
    Path(name).write_bytes(content)
    return Path(name)


def imported(source: Path, **options) -> keras.Model:
    """Imports a file into `backbone` and loads it from there."""
    pretrained.import_backbone(Request(str(source), **options), "backbone")
    return backbones.load("backbone")[0]


def interpreted(content: bytes, pictures: np.ndarray) -> np.ndarray:
    """What the bare interpreter gives, `[pictures, D]`, as it stores it."""
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    taken, given = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    found = []
    for picture in pictures:
        interpreter.set_tensor(taken["index"], picture[None].astype(taken["dtype"]))
        interpreter.invoke()
        found.append(interpreter.get_tensor(given["index"]).reshape(-1))
    return np.stack(found)


def test_an_embedder_as_mobile_developers_have_them():
    path = real_data("pretrained/mobilenet_v1_1.0_224_quant_embedding_extractor.tflite")
    pictures = drawn(4, 224)
    backbone = imported(path)
    config = backbones.load("backbone")[1]
    assert (config.image_size, config.larger, backbone.output_shape) == (224, "reduce", (None, 1024))
    # Its output is uint8 of scale 0.023528477 and zero 0; pixels go in as they are.
    expected = interpreted(path.read_bytes(), pictures).astype(np.float32) * np.float32(0.023528477)
    assert np.ptp(expected, axis=0).max() > 0.5
    np.testing.assert_allclose(embed(backbone, pictures), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("means", "deviations"), [([MEAN], [STD]), ([120.0, 110.0, 100.0], [60.0, 61.0, 62.0])], ids=["one", "channels"]
)
def test_a_float_file_says_how_it_wants_its_pictures(files, means, deviations):
    content = with_normalization(files[np.float32], means, deviations)
    assert read_normalization(content) == (means, deviations)
    pictures = drawn(6)
    normalised = (pictures - np.array(means, np.float32)) / np.array(deviations, np.float32)
    found = embed(imported(write(content)), pictures)
    np.testing.assert_allclose(found, interpreted(files[np.float32], normalised), atol=1e-5)
    np.testing.assert_allclose(found, network()(normalised), atol=1e-4)


def test_of_a_float_file_that_says_nothing_the_user_says_it(files):
    backbone = imported(write(files[np.float32]), mean=MEAN, std=STD)
    pictures = drawn(6)
    np.testing.assert_allclose(embed(backbone, pictures), network()((pictures - MEAN) / STD), atol=1e-4)
    # What the user says counts more than what the file does.
    said = imported(write(with_normalization(files[np.float32], [0.0], [1.0]), "b.tflite"), mean=MEAN, std=STD)
    np.testing.assert_array_equal(embed(said, pictures), embed(backbone, pictures))


def test_int8_files_take_pixels_less_128(files):
    pictures = drawn(6)
    interpreter = Interpreter(model_content=files[np.int8])
    scale, zero = interpreter.get_output_details()[0]["quantization"]
    expected = (interpreted(files[np.int8], pictures.astype(np.int32) - 128).astype(np.float32) - zero) * scale
    found = embed(imported(write(files[np.int8])), pictures)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # The network took pixels from 0 to 255: quantised it is still the same function.
    whole = network()(pictures.astype(np.float32)).numpy()
    assert np.abs(found - whole).max() < 0.05 * np.ptp(whole)


def test_saved_in_safe_mode_it_is_told_from_other_files(files):
    source = Request(str(write(files[np.float32])), mean=MEAN, std=STD)
    built = litert_embedder.build(source).model
    facts = pretrained.import_backbone(source, "backbone")[1]
    assert (facts["feature_dim"], facts["parameters"]) == (built.output_shape[-1], None)  # Its weights are not seen.
    loaded = keras.saving.load_model(Path("backbone", backbones.FILE), safe_mode=True)
    np.testing.assert_array_equal(embed(loaded, drawn(3)), embed(built, drawn(3)))
    assert weights_fingerprint(loaded) == weights_fingerprint(built)
    assert loaded.trainable_variables == []
    for content, std in ((with_normalization(files[np.float32], [MEAN], [STD]), None), (files[np.float32], 2 * STD)):
        assert weights_fingerprint(imported(write(content), mean=std and MEAN, std=std)) != weights_fingerprint(built)


def test_threads_take_turns(files):
    pictures = drawn(40)
    backbone = imported(write(files[np.float32]), mean=MEAN, std=STD)
    expected = np.asarray(backbone(pictures.astype(np.float32)))
    fresh = backbones.load("backbone")[0]  # Its interpreter is opened by whoever comes first.
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: np.asarray(fresh(pictures[i % 40 :].astype(np.float32))), range(64)))
    for i, features in enumerate(found):
        np.testing.assert_array_equal(features, expected[i % 40 :])


def test_no_pictures_have_no_features(files):
    backbone = imported(write(files[np.float32]), mean=MEAN, std=STD)
    assert np.asarray(backbone(np.zeros((0, SIZE, SIZE, 3), np.float32))).shape == (0, DIM)


def test_files_that_are_no_embedders_are_refused(files):
    whole = files[np.float32]
    for content, complaint in (
        (b"", "is no .tflite file, or is damaged"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(200), "is no .tflite file, or is damaged"),
        (whole[: len(whole) // 2], "is no .tflite file, or is damaged"),
        (converted(two_inputs()), r"must take one RGB picture .* it takes \[\[1, 32, 32, 3\], \[1, 32, 32, 3\]\]"),
        (converted(network((32, 48, 3))), r"it takes \[\[1, 32, 48, 3\]\] and gives \[\[1, 5\]\]"),
        (converted(network((32, 32, 1))), r"it takes \[\[1, 32, 32, 1\]\]"),
        (converted(network(pool=False)), r"give one vector; .* gives \[\[1, 14, 14, 5\]\]"),
        (whole, "takes floats and does not say which; give --mean and --std"),
    ):
        with pytest.raises(InputError, match=complaint):
            pretrained.import_backbone(Request(str(write(content))), "backbone")
    assert not Path("backbone").exists()


@pytest.mark.parametrize(
    "broken",
    [b"\xff" * 40, b"\x04\x00", bytes(64), metadata([], []), metadata([1.0, 2.0], [1.0]), metadata([0.0], [0.0])],
    ids=["high", "short", "zeros", "no numbers", "two and one", "a deviation of zero"],
)
def test_metadata_that_cannot_be_read_say_nothing(files, broken):
    assert read_normalization(with_normalization(files[np.float32], [], [], broken)) is None


@pytest.mark.parametrize(
    ("kind", "options", "complaint"),
    [
        (np.float32, {"image_size": 64}, "image_size must be 32, as .* takes; got 64"),
        (np.float32, {"alpha": 0.5}, "alpha does not belong to source"),
        (np.float32, {"mean": MEAN}, "give --mean and --std"),
        (np.int8, {"mean": MEAN, "std": STD}, "mean does not belong to source"),
    ],
)
def test_options_that_do_not_fit_are_refused(files, kind, options, complaint):
    with pytest.raises(InputError, match=complaint):
        pretrained.import_backbone(Request(str(write(files[kind])), **options), "backbone")


def test_a_missing_file_is_named():
    with pytest.raises(InputError, match=r"gone\.tflite cannot be read \(No such file"):
        litert_embedder.build(Request("gone.tflite"))


def write_head(folder: Path, backbone: keras.Model) -> None:
    """An untrained SIB model for the features of `backbone`, in `folder`."""
    config = SIBConfig(feature_dim=DIM, gradient_network="per_class")
    sib = SIB(config)
    sib.build()
    checkpoints.save_model(sib, folder / checkpoints.BEST)
    features = {"backbone": {"name": backbone.name, "weights": weights_fingerprint(backbone)}}
    atomic.write_json(folder / run_records.CONFIG, {"model": dataclasses.asdict(config), "features": features})


def test_features_and_predictions_come_through_the_commands(files, capsys):
    for i, picture in enumerate(drawn(12, 48)):
        folder = Path("pictures", f"class {i % 4}")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{i}.png")
    source = write(with_normalization(files[np.float32], [MEAN], [STD]))
    assert running.run(import_backbone, source=source, output_dir="run/backbone") == 0
    assert f"(32 pixels, features of length {DIM}" in capsys.readouterr().out
    pictures = {"dataset": "folder", "data_dir": "pictures", "cache_dir": "cache"}
    assert running.run(extract_features, pictures, backbone_dir="run/backbone", output_dir="run/features") == 0
    cache = FeatureCache.open("run/features")
    backbone = backbones.load("run/backbone")[0]
    write_head(Path("run/sib"), backbone)
    # In a process that has not made it: Keras finds layers only whose module was imported.
    command = [*(sys.executable, "-m", "train.predict"), "--model=run", "--support=pictures", "--query=pictures"]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run([*command, "--output=out.csv"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    with Path("out.csv").open(newline="", encoding="utf-8-sig") as file:
        found = {row["file"]: row["class"] for row in csv.DictReader(file)}
    assert len(found) == 12
    assert sum(file.startswith(f"{name}/") for file, name in found.items()) >= 6
    # Pictures of 48 pixels are scaled, not cropped, to the embedder's 32, which is also the default to store them at.
    one = np.asarray(Image.open("pictures/class 0/0.png").resize((32, 32), Image.Resampling.BILINEAR))
    expected = network()((one[None] - MEAN) / STD)
    np.testing.assert_allclose(open_model("run").embed(one[None]), expected, atol=1e-4)
    stored = np.concatenate([cache.table(name) for name in ("train", "validation", "test")])
    assert np.abs(stored - expected).max(axis=1).min() < 1e-4
