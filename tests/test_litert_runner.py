"""The runner of .tflite files against the Keras model, alone, and with whatever files and pictures it is given."""

import json
import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.compiled_model import CompiledModel
from conftest import CHECKOUT
from exported import load_run, pictures
from PIL import Image

from export import golden
from sib_tf.errors import InputError
from sib_tf.prediction import litert
from sib_tf.prediction.description import checked
from sib_tf.prediction.litert import METADATA, LiteRTClassifier, LiteRTModel
from sib_tf.prediction.models import KerasModel

SUPPORT, QUERY = pictures(10, seed=1), pictures(12, seed=2)
LABELS = [0, 1, 2, 3, 4, 4, 3, 2, 1, 0]


@pytest.fixture(scope="module")
def keras_model(models):
    return KerasModel(load_run(models["run"]))


@pytest.fixture(params=["static", "dynamic"])
def file(request, models):
    return models[request.param]


@pytest.fixture
def fitted(file):
    return LiteRTClassifier(file).fit(SUPPORT, LABELS, QUERY)


def by_step(model, support=SUPPORT, labels=LABELS, query=QUERY) -> np.ndarray:
    """Probabilities `[K + 1, queries, way]` of any model."""
    query_features = model.embed(query)
    path = model.adapt(model.embed(support), np.array(labels), query_features)
    return np.stack([model.classify(query_features, weights)[1] for weights in path])


def test_equals_the_keras_model_after_every_step(fitted, keras_model):
    expected = by_step(keras_model)
    assert np.abs(expected[-1] - expected[0]).max() > 0.03, "the steps must matter for this test to say anything"
    for step, probabilities in enumerate(expected):
        np.testing.assert_allclose(fitted.predict_proba(QUERY, step), probabilities, atol=1e-4)
    np.testing.assert_array_equal(fitted.predict(QUERY), expected[-1].argmax(axis=1))


@pytest.mark.parametrize(("labels", "queries"), [([0, 1], 5), ([0, 1, 1, 2, 0, 0], 1), (LABELS, 16)])
def test_padding_makes_no_difference(models, labels, queries):
    support, query = SUPPORT[: len(labels)], pictures(queries, seed=3)
    static, dynamic = (by_step(LiteRTModel(models[name]), support, labels, query) for name in ("static", "dynamic"))
    assert static.shape == (4, queries, max(labels) + 1)
    # Of one query the statistics amplify what is rounded off: a change of 1e-7 in its features moves 1e-4 here.
    np.testing.assert_allclose(static, dynamic, atol=1e-3 if queries == 1 else 1e-5)
    np.testing.assert_allclose(static.sum(axis=-1), 1, atol=1e-5)


def test_a_dynamic_file_takes_more_classes_and_pictures_than_it_was_traced_with(models, keras_model):
    support, labels, query = pictures(40, seed=4), [i % 20 for i in range(40)], pictures(70, seed=5)
    model = LiteRTModel(models["dynamic"])
    expected = by_step(keras_model, support, labels, query)
    assert expected.shape[-1] == 20
    np.testing.assert_allclose(by_step(model, support, labels, query), expected, atol=1e-4)


def test_episodes_of_other_sizes_before_leave_no_trace(file):
    used = LiteRTModel(file)
    by_step(used, SUPPORT[:9], [0, 1, 2, 3, 4, 0, 1, 2, 3], pictures(15, seed=6))
    by_step(used, SUPPORT[:2], [0, 1], QUERY[:1])
    np.testing.assert_array_equal(by_step(used), by_step(LiteRTModel(file)))


def test_a_joint_file_equals_its_keras_model_and_takes_exactly_its_way(models):
    keras_joint = KerasModel(load_run(models["joint"]))
    np.testing.assert_allclose(by_step(LiteRTModel(models["joint.tflite"])), by_step(keras_joint), atol=1e-4)
    with pytest.raises(InputError, match="way must be 5: a joint model .* got 3.*per_class"):
        LiteRTClassifier(models["joint.tflite"]).fit(SUPPORT[:3], [0, 1, 2], QUERY)


@pytest.mark.parametrize(("kind", "classes"), [("static", 2), ("dynamic", 2), ("joint.tflite", 5)])
def test_a_file_carries_a_small_episode_with_its_logits(models, kind, classes):
    model = LiteRTModel(models[kind])
    with zipfile.ZipFile(models[kind]) as archive:
        text = archive.read(golden.GOLDEN)
    found = json.loads(text)
    assert found["classes"] == classes
    assert len(text) < 1000
    features = model.embed(np.stack([golden.picture(i, 32) for i in range(classes + found["queries"])]))
    weights = model.adapt(features[:classes], np.arange(classes), features[classes:])
    logits = model.classify(features[classes:], weights[-1])[0]
    np.testing.assert_allclose(logits, found["logits"], atol=1e-4)
    assert np.ptp(logits, axis=1).max() > 0.01  # Ten times what a GPU may be off by.


