"""Files of the head alone: features in, the same classes out as of whole files; what goes together, and what cannot."""

import dataclasses
import shutil

import exported
import numpy as np
import pytest
from running import run
from test_cli import check_error

from export import export_flags, model_card, saved_model, tflite, verify
from sib_tf.backbones.pretrained.litert_embedder import LiteRTEmbedder
from sib_tf.commands import dataset_flags, predict
from sib_tf.config import BackboneConfig
from sib_tf.errors import InputError
from sib_tf.features import extraction
from sib_tf.prediction import trained_run
from sib_tf.prediction.litert import LiteRTClassifier, LiteRTModel
from sib_tf.storage import atomic


@pytest.fixture(scope="module")
def features(tiny_dataset, tmp_path_factory):
    """The folder of a feature cache of the tests' run."""
    folder = tmp_path_factory.mktemp("head") / "features"
    extraction.extract(tiny_dataset, exported.load_run(exported.run_folder()).backbone, folder)
    return folder


@pytest.fixture(scope="module")
def head(features):
    """A file of the head for 5 ways, 25 labelled and 75 unlabelled pictures, as the command writes it."""
    path = features.parent / "head.tflite"
    given = {"model_dir": exported.run_folder() / "sib", "features_dir": features, "output": path, "episodes": 3}
    assert run(tflite, given, head_only=True) == 0
    return path


@pytest.fixture(scope="module")
def whole():
    return LiteRTClassifier(exported.static_file())


SUPPORT, QUERY, LABELS = exported.pictures(10, seed=1), exported.pictures(30, seed=2), np.arange(10) % 5


def test_it_has_two_signatures_and_says_so(head):
    model = LiteRTModel(head)
    assert sorted(model._interpreter.get_signature_list()) == ["adapt", "classify"]
    expected = {"head_only": True, "image_size": None, "feature_dim": 16, "way": 5, "max_query": 75}
    assert {name: model.description[name] for name in expected} == expected
    assert model.description["backbone"]["name"] == "conv4"
    assert head.stat().st_size < exported.static_file().stat().st_size


def test_it_does_with_features_what_a_whole_file_does_with_pictures(head, whole):
    support, query = whole.embed(SUPPORT), whole.embed(QUERY)
    classifier = LiteRTClassifier(head).fit(support, LABELS, query)
    whole.fit(SUPPORT, LABELS, QUERY)
    np.testing.assert_allclose(classifier.weights_by_step_, whole.weights_by_step_, atol=1e-6)
    np.testing.assert_allclose(classifier.predict_proba(query), whole.predict_proba(QUERY), atol=1e-6)
    np.testing.assert_array_equal(classifier.predict(list(query)), whole.predict(QUERY))
    # Without unlabelled pictures there is nothing to step on.
    alone = LiteRTClassifier(head).fit(support, LABELS).weights_by_step_
    np.testing.assert_array_equal(alone, np.broadcast_to(alone[:1], alone.shape))


def test_pictures_are_refused_with_the_way_out(capsys, head, tmp_path):
    refused = (
        r"head\.tflite has the head alone: it takes no pictures, but features of length 16.*--backbone_dir instead"
    )
    for embed in (LiteRTModel(head).embed, LiteRTClassifier(head).embed):
        with pytest.raises(InputError, match=refused):
            embed(SUPPORT)
    with pytest.raises(InputError, match=r"support must have the shape \[rows, 16\]; got \(10, 32, 32, 3\)"):
        LiteRTClassifier(head).fit(SUPPORT, LABELS)
    for name in ("labelled", "new"):
        (tmp_path / name / "ant").mkdir(parents=True)
    given = {"model": head, "support": "labelled", "query": "new", "output": "out.csv"}
    check_error(capsys, run(predict, given), ".*has the head alone: it takes no pictures")


