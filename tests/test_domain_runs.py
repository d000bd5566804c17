"""Zero-shot classification as users run it: data sets of domains, the command line, ResNet-18, scores, and errors."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running import run
from test_cli import check_error

from sib_tf.commands import cli
from sib_tf.datasets import domains, glyph_domains, pacs
from sib_tf.errors import InputError
from sib_tf.storage import run_lock
from sib_tf.zero_shot.config import DomainAdaptationConfig
from sib_tf.zero_shot.domain_adaptation import backbone, experiment, scoring
from sib_tf.zero_shot.domain_adaptation.tasks import Sources
from train import domain_adaptation as entry_point


def make_pacs(root: Path) -> Path:
    """A folder laid out as PACS, three pictures a class: grey by class, JPEG but for the sketches."""
    for d, domain in enumerate(pacs.DOMAINS):
        for c, name in enumerate(pacs.CLASSES):
            folder = root / domain / name
            folder.mkdir(parents=True)
            for i in range(3):
                picture = Image.new("RGB", (24, 20), (30 * c + 10, 40 * d, 9 * i))
                picture.save(folder / f"pic_{i:03d}.{'png' if domain == 'sketch' else 'jpg'}")
    return root


def test_glyph_domains_are_deterministic_and_their_styles_differ():
    for domain in glyph_domains.DOMAINS:
        one, again, other = (glyph_domains.draw(domain, "R", i, 32, s) for i, s in ((1, 0), (1, 0), (1, 1)))
        np.testing.assert_array_equal(one, again)
        assert one.shape == (32, 32, 3) and one.dtype == np.uint8
        assert (one != other).any() and (one != glyph_domains.draw(domain, "R", 2, 32, 0)).any()
    means = {d: np.mean([glyph_domains.draw(d, "A", i, 32, 0) for i in range(20)]) for d in glyph_domains.DOMAINS}
    # Light grounds, a dark one, and any.
    assert means["outline"] < means["textured"] < min(means["print"], means["hand"])


def test_glyph_domains_are_kept(monkeypatch):
    monkeypatch.setattr(glyph_domains, "PICTURES_PER_CLASS", 2)
    dataset = domains.load("glyph_domains", cache_dir="cache")
    assert list(dataset.domains) == ["print", "outline", "hand", "textured"]
    assert dataset.domains["hand"].images.shape == (20, 32, 32, 3)
    monkeypatch.setattr(glyph_domains, "draw", None)
    again = domains.load("glyph_domains", cache_dir="cache")
    np.testing.assert_array_equal(again.domains["hand"].images, dataset.domains["hand"].images)


def test_other_counts_than_the_published_are_warned_of(caplog, monkeypatch):
    make_pacs(Path("data"))
    pacs.builder_config("data", 16)
    counts = dict.fromkeys(pacs.DOMAINS, 21)
    assert caplog.messages == [f"data has {counts} pictures; PACS has {pacs.PICTURES}."]
    assert sum(pacs.PICTURES.values()) == 9991
    monkeypatch.setattr(pacs, "PICTURES", counts)
    caplog.clear()
    pacs.builder_config("data", 16)
    assert not caplog.messages


def test_pacs_is_read_with_and_without_kfold():
    make_pacs(Path("data/kfold"))
    nested = domains.load("pacs", "data", "cache", 16)
    assert nested.domains["sketch"].images.shape == (21, 16, 16, 3)
    np.testing.assert_array_equal(nested.domains["photo"].labels, np.repeat(np.arange(7), 3))
    np.testing.assert_array_equal(nested.domains["sketch"].images[4, 0, 0], (40, 120, 9))
    plain = domains.load("pacs", "data/kfold", "cache2", 16)
    np.testing.assert_array_equal(plain.domains["cartoon"].images, nested.domains["cartoon"].images)


TINY = {"backbone": "conv4", "width": 4, "image_size": 16, "num_steps": 1}
TINY |= {"minibatch": 6, "steps": 2, "validations": 1}


@pytest.fixture(scope="module")
def small_pacs(tmp_path_factory) -> dict[str, Path]:
    """Flags for a small PACS that is prepared once."""
    root = tmp_path_factory.mktemp("pacs")
    return {"dataset": "pacs", "data_dir": make_pacs(root / "data"), "cache_dir": root / "cache", "target": "sketch"}


def test_pacs_from_the_command_line_and_again(small_pacs, capsys):
    common = small_pacs | TINY | {"output_dir": "run", "oracle": "true"}
    assert run(entry_point, common, methods="source_only,sib_rot", seeds="0,1") == 0
    metrics = json.loads(Path("run/metrics.json").read_text())
    assert [row["name"] for row in metrics["rows"]] == ["source_only", "sib_rot", "sib_rot - source_only"]
    text = Path("run/report.md").read_text()
    for name in ("accuracy.png", "domains.png"):
        assert f"({name})" in text
        with Image.open(Path("run") / name) as picture:
            assert picture.width > 200
    assert "\nPictures: art_painting 21, cartoon 21, photo 21, sketch 21.\n" in text
    assert "oracle" in text and "| sketch | `sib_rot` | 1 |" in text
    difference = metrics["rows"][2]["targets"]["sketch"]
    cell = f"{100 * difference['mean']:+.2f} +-{100 * difference['ci95']:.2f}"
    assert f"\n| sib_rot - source_only | {cell} | {cell} | " in text
    assert "sib_rot - source_only: " in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in Path("run/sketch").rglob("*") if path.is_file()}
    assert len(before) == 4 * 4
    # Another method joins; what is done stays.
    assert run(entry_point, common, methods="source_only,k0,sib_rot", seeds="0") == 0
    assert Path("run/sketch/k0-0/result.json").is_file()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    # Another setting does not.
    assert run(entry_point, common, steps=3, methods="k0") == cli.USAGE_ERROR
    assert "run holds a run with other settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data_dir": "nowhere"}, "data_dir must be an existing folder; nowhere is not"),
        ({"target": "pencil"}, "target must be one of art_painting, .*; got 'pencil'"),
        ({"methods": "k0,k1"}, "methods must be one of .*; got 'k1'"),
        ({"seeds": "0,x"}, "seeds must be whole numbers.*; got '0,x'"),
        ({"seeds": "0,²"}, "seeds must be whole numbers.*; got '0,²'"),
        ({"seeds": "1,1"}, "seeds must be some, each once; got 1,1"),
        ({"minibatch": 50}, "minibatch must be at most the pictures of a domain, 21 for art_painting; got 50"),
        ({"weights": "imagenet"}, "weights=imagenet is for backbone=resnet18; got conv4"),
        ({"weights": "no.keras"}, "weights must be imagenet, random or a file; there is no file no.keras"),
        ({"inner_learning_rate": 0}, "inner_learning_rate must be above 0"),
        ({"dataset": "glyph_domains"}, "data_dir must not be given for data set 'glyph_domains'"),
    ],
)
def test_errors_are_one_line(values, message, small_pacs, capsys):
    check_error(capsys, run(entry_point, small_pacs | TINY | {"output_dir": "run"} | values), message)


def test_a_folder_that_is_in_use_is_refused(small_pacs, capsys):
    with run_lock.held("run"):
        check_error(capsys, run(entry_point, small_pacs | TINY, output_dir="run"), "run is in use by process ")
        assert [path.name for path in Path("run").iterdir()] == [".lock"]


def test_what_pacs_lacks_is_named(capsys):
    data = make_pacs(Path("data"))
    common = TINY | {"dataset": "pacs", "cache_dir": "cache", "target": "sketch", "output_dir": "run"}
    error = "There is no folder data/photo/art_painting/dog; lay PACS out as <data_dir>/<domain>/<class>"
    check_error(capsys, run(entry_point, common, data_dir=data / "photo"), error)
    (data / "photo" / "dog" / "pic_000.jpg").write_bytes(b"no picture")
    error = r"data/photo/dog/pic_000\.jpg cannot be read as a picture"
    check_error(capsys, run(entry_point, common, data_dir=data), error)
    assert not list(Path("cache").rglob("*.tfrecord*"))


def test_every_domain_in_turn_and_scored_again_without_training(monkeypatch):
    monkeypatch.setattr(glyph_domains, "PICTURES_PER_CLASS", 6)
    given = {"dataset": "glyph_domains", "cache_dir": "cache", "output_dir": "run", "target": "all", "methods": "rot"}
    assert run(entry_point, TINY | given) == 0
    first = Path("run/metrics.json").read_text()
    assert {path.name for path in Path("run").iterdir() if path.is_dir()} == set(glyph_domains.DOMAINS)
    monkeypatch.setattr(experiment, "_run", None)
    assert run(entry_point, TINY | given) == 0
    assert Path("run/metrics.json").read_text() == first


def build_resnet18(weights: str):
    config = DomainAdaptationConfig(backbone="resnet18")
    return backbone.build(config, Sources({}, {}, np.zeros((1, 64, 64, 3), np.uint8)), weights)


def test_resnet18_is_keras_hubs_on_pictures_of_0_to_255(monkeypatch):
    """11,176,512 weights that are learned (torchvision's, without its classifier), and 512 features, by number."""
    keras_hub = pytest.importorskip("keras_hub")
    hub = keras_hub.models.ResNetBackbone(**backbone._RESNET18)
    random = np.random.RandomState(0)
    hub.set_weights([w + np.abs(0.1 * random.normal(size=w.shape)) * (w.ndim == 1) for w in hub.get_weights()])
    monkeypatch.setattr(keras_hub.models.Backbone, "from_preset", {"resnet_18_imagenet": hub}.get)
    model = build_resnet18("imagenet")
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == 11_176_512
    assert model.output_shape == (None, 512)
    pictures = random.uniform(0, 255, (2, 64, 64, 3)).astype("f")
    normalised = (pictures - (123.675, 116.28, 103.53)) / (58.395, 57.12, 57.375)
    np.testing.assert_allclose(model(pictures), hub(normalised).numpy().mean(axis=(1, 2)), rtol=1e-3, atol=1e-3)


def test_weights_that_cannot_be_had_are_told(monkeypatch):
    keras_hub = pytest.importorskip("keras_hub")
    monkeypatch.setattr(keras_hub.models.Backbone, "from_preset", {}.__getitem__)
    with pytest.raises(InputError, match=r"resnet_18_imagenet cannot be fetched \(.*\); name a file with --weights="):
        build_resnet18("imagenet")
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(InputError, match=r"needs keras-hub.*pip install 'sib_tf\[domains\]', or --backbone=conv4"):
        build_resnet18("random")


@pytest.mark.slow
def test_resnet18_learns_pacs_from_the_command_line(small_pacs):
    """Two steps from random weights: every picture of the target gets a class."""
    pytest.importorskip("keras_hub")
    at_defaults = dict.fromkeys(("backbone", "width", "num_steps"))
    given = TINY | at_defaults | {"weights": "random", "image_size": 32, "minibatch": 4, "methods": "source_only"}
    assert run(entry_point, small_pacs | given, output_dir="run") == 0
    config = json.loads(Path("run/config.json").read_text())["domain_adaptation"]
    assert config["backbone"] == "resnet18" and config["learning_rate"] == 1e-4 and config["mirror"]
    predicted = np.load("run/sketch/source_only-0/predictions.npz")["chosen"]
    assert predicted.shape == (6, 4) and set(predicted.ravel()) <= set(range(7))


def test_differences_by_hand():
    """Two minibatches, one target, two seeds: means over seeds first, then the interval over minibatches."""
    rows = {("sib_rot", 0): [0.5, 0.7], ("sib_rot", 1): [0.7, 0.9], ("k0", 0): [0.4, 0.4], ("k0", 1): [0.6, 0.4]}
    others = {"oracle": None, "result": {"step": 1, "validation_accuracy": 0.5, "seconds": 1.0}}
    scores = {("t", *run): {"accuracy": np.array(values), **others} for run, values in rows.items()}
    found = {row["name"]: row for row in scoring.summary(scores)["rows"]}
    difference = found["sib_rot - k0"]
    # By seed (0.1, 0.3) and (0.1, 0.5); by minibatch 0.1 and 0.4.
    assert difference["targets"]["t"]["mean"] == pytest.approx(0.25)
    assert difference["targets"]["t"]["ci95"] == pytest.approx(1.96 * np.std([0.1, 0.4], ddof=1) / np.sqrt(2))
    # Runs 0.2 and 0.3; t with one degree of freedom is 12.706.
    assert difference["average"]["ci95_runs"] == pytest.approx(12.706 * np.std([0.2, 0.3], ddof=1) / 2**0.5, rel=1e-4)