def test_pictures_of_the_small_episode_are_the_same_for_ever():
    corners = [[[60, 94, 129], [26, 18, 81]], [[221, 166, 156], [190, 78, 170]]]
    assert golden.picture(0, 16)[::15, ::15].tolist() == corners
    assert (golden.picture(1, 16) != golden.picture(0, 16)).mean() > 0.9


@pytest.mark.parametrize(("network", "fixed_way"), [("joint", 5), ("per_class", None)])
def test_descriptions_of_before_say_it_by_the_network(network, fixed_way):
    before = {"format": 1, "image_size": 32, "feature_dim": 16, "num_steps": 3, "way": 5, "gradient_network": network}
    found = checked(before, "model.tflite")
    assert (found["fixed_way"], found["weights_dim"], found["max_query"]) == (fixed_way, 16, None)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["dog", "cat", "ant"], ["ant", "cat", "dog"]),
        ([30, -1, 7], [-1, 7, 30]),
        (np.array([30, -1, 7], np.int16), [-1, 7, 30]),
        (np.array(["x", "é", "="], dtype=object), ["=", "x", "é"]),
    ],
    ids=["text", "numbers", "array", "objects"],
)
def test_labels_come_back_as_they_were(file, labels, classes):
    classifier = LiteRTClassifier(file).fit(SUPPORT[:3], labels)
    assert classifier.classes_.tolist() == classes
    # Without unlabelled pictures and with one shot, a labelled picture is its own prototype.
    assert classifier.predict(SUPPORT[:3]).tolist() == list(labels)


@pytest.mark.parametrize("labels", [[1, "a"], [("a", 1), ("b", 2)], [None, None], [1.5, 2.5], [[1], [2, 3]]])
def test_labels_that_are_no_labels_are_refused(models, labels):
    with pytest.raises(InputError, match="labels must be text for every picture, or whole numbers"):
        LiteRTClassifier(models["dynamic"]).fit(SUPPORT[:2], labels)


def test_pictures_may_be_files_pillow_images_or_arrays_of_any_size(file, tmp_path):
    large = pictures(4, seed=7).repeat(3, axis=1).repeat(3, axis=2)[:, :, 8:]  # 96 x 88
    for i, picture in enumerate(large):
        Image.fromarray(picture).save(tmp_path / f"{i} é,.png")
    paths = sorted(tmp_path.glob("*.png"))
    classifier = LiteRTClassifier(file)
    expected = classifier.embed(list(large))
    assert expected.shape == (4, classifier.model.description["feature_dim"])
    for same in (large, paths, [str(path) for path in paths], [Image.open(path) for path in paths]):
        np.testing.assert_array_equal(classifier.embed(same), expected)
    with_alpha = [Image.fromarray(picture).convert("RGBA") for picture in large]
    np.testing.assert_array_equal(classifier.embed(with_alpha), expected)
    grey = np.asarray(Image.fromarray(large[0]).convert("L"))
    np.testing.assert_array_equal(
        classifier.embed([Image.fromarray(grey)]), classifier.embed([np.stack([grey] * 3, axis=-1)])
    )


@pytest.mark.parametrize(
    "wrong", [QUERY[0].astype(np.float32), QUERY[0, :, :, :1], QUERY[0, :0], QUERY, 7, None, [[1, 2]]]
)
def test_what_is_no_picture_is_refused(models, wrong):
    with pytest.raises(InputError, match="images must be paths, Pillow images or uint8"):
        LiteRTClassifier(models["dynamic"]).embed([wrong])


