"""Flatbuffers: the same numbers as the Keras models, allowed ops only, quantised where they should be."""

import json
import zipfile
from types import SimpleNamespace

import exported
import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from export import conversion, flatbuffer, precisions
from sib_tf import backbones
from sib_tf.config import BackboneConfig, SIBConfig
from sib_tf.errors import InputError
from sib_tf.prediction import litert
from sib_tf.prediction.signatures import Signatures
from sib_tf.sib import SIB

WAY, SUPPORT, QUERIES = 5, 8, 30
FLOAT32, FLOAT16, INT8, INT32 = (getattr(schema.TensorType, name) for name in ("FLOAT32", "FLOAT16", "INT8", "INT32"))


@pytest.fixture(scope="module")
def signatures():
    return exported.load_run(exported.run_folder()).signatures()


@pytest.fixture(scope="module")
def static(signatures):
    return conversion.convert(signatures, WAY, SUPPORT, QUERIES)


@pytest.fixture(scope="module")
def dynamic(signatures):
    return conversion.convert(signatures, None)


def runner(model: bytes, name: str):
    return Interpreter(model_content=model).get_signature_runner(name)


def episode(signatures, queries=QUERIES, seed=0):
    """Features of one labelled picture of 5 classes, and of queries."""
    features = signatures.embed(exported.pictures(WAY + queries, seed)).numpy()
    return features[None, :WAY], np.arange(WAY, dtype=np.int32)[None], features[None, WAY:]


def padded(rows, length, fill):
    shape = (1, length - rows.shape[1], *rows.shape[2:])
    return np.concatenate([rows, np.full(shape, fill, rows.dtype)], axis=1)


def adapt_padded(model: bytes, support, labels, query, fill=0.0, label=0):
    """Calls `adapt` of a file of SUPPORT and QUERIES rows."""
    return runner(model, "adapt")(
        support=padded(support, SUPPORT, fill),
        support_labels=padded(labels, SUPPORT, label),
        support_mask=padded(np.ones(labels.shape, np.float32), SUPPORT, 0),
        query=padded(query, QUERIES, fill),
        query_mask=padded(np.ones(query.shape[:2], np.float32), QUERIES, 0),
    )


def graphs(model: bytes):
    parsed = schema.ModelT.InitFromPackedBuf(bytearray(model), 0)
    return {d.signatureKey.decode(): parsed.subgraphs[d.subgraphIndex] for d in parsed.signatureDefs}


def test_signatures_say_what_they_take(static, dynamic):
    expected = {
        "adapt": (
            {"support": [1, SUPPORT, 16], "support_labels": [1, SUPPORT], "support_mask": [1, SUPPORT]}
            | {"query": [1, QUERIES, 16], "query_mask": [1, QUERIES]},
            {"weights": [1, WAY, 16], "weights_by_step": [1, 4, WAY, 16]},
        ),
        "classify": (
            {"query": [1, QUERIES, 16], "weights": [1, WAY, 16]},
            {"logits": [1, QUERIES, WAY], "probabilities": [1, QUERIES, WAY]},
        ),
        "embed": ({"images": [1, 32, 32, 3]}, {"features": [1, 16]}),
    }
    assert sorted(Interpreter(model_content=static).get_signature_list()) == sorted(expected)
    for name, (inputs, outputs) in expected.items():
        signature = runner(static, name)
        assert {k: v["shape"].tolist() for k, v in signature.get_input_details().items()} == inputs
        assert {k: v["shape"].tolist() for k, v in signature.get_output_details().items()} == outputs
    types = {k: v["dtype"] for k, v in runner(static, "adapt").get_input_details().items()}
    assert types.pop("support_labels") == np.int32
    assert set(types.values()) == {np.float32}
    assert set(runner(dynamic, "adapt").get_input_details()) == {"support", "support_labels", "query"}
    assert runner(dynamic, "embed").get_input_details()["images"]["shape_signature"].tolist() == [-1, 32, 32, 3]


