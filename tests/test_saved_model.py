"""export.saved_model: the folder that it writes, its versions, and that TensorFlow alone can run it."""

import dataclasses
import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import running
import tensorflow as tf
from exported import load_run, run_folder
from serving_double import ServedModel, from_json
from test_cli import check_error

from export import export_flags, head_alone, model_card, precisions, saved_model, serving
from sib_tf import SIBClassifier
from sib_tf.commands import cli
from sib_tf.storage import atomic

SUMMARY = "tiny, 5-way 1-shot, 15 queries a class: SIB (K = 3) 70.16 +-0.57 %, nearest prototypes 57.74 +-0.48 %"


@pytest.fixture(scope="module")
def run():
    return load_run(run_folder())


@pytest.fixture(scope="module", autouse=True)
def tiny_data(tiny_dataset):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_flags, "load_data", lambda *_: tiny_dataset)
        yield


@pytest.fixture(scope="module")
def versions(run, tmp_path_factory):
    """The folder of versions with one that the entry point wrote."""
    home = tmp_path_factory.mktemp("home")
    metrics = write_metrics(home / "metrics.json", run)
    assert export(output_dir=home / "saved", metrics=metrics) == 0
    return home / "saved"


@pytest.fixture
def written_before(versions, monkeypatch):
    """Copies the version there is instead of tracing the model again."""
    copy = functools.partial(shutil.copytree, versions / "1", dirs_exist_ok=True)
    monkeypatch.setattr(serving, "write", lambda folder, *_: copy(folder))
    monkeypatch.setattr(head_alone, "content", lambda *_: b"")


def export(**flags) -> int:
    given = {"model_dir": run_folder() / "sib", "backbone_dir": run_folder() / "backbone", "episodes": 4}
    return running.run(saved_model, given, **flags)


def write_metrics(path: Path, run, **changes) -> Path:
    metrics = {
        "summary": SUMMARY,
        "accuracy": 0.7016,
        "model": dataclasses.asdict(run.sib.config),
        "backbone": run.description()["backbone"],
    }
    path.write_text(json.dumps({**metrics, **changes}))
    return path


def test_the_folder_and_its_description(versions, run):
    names = {path.name for path in (versions / "1").iterdir()}
    examples = {"example_request.json", "example_encoded.json"}
    assert {"saved_model.pb", "variables", "config.json", "MODEL_CARD.md", *examples} <= names
    assert [path.name for path in versions.iterdir()] == ["1"]  # Nothing half-written.
    config = atomic.read_json(versions / "1" / "config.json", "Configuration")
    files = config.pop("files")
    assert {"saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"} <= set(files)
    assert set(files) == {name for name in files if (versions / "1" / name).is_file()}
    assert config == {**run.description(), "max_support": None, "max_query": None, "precision": "float32"}


def test_the_model_card(versions):
    card = (versions / "1" / "MODEL_CARD.md").read_text()
    for text in (
        SUMMARY, "K = 3 steps", "| classes | any number |", "32 x 32 pixels", "Apache-2.0", "Transductive",
        "Probabilities are not calibrated", "none of these", "`serving_default`", "pad_variable_length_inputs",
        "glyphs",
    ):  # fmt: skip
        assert text in card, text
    assert "{" not in card and "None" not in card


def test_a_card_without_metrics_says_so():
    card = model_card.text(load_run(run_folder("joint")).description(), [])
    assert "Not measured" in card and "| classes | exactly 5 |" in card


def test_the_card_says_whether_pictures_of_no_class_can_be_told():
    description = load_run(run_folder()).description()
    assert description["known"] is None
    cannot, can = 'no "none of these"', "--unknown_below"
    for known, said, other in ((None, cannot, can), ([0.5, 2.0], can, cannot)):
        card = model_card.text({**description, "known": known}, [])
        assert said in card and other not in card


def test_names_types_and_shapes(versions):
    """As any program sees them, `saved_model_cli show` for one."""
    signatures = ServedModel("sib", versions / "1").signatures
    of_files = {"serving_encoded", "embed_encoded", "learn_encoded", "classify_encoded"}
    assert set(signatures) == {"serving_default", "embed", "adapt", "classify", *of_files, "learn", "head"}
    served = signatures["serving_default"]
    found = {
        name: (tf.as_dtype(info.dtype).name, tuple(dim.size for dim in info.tensor_shape.dim))
        for name, info in [*served.inputs.items(), *served.outputs.items()]
    }
    assert found == {
        "support_images": ("uint8", (-1, -1, 32, 32, 3)),
        "support_labels": ("int32", (-1, -1)),
        "support_mask": ("bool", (-1, -1)),
        "query_images": ("uint8", (-1, -1, 32, 32, 3)),
        "query_mask": ("bool", (-1, -1)),
        "probabilities": ("float32", (-1, -1, -1)),
        "predicted_class": ("int32", (-1, -1)),
        "confidence": ("float32", (-1, -1)),
    }


def test_the_examples_are_one_episode(versions):
    served, answers = ServedModel("sib", versions / "1"), []
    for name in ("example_request", "example_encoded"):
        request = json.loads((versions / "1" / f"{name}.json").read_text())
        types = served.signatures[request["signature_name"]].inputs
        inputs = {key: from_json(value, tf.as_dtype(types[key].dtype)) for key, value in request["inputs"].items()}
        answers.append(served.predict(request["signature_name"], inputs)["probabilities"])
    np.testing.assert_allclose(*answers, rtol=0, atol=1e-5)