def test_broken_and_missing_files_are_named(models, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    for name in ("broken.png", "missing.png"):
        with pytest.raises(InputError, match=name):
            LiteRTClassifier(models["dynamic"]).fit([SUPPORT[0], tmp_path / name], [0, 1])


def test_steps_are_picked_by_number(fitted):
    np.testing.assert_array_equal(fitted.predict_proba(QUERY), fitted.predict_proba(QUERY, step=3))
    np.testing.assert_array_equal(fitted.predict_proba(QUERY, 1), fitted.predict_proba(QUERY, np.int64(1)))
    assert np.abs(fitted.predict_proba(QUERY, 0) - fitted.predict_proba(QUERY)).max() > 0.03
    for step in (-1, 4, 1.5, "1"):
        with pytest.raises(InputError, match=rf"step must be a whole number in \[0, 3\]; got {step}"):
            fitted.predict(QUERY, step)


def test_without_unlabelled_pictures_it_is_nearest_prototypes(file, fitted, models):
    alone = LiteRTClassifier(file).fit(SUPPORT, LABELS)
    for step in range(4):
        np.testing.assert_allclose(alone.predict_proba(QUERY, step), fitted.predict_proba(QUERY, 0), atol=1e-6)
    unit = alone.embed(SUPPORT) / np.linalg.norm(alone.embed(SUPPORT), axis=1, keepdims=True)
    means = np.stack([unit[np.array(LABELS) == label].mean(axis=0) for label in range(5)])
    means *= load_run(models["run"]).sib.initialization.feature_scale.numpy()
    query = alone.embed(QUERY)
    cosines = query @ means.T / np.linalg.norm(query, axis=1)[:, None] / np.linalg.norm(means, axis=1)
    np.testing.assert_array_equal(alone.predict(QUERY), cosines.argmax(axis=1))


def test_a_single_unlabelled_picture_and_none_to_predict(file, keras_model):
    classifier = LiteRTClassifier(file).fit(SUPPORT, LABELS, QUERY[:1])
    expected = by_step(keras_model, query=QUERY[:1])[-1]
    np.testing.assert_allclose(classifier.predict_proba(QUERY[:1]), expected, atol=1e-4)
    for empty in ([], QUERY[:0]):
        assert classifier.predict_proba(empty).shape == (0, 5)
        assert classifier.predict(empty).shape == (0,)


def test_more_pictures_are_predicted_than_a_static_file_adapts_to(models):
    many = pictures(40, seed=8)
    static, dynamic = (LiteRTClassifier(models[name]).fit(SUPPORT, LABELS, QUERY) for name in ("static", "dynamic"))
    np.testing.assert_allclose(static.predict_proba(many), dynamic.predict_proba(many), atol=1e-5)


def test_no_picture_is_embedded_twice(file, monkeypatch):
    classifier = LiteRTClassifier(file)
    embedded = []
    embed = classifier.model.embed
    monkeypatch.setattr(classifier.model, "embed", lambda images: embedded.append(len(images)) or embed(images))
    classifier.fit(SUPPORT, LABELS, QUERY)
    classifier.predict(QUERY)
    classifier.predict_proba(np.concatenate([QUERY[:2], SUPPORT]), step=0)
    assert sum(embedded) == len(SUPPORT) + len(QUERY)
    classifier.fit(SUPPORT, LABELS, np.concatenate([QUERY, QUERY, pictures(1, seed=9)])[11:])
    assert sum(embedded) == len(SUPPORT) + len(QUERY) + 1


def test_only_the_latest_pictures_are_remembered(models, monkeypatch):
    monkeypatch.setattr(litert, "_KEPT", 5)
    classifier = LiteRTClassifier(models["dynamic"])
    expected = LiteRTModel(models["dynamic"]).embed(QUERY)
    np.testing.assert_array_equal(classifier.embed(QUERY), expected)  # More than it remembers, in one call.
    assert len(classifier._features) == 5
    classifier.embed(QUERY[7:8])  # The oldest of the five; now it is the latest.
    classifier.embed(SUPPORT[:4])
    assert len(classifier._features) == 5
    monkeypatch.setattr(classifier.model, "embed", None)  # What is remembered is not embedded.
    np.testing.assert_array_equal(classifier.embed(QUERY[7:8]), expected[7:8])


def test_limits_of_a_static_file_are_named_with_the_way_out(models):
    classifier = LiteRTClassifier(models["static"])
    with pytest.raises(InputError, match="support must have at most 12 rows.*got 13.*--max_support or --shapes=dyn"):
        classifier.fit(pictures(13), [0] * 13, QUERY)
    with pytest.raises(InputError, match="query must have at most 16 rows.*got 17.*--max_query or --shapes=dynamic"):
        classifier.fit(SUPPORT, LABELS, pictures(17))
    with pytest.raises(InputError, match="way must be at most 5.*got 6 classes.*--way or --shapes=dynamic"):
        classifier.fit(SUPPORT[:6], range(6), QUERY)
    features = classifier.embed(SUPPORT)
    with pytest.raises(InputError, match="way must be at most 5"):
        classifier.model.classify(features, features[:6])


def test_fit_and_predict_refuse_what_they_cannot_use(file):
    classifier = LiteRTClassifier(file)
    with pytest.raises(InputError, match="fit must be called before predict"):
        classifier.predict(QUERY)
    with pytest.raises(InputError, match="images must hold at least one"):
        classifier.fit([], [])
    with pytest.raises(InputError, match=r"labels must be as many as images \(10\); got 9"):
        classifier.fit(SUPPORT, LABELS[:9])


def test_a_fit_that_fails_leaves_the_one_before_whole(models):
    classifier = LiteRTClassifier(models["static"]).fit(SUPPORT[:2], ["a", "b"])
    before = classifier.predict_proba(QUERY)
    with pytest.raises(InputError, match="way"):
        classifier.fit(SUPPORT[:6], range(6))
    assert classifier.classes_.tolist() == ["a", "b"]
    np.testing.assert_array_equal(classifier.predict_proba(QUERY), before)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_features_to_classify_must_have_a_finite_length(file, value):
    """What `adapt` refuses is in test_fuzz."""
    model = LiteRTModel(file)
    good = model.embed(SUPPORT)
    bad = good.copy()
    bad[3, 2] = value
    with pytest.raises(InputError, match="query must be finite; it holds NaN, infinity or numbers near it"):
        model.classify(bad, good[:5])
    with pytest.raises(InputError, match="weights must be finite"):
        model.classify(good, bad[:5])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 3], "support_labels must be 0 .. way - 1, each at least once"),
        ([0, 1], "one number for each of 3"),
        # It would be cut off to 0 without a word.
        ([0, 0.9, 1], "support_labels must be whole numbers"),
        ([True, False, True], "support_labels must be whole numbers"),
    ],
)
def test_labels_of_the_model_are_whole_numbers_without_gaps(models, labels, message):
    model = LiteRTModel(models["dynamic"])
    with pytest.raises(InputError, match=message):
        model.adapt(model.embed(SUPPORT[:3]), np.array(labels), model.embed(QUERY))