def test_embed_is_the_backbone(signatures, static, dynamic):
    pictures = exported.pictures(7, seed=1).astype(np.float32)
    expected = signatures.embed(pictures).numpy()
    np.testing.assert_allclose(runner(dynamic, "embed")(images=pictures)["features"], expected, atol=1e-5)
    embed = runner(static, "embed")
    one_by_one = [embed(images=picture[None])["features"][0] for picture in pictures]
    np.testing.assert_allclose(one_by_one, expected, atol=1e-5)


@pytest.mark.parametrize("queries", [1, 7, QUERIES])
def test_adapt_and_classify_are_the_model_whatever_is_in_the_padding(signatures, static, dynamic, queries):
    support, labels, query = episode(signatures, queries)
    expected = signatures.adapt(support, labels, query, way=WAY)
    logits = signatures.classify(query, expected["weights"])["logits"].numpy()
    found = runner(dynamic, "adapt")(support=support, support_labels=labels, query=query)
    np.testing.assert_allclose(found["weights_by_step"], expected["weights_by_step"], atol=1e-5)
    np.testing.assert_allclose(found["weights"], found["weights_by_step"][:, -1], atol=0)
    found = runner(dynamic, "classify")(query=query, weights=found["weights"])
    np.testing.assert_allclose(found["logits"], logits, atol=1e-4)
    for fill in (0.0, 77.0):
        adapted = adapt_padded(static, support, labels, query, fill, label=3)
        np.testing.assert_allclose(adapted["weights_by_step"], expected["weights_by_step"], atol=1e-5)
        found = runner(static, "classify")(query=padded(query, QUERIES, fill), weights=adapted["weights"])
        np.testing.assert_allclose(found["logits"][:, :queries], logits, atol=1e-4)
        np.testing.assert_allclose(found["probabilities"].sum(axis=-1), 1, atol=1e-5)


def test_steps_move_the_weights(signatures, static):
    """Else the comparisons above would prove nothing about the steps."""
    support, labels, query = episode(signatures)
    path = signatures.adapt(support, labels, query, way=WAY)["weights_by_step"].numpy()
    assert (np.abs(np.diff(path, axis=1)).max(axis=(0, 2, 3)) > 1e-3).all()


def test_classes_without_support_get_no_probability(signatures, static, dynamic):
    support, labels, query = episode(signatures)
    three = adapt_padded(static, support[:, :3], labels[:, :3], query)
    assert not three["weights"][:, 3:].any()
    found = runner(static, "classify")(query=query, weights=three["weights"])["probabilities"]
    assert not found[..., 3:].any()
    alone = runner(dynamic, "adapt")(support=support[:, :3], support_labels=labels[:, :3], query=query)
    assert alone["weights"].shape == (1, 3, 16)
    np.testing.assert_allclose(three["weights"][:, :3], alone["weights"], atol=1e-5)


def test_ops_are_allowed_ones_and_hold_no_state(static, dynamic, monkeypatch, signatures):
    for model in (static, dynamic):
        assert conversion.ops(model) <= conversion.ALLOWED_OPS
    assert not [name for name in conversion.ALLOWED_OPS if "VAR" in name or "CUSTOM" in name or "FLEX" in name]
    converter = SimpleNamespace(target_spec=SimpleNamespace(), convert=lambda: static)
    monkeypatch.setattr(conversion.tf.lite.TFLiteConverter, "from_saved_model", lambda *_, **__: converter)
    monkeypatch.setattr(conversion, "ALLOWED_OPS", conversion.ALLOWED_OPS - {"ONE_HOT"})
    with pytest.raises(InputError, match="ops that not every runtime has: ONE_HOT"):
        conversion.convert(signatures, WAY, SUPPORT, QUERIES)


def kinds(model: bytes, name: str) -> list[str]:
    """The operations of a signature."""
    parsed = schema.ModelT.InitFromPackedBuf(bytearray(model), 0)
    return [conversion._op_name(parsed.operatorCodes[op.opcodeIndex]) for op in graphs(model)[name].operators]


