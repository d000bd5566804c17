"""Backbones that average over views of a picture: numbers by hand, told from others, exported."""

import dataclasses

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from exported import write_sib
from test_pretrained import write_keras

from benchmarks import row_tables
from export import conversion
from export.serving import saved_name
from sib_tf import backbones, checkpoints, pretraining
from sib_tf.backbones import pretrained
from sib_tf.backbones.averaged_views import average_views
from sib_tf.backbones.pretrained import Request
from sib_tf.commands import cli
from sib_tf.config import AVERAGED_VIEWS, BackboneConfig, PretrainConfig, backbone_name
from sib_tf.devices import Devices
from sib_tf.errors import InputError
from sib_tf.features import Embedder, extraction, weights_fingerprint
from sib_tf.prediction import trained_run
from sib_tf.storage import atomic, run_records
from train import average_views as command

CONFIG = BackboneConfig(width=4, mean=(120, 115, 110), std=(60, 61, 62))


@pytest.fixture(scope="module")
def backbone(tiny_backbone):
    return tiny_backbone


@pytest.fixture
def folder(tmp_path, backbone):
    """That of a backbone, as a pre-training on the data set `tiny` leaves it."""
    checkpoints.save_model(backbone, tmp_path / "backbone" / backbones.FILE)
    record = {"backbone": dataclasses.asdict(CONFIG), "dataset": {"name": "tiny"}, "pretraining": {}}
    atomic.write_json(tmp_path / "backbone" / run_records.CONFIG, record)
    return tmp_path / "backbone"


def pictures(count: int = 5, size: int = 32) -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (count, size, size, 3)).astype(np.float32)


def moved(given: np.ndarray, step: int) -> np.ndarray:
    """By `step` pixels down and to the right, or up and to the left; black comes in."""
    result = np.zeros_like(given)
    if step > 0:
        result[:, step:, step:] = given[:, :-step, :-step]
    else:
        result[:, :step, :step] = given[:, -step:, -step:]
    return result


@pytest.mark.parametrize("views", [2, 4])
def test_features_are_the_mean_over_the_views(backbone, views):
    given = pictures()
    seen = [given, given[:, :, ::-1], moved(given, 2), moved(given, -2)[:, :, ::-1]][:views]
    expected = np.mean([np.asarray(backbone(view)) for view in seen], axis=0)
    np.testing.assert_allclose(average_views(backbone, views)(given), expected, atol=1e-6)


def test_mirrored_pictures_have_the_same_features(backbone):
    given, two = pictures(), average_views(backbone, 2)
    assert np.abs(np.subtract(backbone(given), backbone(given[:, :, ::-1]))).max() > 1e-3
    np.testing.assert_allclose(two(given), two(given[:, :, ::-1]), atol=1e-6)


def test_weights_are_shared_and_features_told_from_those_of_other_views(backbone):
    models = [backbone, average_views(backbone, 2), average_views(backbone, 4)]
    assert len({weights_fingerprint(model) for model in models}) == 3
    for model in models[1:]:
        assert all(mine is its for mine, its in zip(model.weights, backbone.weights, strict=True))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_folder_of_it_is_loaded_as_it_was_written(tmp_path, precision):
    config = dataclasses.replace(CONFIG, precision=precision)
    one = backbones.build(config)
    checkpoints.save_model(one, tmp_path / "one" / backbones.FILE)
    atomic.write_json(tmp_path / "one" / run_records.CONFIG, {"backbone": dataclasses.asdict(config)})
    written = backbones.write_averaged(tmp_path / "one", 4, tmp_path / "four")
    four, found = backbones.load(tmp_path / "four")
    assert found == written == dataclasses.replace(config, averaged_views=4)
    expected = average_views(one, 4)
    assert weights_fingerprint(four) == weights_fingerprint(expected)
    np.testing.assert_allclose(four(pictures()), expected(pictures()), atol=1e-6)
    whole = average_views(backbones.in_float32(one, config), 4)
    np.testing.assert_allclose(backbones.in_float32(four, found)(pictures()), whole(pictures()), atol=1e-6)


def run(*arguments: str) -> int:
    return cli.run(command.main, command.FLAGS, "", ["average_views", *arguments])


def test_the_command_and_what_follows_it(folder, tmp_path, tiny_dataset, capsys):
    """Extraction, a head's own backbone, export: the file has the layers once, and embeds as Keras does."""
    for _ in range(2):  # It may be repeated.
        assert run(f"--backbone_dir={folder}", f"--output_dir={tmp_path / 'four'}") == 0
    assert capsys.readouterr().out.startswith("Backbone conv4, averaged over 4 views, written to ")
    four, _ = backbones.load(tmp_path / "four")
    extraction.extract(tiny_dataset, four, tmp_path / "features")
    write_sib(tmp_path / "sib", tmp_path / "features", num_steps=2)
    loaded = trained_run.load(tmp_path / "sib", tmp_path / "four")
    assert loaded.dataset == "tiny"
    described = loaded.description()["backbone"]
    assert (described["name"], described["averaged_views"]) == ("conv4, views=4", 4)
    with pytest.raises(InputError, match="another backbone"):
        trained_run.load(tmp_path / "sib", folder)
    signatures = loaded.signatures()
    content = conversion.convert(signatures, 5, 5, 5)
    embed = Interpreter(model_content=content).get_signature_runner("embed")
    found = np.concatenate([embed(images=picture[None])["features"] for picture in pictures()])
    np.testing.assert_allclose(found, four(pictures()), atol=1e-5)
    signatures.backbone = backbones.load(folder)[0]
    assert len(content) < len(conversion.convert(signatures, 5, 5, 5)) + 4000


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_smaller_files_embed_alike(folder, tmp_path, precision, tiny_dataset):
    backbones.write_averaged(folder, 4, tmp_path / "four")
    four, _ = backbones.load(tmp_path / "four")
    extraction.extract(tiny_dataset, four, tmp_path / "features")
    write_sib(tmp_path / "sib", tmp_path / "features", num_steps=1)
    signatures = trained_run.load(tmp_path / "sib", tmp_path / "four").signatures()
    samples = tiny_dataset.train.images[:64]
    content = conversion.quantised(conversion.convert(signatures, 5, 5, 5), precision, samples)
    embed = Interpreter(model_content=content).get_signature_runner("embed")
    given = tiny_dataset.test.images[:8].astype(np.float32)
    found = np.concatenate([embed(images=picture[None])["features"] for picture in given])
    expected = np.asarray(four(given))
    assert np.abs(found - expected).max() < {"float16": 0.005, "int8": 0.05}[precision] * expected.max()