def test_it_is_verified_on_features(capsys, head, features):
    given = {"model_dir": exported.run_folder() / "sib", "features_dir": features, "exported": head, "episodes": 4}
    assert run(verify, given) == 0
    printed = capsys.readouterr().out
    assert "| head.tflite | float32 |" in printed and "4 test episodes (tiny" not in printed
    # A whole file's head can be compared so, too.
    assert run(verify, given, exported=exported.static_file()) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features_dir": None}, "features_dir must be given for the head alone, .*of its backbone; it is missing"),
        ({"backbone_dir": "b"}, "backbone_dir does not belong to the head alone.*; got b. Leave it out"),
        ({"head_only": False}, "backbone_dir must be given for a whole model; it is missing"),
        ({"precision": "int8"}, "precision must be float32 with --head_only, as heads always are; got int8"),
        ({"features_dir": "none"}, "features_dir none holds no feature cache"),
    ],
)
def test_what_goes_together(capsys, features, changes, message):
    given = {"model_dir": exported.run_folder() / "sib", "features_dir": features, "output": "h.tflite"}
    given = {name: value for name, value in {**given, "head_only": True, **changes}.items() if value is not None}
    check_error(capsys, run(tflite, given), message)


def test_features_of_another_backbone_are_refused(capsys, tiny_features):
    given = {"model_dir": exported.run_folder() / "sib", "features_dir": tiny_features, "output": "h.tflite"}
    message = "The model in .*sib was meta-trained on features of another backbone than that of features_dir"
    check_error(capsys, run(tflite, given, head_only=True), message)


@pytest.mark.parametrize("exporter", [tflite, saved_model])
def test_a_tflite_embedder_goes_into_no_other_file(capsys, monkeypatch, exporter):
    """Said before the data set is loaded."""
    import keras

    pictures = keras.Input((32, 32, 3))
    embedder = keras.Model(pictures, LiteRTEmbedder(8, 16, [0.0], [1.0])(pictures))
    whole = exported.load_run(exported.run_folder())
    config = BackboneConfig(name="embedder", source="embedder.tflite", image_size=32)
    wrapped = trained_run.Run(embedder, config, whole.sib, whole.origin, "tiny")
    monkeypatch.setattr(export_flags, "load_run", lambda values: wrapped)
    monkeypatch.setattr(dataset_flags, "load", lambda *_: pytest.fail("the data set was loaded"))
    output = {"output": "m.tflite"} if exporter is tflite else {"output_dir": "out"}
    code = run(exporter, {"model_dir": "sib", "backbone_dir": "backbone"}, **output)
    check_error(capsys, code, r"backbone_dir holds embedder\.tflite, a \.tflite file.* --head_only --features_dir")


def test_the_head_s_data_set_counts_where_the_backbone_has_none(tmp_path):
    """Imported backbones were trained elsewhere."""
    shutil.copytree(exported.run_folder(), tmp_path / "run")
    for stage, change in (
        ("backbone", lambda record: record.pop("dataset")),
        ("sib", lambda record: record["features"].update(dataset={"name": "pacs"})),
    ):
        path = tmp_path / "run" / stage / "config.json"
        record = atomic.read_json(path, "Configuration")
        change(record)
        atomic.write_json(path, record)
    run_folder = exported.load_run(tmp_path / "run")
    assert (run_folder.dataset, run_folder.description()["trained_on"]) == ("pacs", "pacs")
    assert trained_run.load_head(tmp_path / "run" / "sib", feature_dim=16).dataset == "pacs"


def test_the_card_of_an_imported_backbone_names_its_source():
    """It has no width."""
    whole = exported.load_run(exported.run_folder())
    origin = {"name": "efficientnet_lite0", "source": "efficientnet_lite0", "width": None, "weights": "0" * 64}
    imported = dataclasses.replace(whole, origin=origin).description()
    assert "| efficientnet_lite0 of `efficientnet_lite0`, features of" in model_card.text(imported, [])
    averaged = dataclasses.replace(whole, origin={**origin, "averaged_views": 4}).description()
    assert "mirror images are one class" in model_card.text(averaged, [])
    assert "mirror images" not in model_card.text(whole.description(), [])
    assert "| conv4, width 4, features of length 16" in model_card.text(whole.description(), [])