def test_shapes_and_types_that_do_not_fit_are_refused(models):
    model, labels = LiteRTModel(models["dynamic"]), np.array(LABELS)
    features = model.embed(SUPPORT)
    with pytest.raises(InputError, match=r"images must be uint8 of shape \[pictures, 32, 32, 3\]; got uint8 \(10, 16"):
        model.embed(SUPPORT[:, :16])
    with pytest.raises(InputError, match="query must be float32; got float64"):
        model.adapt(features, labels, features.astype(np.float64))
    with pytest.raises(InputError, match="query must have the shape"):
        model.classify(features[0], features[:5])
    with pytest.raises(InputError, match="weights must have at least 1 row"):
        model.classify(features, features[:0])


def test_files_of_others_are_refused(models):
    whole = models["static"].read_bytes()
    Path("bare.tflite").write_bytes(whole[: whole.index(b"PK\x03\x04")])
    Path("note.tflite").write_text("no model")
    members = {"other": ("labels.txt", "cat"), "list": (METADATA, "[1]"), "torn": (METADATA, "{")}
    for name, member in {**members, "later": (METADATA, '{"format": 2}')}.items():
        with zipfile.ZipFile(f"{name}.tflite", "w") as archive:
            archive.writestr(*member)
    for name in ("bare", "note", *members):
        with pytest.raises(InputError, match=f"{name}.tflite is not a file of export.tflite, or is damaged"):
            LiteRTModel(f"{name}.tflite")
    with pytest.raises(InputError, match="later.tflite has format 2; this version reads 1"):
        LiteRTModel("later.tflite")
    for name in ("missing.tflite", "."):
        with pytest.raises(InputError, match="cannot be read"):
            LiteRTModel(name)


def test_threads_of_the_interpreter_change_nothing(file):
    one, two = (by_step(LiteRTModel(file, num_threads)) for num_threads in (1, 2))
    np.testing.assert_allclose(one, two, atol=1e-6)


def test_classifiers_in_threads_do_not_disturb_each_other(file):
    episodes = [(pictures(5, seed), pictures(9, 100 + seed)) for seed in range(4)]

    def answer(episode):
        support, query = episode
        return LiteRTClassifier(file).fit(support, range(5), query).predict_proba(query)

    expected = [answer(episode) for episode in episodes]
    with ThreadPoolExecutor(len(episodes)) as pool:
        np.testing.assert_array_equal(list(pool.map(answer, episodes * 3)), expected * 3)