def test_a_saved_classifier_is_not_taken_for_one_of_a_single_view():
    """Published weights go by their name, others by their fingerprint too; as photographs' embedder is called."""
    origin = {"source": "efficientnet_lite0", "weights": "0123456789abcdef"}
    for views, name in ((1, "efficientnet_lite0"), (4, "efficientnet_lite0, views=4")):
        assert backbone_name("efficientnet_lite0", views) == name
        assert saved_name({**origin, "name": name, "averaged_views": views}) == name
    own = {**origin, "source": None, "name": "conv4, views=4", "averaged_views": 4}
    assert saved_name(own) == "conv4, views=4-0123456789ab"


def test_what_cannot_be_averaged_is_refused(folder, tmp_path):
    four = tmp_path / "four"
    backbones.write_averaged(folder, 4, four)
    before = {path.name: path.read_bytes() for path in four.iterdir()}
    with pytest.raises(InputError, match=r"four averages over 4 views already; name the one that it is of\."):
        backbones.write_averaged(four, 2, tmp_path / "eight")
    with pytest.raises(InputError, match=r"backbone holds another run; name a new folder\."):
        backbones.write_averaged(four, 2, folder)
    with pytest.raises(InputError, match=r"Configuration .*nowhere/config\.json"):
        backbones.write_averaged(tmp_path / "nowhere", 2, four)
    config = dataclasses.replace(CONFIG, name="embedder", source="phone.tflite")
    atomic.write_json(folder / run_records.CONFIG, {"backbone": dataclasses.asdict(config)})
    with pytest.raises(InputError, match=r"holds phone\.tflite, which devices run by itself, on one view of a pic"):
        backbones.write_averaged(folder, 2, tmp_path / "eight")
    assert {path.name: path.read_bytes() for path in four.iterdir()} == before
    assert not (tmp_path / "eight").exists()
    with pytest.raises(InputError, match=r"averaged_views must be 1, 2 or 4; got 3"):
        dataclasses.replace(CONFIG, averaged_views=3)


def test_an_imported_one_keeps_its_preprocessing_and_record(tmp_path):
    pretrained.import_backbone(Request(str(write_keras(tmp_path / "own.keras"))), tmp_path / "one")
    config = backbones.write_averaged(tmp_path / "one", 2, tmp_path / "two")
    one, two = (backbones.load(tmp_path / name)[0] for name in ("one", "two"))
    given = pictures()
    expected = np.mean([one(given), one(given[:, :, ::-1])], axis=0)
    np.testing.assert_allclose(two(given), expected, atol=1e-5)
    assert (config.source, config.larger) == (str(tmp_path / "own.keras"), "reduce")
    record = atomic.read_json(tmp_path / "two" / run_records.CONFIG, "Configuration")
    assert record["averaged"]["record"]["imported"]["sha256"]


def test_a_file_of_it_is_not_imported_as_a_backbone_of_one_view(folder, tmp_path):
    backbones.write_averaged(folder, 2, tmp_path / "two")
    source = tmp_path / "two" / backbones.FILE
    with pytest.raises(InputError, match=r"averages over 2 views; import the model that it is of, and average that"):
        pretrained.import_backbone(Request(str(source)), tmp_path / "imported")


def test_as_many_pictures_are_embedded_at_once_as_memory_is_for(backbone):
    sizes = [
        Embedder(average_views(backbone, views) if views > 1 else backbone, Devices()).batch_size
        for views in AVERAGED_VIEWS
    ]
    assert sizes == [256, 128, 64]


@pytest.mark.parametrize("views", [1, 3, 8])
def test_other_numbers_of_views_are_refused(backbone, views):
    with pytest.raises(InputError, match=f"views must be 2 or 4; got {views}"):
        average_views(backbone, views)


def test_a_row_of_results_says_it():
    features = {"backbone": {"name": "conv4_4_views"}, "feature_dim": 1600, "image_size": 80}
    assert row_tables._backbone(features) == "Conv-4-64, 4 views averaged"


def test_it_is_not_trained_further(folder, tmp_path, tiny_dataset):
    backbones.write_averaged(folder, 2, tmp_path / "two")
    two, config = backbones.load(tmp_path / "two")
    with pytest.raises(InputError, match=r"averaged_views must be 1 for training; got 2"):
        pretraining.pretrain(tiny_dataset, config, PretrainConfig(epochs=1), tmp_path / "run", initial=two)
    assert not (tmp_path / "run").exists()