def test_clients_get_the_trained_head(versions, tmp_path):
    """The one that was converted answers as the model does."""
    served = ServedModel("sib", versions / "1")
    (tmp_path / "head.tflite").write_bytes(served.predict("head", {"sib_format": np.array(1, np.int32)})["head_bytes"])
    rows, labels = np.random.RandomState(0).normal(size=(9, 16)).astype(np.float32), np.arange(3)
    classifier = SIBClassifier(tmp_path / "head.tflite").fit(rows, [*labels, *[-1] * 6])
    inputs = {"support": rows[None, :3], "support_labels": labels[None].astype(np.int32), "query": rows[None, 3:]}
    masks = {"support_mask": np.ones((1, 3), np.int32), "query_mask": np.ones((1, 6), np.int32)}
    weights = served.predict("learn", {**inputs, **masks})["weights"]
    expected = served.predict("classify", {"query": rows[None], "weights": weights[:, 1]})["probabilities"]
    np.testing.assert_allclose(classifier.predict_proba(rows), expected[0], rtol=0, atol=1e-5)


# TensorFlow imports keras where there is one, and does without where its import fails.
PYTHON = """
import sys

sys.modules.update(dict.fromkeys(("sib_tf", "export", "train", "keras", "tf_keras")))
import numpy as np
import tensorflow as tf

with np.load("inputs.npz") as arrays:
    constants = {name: tf.constant(value) for name, value in arrays.items()}
result = tf.saved_model.load(sys.argv[1]).signatures["serving_default"](**constants)
np.savez("answers.npz", **{name: value.numpy() for name, value in result.items()})
"""


@pytest.mark.slow
def test_a_process_with_tensorflow_alone_answers_the_example(versions, run):
    request = json.loads((versions / "1" / "example_request.json").read_text())
    assert request["signature_name"] == "serving_default"
    types = {"images": np.uint8, "labels": np.int32, "mask": bool}
    example = {name: np.array(value, types[name.split("_")[1]]) for name, value in request["inputs"].items()}
    np.savez("inputs.npz", **example)
    subprocess.run([sys.executable, "-I", "-c", PYTHON, versions / "1"], check=True)
    answers = np.load("answers.npz")
    support, query = (
        run.backbone(example[f"{side}_images"][0].astype("float32"))[None] for side in ("support", "query")
    )
    expected = np.array(tf.nn.softmax(run.sib(support, example["support_labels"], query, way=5)))
    np.testing.assert_allclose(answers["probabilities"], expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(answers["predicted_class"], expected.argmax(-1))
    assert answers["predicted_class"].shape == (1, 10)  # Two queries for each of five classes.


def test_versions_count_on_and_none_is_replaced(capsys, versions, written_before, tmp_path):
    saved = tmp_path / "saved"
    assert saved_model.version_folder(saved, None) == saved / "1"
    for name in ("1", "7", "٣٣", "12-old"):  # The third are digits, but no version.
        shutil.copytree(versions / "1", saved / name)
    assert saved_model.version_folder(saved, 3) == saved / "3"
    before = (saved / "7" / "saved_model.pb").stat().st_mtime_ns
    code = export(output_dir=saved, version=7)
    check_error(capsys, code, "version 7 is in .*saved already; name another, or leave --version out")
    assert (saved / "7" / "saved_model.pb").stat().st_mtime_ns == before
    assert export(output_dir=saved, episodes=2) == 0
    assert sorted(path.name for path in saved.iterdir()) == ["1", "12-old", "7", "8", "٣٣"]


def test_an_export_that_differs_is_not_left(capsys, written_before, tmp_path, monkeypatch):
    strict = precisions.Precision("", precisions.Limits(-1, -1, -1, 0.5))
    monkeypatch.setitem(precisions.PRECISIONS, "float32", strict)
    code = export(output_dir=tmp_path / "saved")
    check_error(capsys, code, r"The SavedModel does not do what the model does \(features .*nothing was written")
    assert list((tmp_path / "saved").iterdir()) == []


def test_an_export_that_breaks_off_is_not_left(written_before, tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(serving, "example_request", fail)
    assert export(output_dir=tmp_path / "saved") == 130
    assert list((tmp_path / "saved").iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {}}, r"metrics are of another model \(feature_dim, .*gradient_network.*Name those of model_dir\."),
        ({"backbone": {"name": "conv4", "weights": "0" * 64}}, "metrics are of a model with another backbone"),
        ({"summary": None}, r"metrics .*other\.json is not a file that train\.evaluate writes"),
    ],
)
def test_metrics_of_another_model_are_refused(run, tmp_path, changes, message):
    with pytest.raises(cli.InputError, match=message):
        model_card.load_metrics([write_metrics(tmp_path / "other.json", run, **changes)], run)


def test_files_that_do_not_fit_are_named(capsys, written_before):
    check_error(capsys, export(output_dir="saved", metrics="none.json"), r"metrics none\.json cannot be read")
    assert not list(Path().glob("saved/*"))
    Path("taken").write_text("")
    check_error(capsys, export(output_dir="taken"), "Cannot write to the folder .*taken")