def test_the_order_of_pictures_and_names_of_classes_only_permute_the_answers(file, fitted):
    expected = fitted.predict_proba(QUERY)
    order = np.random.RandomState(0).permutation(len(QUERY))
    moved = LiteRTClassifier(file).fit(SUPPORT, LABELS, QUERY[order])
    np.testing.assert_allclose(moved.predict_proba(QUERY), expected, atol=1e-5)
    np.testing.assert_array_equal(fitted.predict_proba(QUERY[order]), expected[order])
    mixed = np.random.RandomState(1).permutation(len(SUPPORT))
    moved = LiteRTClassifier(file).fit(SUPPORT[mixed], np.array(LABELS)[mixed], QUERY)
    np.testing.assert_allclose(moved.predict_proba(QUERY), expected, atol=1e-5)
    names = np.array(["d", "a", "e", "b", "c"])
    renamed = LiteRTClassifier(file).fit(SUPPORT, names[LABELS], QUERY)
    np.testing.assert_allclose(renamed.predict_proba(QUERY), expected[:, np.argsort(names)], atol=1e-5)


def test_equal_pictures_get_equal_answers(file):
    doubled = np.concatenate([QUERY[:6], QUERY[:6]])
    found = LiteRTClassifier(file).fit(SUPPORT[:5], range(5), doubled).predict_proba(doubled)
    np.testing.assert_allclose(found[:6], found[6:], atol=1e-6)
    once, twice = (
        LiteRTClassifier(file).fit(np.concatenate([SUPPORT[:5]] * n), [*range(5)] * n, QUERY) for n in (1, 2)
    )
    # The mean of equal pictures is the picture. The steps may differ: they see how many there are.
    np.testing.assert_allclose(once.predict_proba(QUERY, 0), twice.predict_proba(QUERY, 0), atol=1e-5)
    # All pictures equal: nothing tells the classes apart.
    same = LiteRTClassifier(file).fit(QUERY[[0, 0]], [0, 1], QUERY[[0]])
    np.testing.assert_allclose(same.predict_proba(QUERY[[0]]), [[0.5, 0.5]], atol=1e-5)


class Compiled(LiteRTModel):
    """The newer runtime, with which GPUs and NPUs are used."""

    def _run(self, signature, **inputs):
        compiled = CompiledModel.from_file(str(self.path))
        details = compiled.get_output_tensor_details(signature)
        given = {name: compiled.create_input_buffer_by_name(signature, name) for name in inputs}
        made = {name: compiled.create_output_buffer_by_name(signature, name) for name in details}
        for name, value in inputs.items():
            given[name].write(np.ascontiguousarray(value, self._types[signature][name]))
        compiled.run_by_name(signature, given, made)
        shapes = {name: tuple(details[name]["shape"]) for name in details}
        return {n: made[n].read(int(np.prod(s)), np.float32).reshape(s) for n, s in shapes.items()}


def test_compiled_model_runs_the_same_file(models):
    """It takes the file as it is, description and all."""
    compiled, model = Compiled(models["static"]), LiteRTModel(models["static"])
    features, query = model.embed(SUPPORT), model.embed(QUERY)
    np.testing.assert_allclose(compiled.embed(SUPPORT), features, rtol=1e-5, atol=1e-6)
    path = model.adapt(features, LABELS, query)
    np.testing.assert_allclose(compiled.adapt(features, LABELS, query), path, rtol=1e-5, atol=1e-6)
    (logits, probabilities), expected = (found.classify(query, path[-1]) for found in (compiled, model))
    np.testing.assert_allclose(logits, expected[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(probabilities, expected[1], atol=1e-5)


# Run in a process of its own: python -c ALONE FILE INPUTS OUTPUT
ALONE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {*sys.stdlib_module_names, "sib_tf", "numpy", "PIL", "ai_edge_litert"}:
            raise ImportError(f"{name} must not be needed")

sys.meta_path.insert(0, Refuse())
import numpy as np
from sib_tf import LiteRTClassifier

inputs = np.load(sys.argv[2])
classifier = LiteRTClassifier(sys.argv[1]).fit(inputs["support"], inputs["labels"], inputs["query"])
np.save(sys.argv[3], classifier.predict_proba(inputs["query"]))
"""


def test_numpy_pillow_and_litert_are_enough(models, tmp_path):
    """No other package can be imported, not even those that pip would bring along."""
    np.savez(tmp_path / "inputs.npz", support=SUPPORT, labels=LABELS, query=QUERY)
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(models["dynamic"]), "inputs.npz", "out.npy"],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = LiteRTClassifier(models["dynamic"]).fit(SUPPORT, LABELS, QUERY).predict_proba(QUERY)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)