def test_what_shapes_say_is_not_computed_on_the_device(static, dynamic):
    for name in ("adapt", "classify"):
        assert not {"SHAPE", "GATHER", "REDUCE_PROD"} & set(kinds(static, name))
        assert not {"GATHER", "REDUCE_PROD"} & set(kinds(dynamic, name))
        assert kinds(dynamic, name).count("SHAPE") <= 2


@pytest.mark.parametrize(("network", "most", "kilobytes"), [("joint", 170, 30), ("per_class", 330, 60)])
def test_a_head_alone_is_small(network, most, kilobytes):
    """K = 3, 5 ways, 75 queries, features of Conv-4-64: operations, each of which takes its time, and bytes."""
    sib = SIB(SIBConfig(feature_dim=256, way=5 if network == "joint" else None, gradient_network=network))
    sib.build()
    model = conversion.convert(Signatures(None, sib), WAY, 25, 75)
    assert len(kinds(model, "adapt")) <= most
    assert len(flatbuffer.compact(model)) < 1000 * kilobytes


def embedded(signatures, model: bytes, count: int, seed: int):
    """Features of the same pictures: of the file, which takes them one by one, and of the Keras model."""
    pictures = exported.pictures(count, seed).astype(np.float32)
    embed = runner(model, "embed")
    found = np.concatenate([embed(images=picture[None])["features"] for picture in pictures])
    return found, signatures.embed(pictures).numpy()


def cosines(found, expected):
    return (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)


def test_float16_stores_the_backbone_in_half_and_leaves_the_head(static, signatures):
    model = conversion.quantised(static, "float16")
    kernels = [t for t in graphs(model)["embed"].tensors if t.type == FLOAT16]
    assert len(kernels) >= 4  # One for each convolution.
    for name in ("adapt", "classify"):
        assert FLOAT16 not in {tensor.type for tensor in graphs(model)[name].tensors}
    found, expected = embedded(signatures, model, 5, seed=3)
    np.testing.assert_allclose(found, expected, atol=5e-3 * np.abs(expected).max())
    assert np.abs(found - expected).max() > 0


def test_int8_covers_the_backbone_and_nothing_of_the_head(static, signatures, capfd):
    model = conversion.quantised(static, "int8", exported.pictures(64, seed=4))
    printed = capfd.readouterr().err
    assert "measure activations: 100%" in printed  # Of large backbones it takes minutes.
    assert "INFO" not in printed
    convolutions = [t for t in graphs(model)["embed"].tensors if t.type == INT8]
    assert len(convolutions) >= 12  # Kernels, and activations of convolutions and poolings.
    for name in ("adapt", "classify"):
        assert {t.type for t in graphs(model)[name].tensors} == {t.type for t in graphs(static)[name].tensors}
    assert cosines(*embedded(signatures, model, 20, seed=5)).min() > 0.98
    assert not graphs(model)["embed"].tensors[graphs(model)["embed"].inputs[0]].type


@pytest.fixture(scope="module")
def mobile():
    """The layers that a MobileNet starts with, preprocessing of its own before them, and the converted file."""
    layers = keras.layers
    keras.utils.set_random_seed(0)
    given = keras.Input((32, 32, 3), name="pictures")
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(given)
    for place in (layers.Conv2D(8, 3, 2, "same"), layers.DepthwiseConv2D(3, padding="same"), layers.Conv2D(16, 1)):
        x = layers.ReLU(6.0)(layers.BatchNormalization()(place(x)))
    x = layers.Multiply()([x, layers.Conv2D(16, 1, activation="sigmoid")(x)])
    backbone = keras.Model(given, layers.GlobalAveragePooling2D()(x))
    sib = SIB(SIBConfig(feature_dim=16, num_steps=0))
    sib.build()
    signatures = Signatures(backbone, sib)
    return signatures, conversion.convert(signatures, WAY, SUPPORT, QUERIES)


def convolved(model: bytes) -> list[int]:
    """The types that the convolutions of `embed` compute in, in their order."""
    parsed = schema.ModelT.InitFromPackedBuf(bytearray(model), 0)
    graph = graphs(model)["embed"]
    kinds = [conversion._op_name(parsed.operatorCodes[op.opcodeIndex]) for op in graph.operators]
    places = [op for op, kind in zip(graph.operators, kinds, strict=True) if kind in precisions.CONVOLUTIONS]
    return [graph.tensors[op.outputs[0]].type for op in places]


def test_int8_spares_preprocessing_and_a_mobile_stem(mobile):
    """By whatever name: "normalise" is no layer here."""
    signatures, model = mobile
    pictures = exported.pictures(32, seed=1)
    found = conversion.quantised(model, "int8", pictures)
    assert convolved(found) == [FLOAT32, FLOAT32, FLOAT32, INT8]
    first = graphs(found)["embed"]
    assert {first.tensors[index].type for op in first.operators[:2] for index in op.outputs} == {FLOAT32}
    assert cosines(*embedded(signatures, found, 10, seed=1)).min() > 0.995
    # All of the pictures count, wherever in the list they are.
    assert conversion.quantised(model, "int8", pictures[::-1]) == found


def test_float16_halves_depthwise_kernels_too(mobile):
    signatures, model = mobile
    found = conversion.quantised(model, "float16")
    kernels = [tensor for tensor in graphs(found)["embed"].tensors if tensor.type == FLOAT16 and len(tensor.shape) == 4]
    assert len(kernels) == 4
    assert cosines(*embedded(signatures, found, 10, seed=1)).min() > 1 - 1e-5


@pytest.fixture(scope="module")
def wide_resnet():
    config = BackboneConfig(name="wide_resnet", depth=10, width=1, mean=(120, 110, 100), std=(60,) * 3)
    sib = SIB(SIBConfig(feature_dim=64, num_steps=0))
    sib.build()
    signatures = Signatures(backbones.build(config), sib)
    return signatures, conversion.convert(signatures, WAY, SUPPORT, QUERIES)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "least"), [("float32", 1 - 1e-6), ("float16", 1 - 1e-4), ("int8", 0.97)])
def test_wide_resnet(wide_resnet, precision, least):
    signatures, model = wide_resnet
    model = conversion.quantised(model, precision, exported.pictures(64))
    assert cosines(*embedded(signatures, model, 10, seed=1)).min() > least


@pytest.mark.parametrize(("network", "steps"), [("joint", 3), ("per_class", 0)])
def test_joint_models_and_zero_steps_convert(network, steps):
    signatures = exported.load_run(exported.run_folder(network, steps)).signatures()
    model = conversion.convert(signatures, WAY, SUPPORT, QUERIES)
    support, labels, query = episode(signatures)
    found = adapt_padded(model, support, labels, query)
    expected = signatures.adapt(support, labels, query, way=WAY)["weights_by_step"]
    assert found["weights_by_step"].shape == (1, steps + 1, WAY, 16)
    np.testing.assert_allclose(found["weights_by_step"], expected, atol=1e-5)


def test_the_same_model_gives_the_same_bytes_and_a_readable_description(static, tmp_path):
    for name in ("a.tflite", "b.tflite"):
        (tmp_path / name).write_bytes(static)
        conversion.append_text(tmp_path / name, litert.METADATA, json.dumps({"format": 1, "way": 5}))
    assert (tmp_path / "a.tflite").read_bytes() == (tmp_path / "b.tflite").read_bytes()
    assert litert.read_metadata(tmp_path / "a.tflite") == {"format": 1, "way": 5}
    assert zipfile.is_zipfile(tmp_path / "a.tflite")
    assert Interpreter(str(tmp_path / "a.tflite")).get_signature_list().keys() == {"adapt", "classify", "embed"}
