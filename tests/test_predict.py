"""`sib-tf predict`: folders in, CSV and page out, the same from every kind of model; and what it refuses; the wheel."""

import base64
import csv
import dataclasses
import importlib.util
import io
import shutil
import subprocess
import sys
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import running
from conftest import CHECKOUT
from exported import load_run, pictures, write_tflite
from PIL import Image
from test_cli import check_error

from sib_tf.calibration import Calibration
from sib_tf.commands import predict, script
from sib_tf.errors import InputError
from sib_tf.features import weights_fingerprint
from sib_tf.pictures.picture_folders import folder_of_classes
from sib_tf.prediction.litert import LiteRTClassifier
from sib_tf.prediction.models import KerasModel, open_model
from sib_tf.prediction.predictions import sample

CLASSES = ("ant", "bee", "cat", "dog", "elk")
LABELLED, NEW = np.concatenate([pictures(2, 10 + seed) for seed in range(5)]), pictures(12, 2)
HEADER = [
    "file", "class", "probability", "second_class", "second_probability", "prototype_class", "prototype_probability",
    "known_probability", "none_of_these", "changed",
]  # fmt: skip
ODD_NAMES = (
    "a b.png", "ä ö – 猫 🐈.png", 'say "cheese", please.png', "two\nlines.png", "=1+1.png", "-x.png", "@y.png",
    "<img src=x onerror=alert(1)>.png", "a&amp;b.png", "it's.png", "{{ 7 * 7 }}.png", "carriage\rreturn.png",
)  # fmt: skip


def write_pictures(folder: Path, names, seed: int) -> None:
    for name, picture in zip(names, pictures(len(names), seed), strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / name)


@pytest.fixture
def folders(tmp_path):
    """labelled/<class>/ with two pictures each, new/ with twelve."""
    for seed, name in enumerate(CLASSES):
        write_pictures(tmp_path / "labelled" / name, ["0.png", "1.png"], 10 + seed)
    write_pictures(tmp_path / "new", [f"{i:02d}.png" for i in range(12)], 2)
    return tmp_path


def run(model, **changes) -> int:
    given = {"model": model, "support": "labelled", "query": "new", "output": "out.csv"}
    return running.run(predict, given, **changes)


def adapted(folder: Path):
    """A run's Keras model, the features of new/, and the classifiers after every step."""
    model = KerasModel(load_run(folder))
    query = model.embed(NEW)
    return model, query, model.adapt(model.embed(LABELLED), np.repeat(np.arange(5), 2), query)


def rows(path="out.csv") -> list[dict]:
    with Path(path).open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def check_refused(capsys, code: int, message: str) -> None:
    """As `check_error`, and nothing is written."""
    check_error(capsys, code, message)
    assert not list(Path().glob("*out*"))


def test_the_csv_of_every_kind_of_model_says_what_the_keras_model_says(models, folders, capsys):
    model, query, path = adapted(models["run"])
    before, after = (model.classify(query, weights)[1] for weights in (path[0], path[-1]))
    changed = int((before.argmax(axis=1) != after.argmax(axis=1)).sum())
    assert 0 < changed < 12
    # Of a SavedModel also a version's own folder.
    for file in (*(models[kind] for kind in ("run", "dynamic", "static", "saved")), models["saved"] / "1"):
        assert run(file, html="out.html") == 0
        assert capsys.readouterr().out == (
            "12 pictures, 5 classes learned from 10 labelled pictures: K = 3 steps changed "
            f"{changed} answer{'s' * (changed != 1)} of nearest prototypes.\n"
            "Predictions: out.csv\nPage:        out.html\n"
        )
        found = rows()
        assert list(found[0]) == HEADER
        assert [row["file"] for row in found] == [f"{i:02d}.png" for i in range(12)]
        for row, old, new in zip(found, before, after, strict=True):
            second, first = np.argsort(new)[-2:]
            assert (row["class"], row["second_class"]) == (CLASSES[first], CLASSES[second])
            assert row["prototype_class"] == CLASSES[old.argmax()]
            assert (row["known_probability"], row["none_of_these"]) == ("", "no")
            numbers = [float(row[name]) for name in HEADER if "probability" in name and "known" not in name]
            np.testing.assert_allclose(numbers, [new[first], new[second], old.max()], atol=1e-4)
            assert row["changed"] == ("yes" if row["class"] != row["prototype_class"] else "no")


@pytest.fixture(scope="module")
def telling(models, tmp_path_factory):
    """The run with a calibration that tells known pictures from unknown ones, and its exported file."""
    run = load_run(models["run"])
    calibration = Calibration((0.3,) * 4, (1.0,) * 4, weights_fingerprint(run.sib), known=(-17.0, 10.0))
    folder = Path(shutil.copytree(models["run"], tmp_path_factory.mktemp("telling") / "run"))
    calibration.save(folder / "sib" / "calibration.json")
    run = dataclasses.replace(run, calibration=calibration)
    return {"run": folder, "static": write_tflite(run, folder.parent / "static.tflite", 7, 14, 20)}


def test_pictures_of_no_class_are_said_to_be_none_of_these(models, telling, folders, capsys):
    model, query, path = adapted(telling["run"])
    logits = model.classify(query, path[0])[0]
    score = np.log(np.exp(logits - logits.mean(axis=0)).sum(axis=1))
    known = 1 / (1 + np.exp(17 - 10 * score))
    threshold = np.sort(known)[3:5].mean()
    assert 0.01 < threshold < 0.99
    for kind, file in telling.items():
        assert run(file, output=f"{kind}.csv", html=f"{kind}.html", unknown_below=threshold) == 0
        assert "None of these classes: 4 of the pictures." in capsys.readouterr().out
        found = rows(f"{kind}.csv")
        np.testing.assert_allclose([float(row["known_probability"]) for row in found], known, atol=1e-3)
        assert [row["none_of_these"] for row in found] == ["yes" if value < threshold else "no" for value in known]
        page = Path(f"{kind}.html").read_text()
        section = page[page.index(">None of these<") :]
        assert [f">{row['file']}<" in section for row in found] == (known < threshold).tolist()
        assert "Probabilities are calibrated on validation classes" in page
    classifier = LiteRTClassifier(telling["static"])
    with pytest.raises(InputError, match="fit must be called before known_proba"):
        classifier.known_proba(NEW)
    classifier.fit(LABELLED, np.repeat(CLASSES, 2), NEW)
    np.testing.assert_allclose(classifier.known_proba(NEW[:5]), known[:5], atol=1e-3)
    with pytest.raises(InputError, match="The file cannot tell; fit the model with train.calibrate, and export it"):
        LiteRTClassifier(models["static"]).known_proba(NEW)
    assert run(telling["run"], html="all.html") == 0
    assert {row["none_of_these"] for row in rows()} == {"no"}
    assert ">None of these<" not in Path("all.html").read_text()


def test_without_queries_the_temperature_of_a_static_file_is_the_offset(telling):
    """Nothing tells how easy the episode is; classifiers are of length 1 / T."""
    model = open_model(telling["static"])
    weights = model.adapt(model.embed(pictures(2)), np.arange(2), np.zeros((0, 16), np.float32))
    np.testing.assert_allclose(np.linalg.norm(weights, axis=-1), np.exp(-0.3), rtol=1e-5)


@pytest.mark.parametrize("kind", ["static", "run"])
def test_one_picture_alone_or_none_is_not_told(telling, folders, capsys, recwarn, kind):
    write_pictures(folders / "few", ["0.png"], 2)
    assert run(telling[kind], query="few", unknown_below=1, html="out.html") == 0
    assert capsys.readouterr().out.startswith("1 picture, 5 classes")
    assert [(row["known_probability"], row["none_of_these"]) for row in rows()] == [("", "no")]
    Path("few/0.png").unlink()
    assert run(telling[kind], query="few", unknown_below=1, html="out.html") == 0
    assert Path("out.csv").read_text(encoding="utf-8-sig").splitlines() == [",".join(HEADER)]
    assert capsys.readouterr().out == (
        "No picture in few: nothing to give a class to.\nPredictions: out.csv (the header only)\n"
        "Page:        out.html\n"
    )
    assert Page("out.html").names == []
    assert not [w for w in recwarn if "divide" in str(w.message)]


def test_any_number_of_classes_and_pictures(models, folders):
    for seed in range(30):
        write_pictures(folders / "many" / f"class {seed:02d}", [f"{i}.png" for i in range(1 + seed % 3)], 100 + seed)
    write_pictures(folders / "heap", [f"{i:03d}.png" for i in range(150)], 3)
    assert run(models["dynamic"], support="many", query="heap") == 0
    assert len(rows()) == 150
    assert len({row["class"] for row in rows()}) > 5


@pytest.mark.parametrize("pattern", ["labelled/", "labelled/*", "labelled/*/*", "labelled/<class>/*", "./labelled/*/"])
def test_support_may_be_written_as_a_pattern(folders, pattern):
    assert folder_of_classes(pattern) == Path("labelled")


def test_names_survive(models, folders):
    names = [*ODD_NAMES, "deep/er/a.png"]
    write_pictures(folders / "odd", names, 2)
    (folders / "labelled" / "ant").rename(folders / "labelled" / '=A1, "<b>bold"\nant')
    assert run(models["dynamic"], query="odd", html="out.html") == 0
    assert sorted(row["file"] for row in rows()) == sorted(names)
    given = {row[name] for row in rows() for name in ("class", "second_class", "prototype_class")}
    assert given <= {'=A1, "<b>bold"\nant', *CLASSES[1:]}
    # The mark that tells spreadsheets of UTF-8.
    assert Path("out.csv").read_bytes().startswith(b"\xef\xbb\xbffile,class,")
    page = Page("out.html")
    # HTML parsers read a carriage return as a new line.
    assert sorted(page.names) == sorted(name.replace("\r", "\n") for name in names)
    assert '=A1, "<b>bold"\nant' in page.headings
    assert {tag for tag, *_ in page.elements}.isdisjoint({"script", "iframe", "link", "object"})


def test_broken_pictures_are_named_and_skipped(models, folders, capsys):
    (folders / "labelled" / "bee" / "torn\n.png").write_bytes(b"")
    (folders / "new" / "broken, too.jpg").write_bytes(b"no picture")
    Image.new("RGB", (32, 32)).save(folders / "labelled" / "loose.png")
    assert run(models["dynamic"], html="out.html") == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "Skipped 3:"
    assert {line.split(" cannot")[0].split(" lies")[0] for line in out[1:4]} == {
        "  labelled/loose.png", "  labelled/bee/torn .png", "  new/broken, too.jpg"
    }  # fmt: skip
    assert out[4].startswith("12 pictures, 5 classes learned from 10")
    assert len(rows()) == 12
    assert "broken, too.jpg" in Path("out.html").read_text(encoding="utf-8")
    (folders / "bad").mkdir()
    (folders / "new" / "broken, too.jpg").rename(folders / "bad" / "a.png")
    assert run(models["dynamic"], query="bad") == 0
    assert rows() == []
    assert "bad/a.png" in capsys.readouterr().out


def test_a_static_file_limits_what_the_steps_see_and_not_what_is_answered(models, folders, capsys):
    write_pictures(folders / "heap", [f"{i:02d}.png" for i in range(40)], 3)
    assert run(models["static"], query="heap") == 0
    out = capsys.readouterr().out
    assert out.startswith("40 pictures, 5 classes") and "\nThe steps saw 16 of the pictures, drawn at random" in out
    model = open_model(models["static"])
    seen = sample(40, 16)
    assert len(set(seen)) == 16 and seen.max() < 40 and (np.diff(seen) > 0).all()
    query = model.embed(pictures(40, 3))
    path = model.adapt(model.embed(LABELLED), np.repeat(np.arange(5), 2), query[seen])
    expected = model.classify(query, path[-1])[1]
    assert [row["class"] for row in rows()] == [CLASSES[place] for place in expected.argmax(axis=1)]
    np.testing.assert_allclose([float(row["probability"]) for row in rows()], expected.max(axis=1), atol=1e-5)


def test_output_replaces_an_older_one_only_when_it_is_whole(models, folders, capsys):
    Path("old.csv").write_text("old")
    write_pictures(folders / "labelled" / "bee", [f"more{i}.png" for i in range(10)], 3)
    check_refused(capsys, run(models["static"], output="old.csv"), "support must have at most")
    shutil.rmtree(folders / "labelled" / "bee")
    write_pictures(folders / "labelled" / "bee", ["0.png", "1.png"], 11)
    assert Path("old.csv").read_text() == "old"
    # The labelled pictures may be asked for as well.
    assert run(models["static"], query="labelled", output="old.csv") == 0
    found = rows("old.csv")
    assert [row["file"] for row in found] == [f"{name}/{i}.png" for name in CLASSES for i in range(2)]
    assert sum(row["prototype_class"] == row["file"].split("/")[0] for row in found) >= 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output": "out.txt"}, r"output must end in \.csv; got out\.txt"),
        ({"html": "out.pdf"}, r"html must end in \.html; got out\.pdf"),
        ({"support": "nowhere"}, "support must be a folder of pictures; there is no folder nowhere"),
        ({"query": "nowhere"}, "query must be a folder of pictures; there is no folder nowhere"),
        ({"query": "new/00.png"}, "query must be a folder"),
        ({"support": "new"}, "support new must have at least two class folders.*12 pictures in none"),
        ({"num_threads": "0"}, "flag --num_threads=0"),
        ({"unknown_below": "1.5"}, r"flag --unknown_below=1\.5"),
        ({"unknown_below": "0.5"}, "unknown_below needs a model that tells known pictures from unknown ones; fit it"),
        ({"model": "new/00.png"}, r"new/00\.png is not a file of export\.tflite, or is damaged"),
        ({"model": "new"}, r"model new is neither a \.tflite file, nor"),
        ({"model": "nowhere"}, r"model nowhere is neither a \.tflite file, nor"),
    ],
)
def test_flags_that_cannot_be_used_are_named(models, folders, capsys, changes, message):
    check_refused(capsys, run(**{"model": models["dynamic"], **changes}), message)


def test_a_version_is_a_number(tmp_path):
    for name in ("²", "1a"):
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=f"model {tmp_path} is neither"):
        open_model(tmp_path)


def test_classes_that_cannot_be_learned_are_named(models, folders, capsys):
    (folders / "labelled" / "fox").mkdir()
    check_refused(capsys, run(models["dynamic"]), ".*labelled/fox.*at least one picture")
    (folders / "labelled" / "fox" / "a.png").write_bytes(b"no")
    check_refused(capsys, run(models["dynamic"]), r"Class folder fox .*only broken ones.*labelled/fox/a\.png")
    (folders / "single" / "ant").mkdir(parents=True)
    check_refused(capsys, run(models["dynamic"], support="single"), ".*at least two class folders.*it has 1")


class Page(HTMLParser):
    """A page; its `elements` are [tag, attributes, text up to the next tag], without a tag where one ends."""

    def __init__(self, path):
        super().__init__()
        self.text, self.elements = Path(path).read_text(encoding="utf-8"), []
        self.handle_endtag("")
        self.feed(self.text)
        self.names = [text for tag, given, text in self.elements if tag == "div" and given.get("class") == "name"]
        self.headings = [text for tag, _, text in self.elements if tag == "h2"]

    def handle_starttag(self, tag, attributes):
        self.elements.append([tag, dict(attributes), ""])

    def handle_endtag(self, tag):
        self.elements.append(["", {}, ""])

    def handle_data(self, data):
        self.elements[-1][2] += data


def test_the_page_shows_every_picture_and_needs_nothing_else(models, folders):
    assert run(models["dynamic"], html="out.html") == 0
    page = Page("out.html")
    assert page.headings == list(CLASSES)
    # By class, the doubtful first.
    ordered = sorted(rows(), key=lambda row: (row["class"], float(row["probability"])))
    assert page.names == [row["file"] for row in ordered]
    framed = [given for tag, given, _ in page.elements if tag == "figure" and given.get("class") == "changed"]
    assert len(framed) == sum(row["changed"] == "yes" for row in rows())
    images = [given for tag, given, _ in page.elements if tag == "img"]
    assert len(images) == 12 + 10
    for image in images:
        assert image["alt"]
        kind, data = image["src"].split(",")
        assert kind == "data:image/jpeg;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (112, 112)
    assert not any(address in page.text for address in ("http:", "https:", "url("))


def test_a_tflite_file_needs_no_tensorflow(models, folders):
    code = (
        "import sys; from sib_tf.commands import predict, script; "
        "heavy = {'tensorflow', 'keras', 'tensorflow_datasets', 'matplotlib', 'numpy', 'jinja2'}; "
        "assert not heavy & set(sys.modules), 'the entry point itself'; code = script.main(); "
        "assert not (heavy - {'numpy', 'jinja2'}) & set(sys.modules); sys.exit(code)"
    )
    arguments = [f"--model={models['dynamic']}", "--support=labelled", "--query=new", "--output=out.csv"]
    done = subprocess.run(
        [sys.executable, "-c", code, "predict", *arguments, "--html=out.html", "--num_threads=2"],
        env={"PYTHONPATH": str(CHECKOUT), "PATH": ""}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(rows()) == 12


def test_the_script_lists_its_commands_and_runs_the_one_that_is_named(folders, monkeypatch, capsys):
    """That runs well in the test above."""

    def sib_tf(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["/usr/bin/sib-tf", *arguments])
        return script.main()

    for arguments in ([], ["--help"], ["-h"], ["help"]):
        assert sib_tf(*arguments) == 0
        out = capsys.readouterr().out
        assert out.startswith("usage: sib-tf COMMAND [--FLAG=VALUE ...]")
        assert "  predict     gives every picture of a folder a class\n" in out
    assert sib_tf("predict", "--help") == 0
    assert capsys.readouterr().out.startswith("Learns new classes from a few labelled pictures")
    check_refused(capsys, sib_tf("predikt"), "the command must be one of predict; got 'predikt'")
    given = ["--model=nothing", "--support=labelled", "--query=new", "--output=out.csv"]
    check_refused(capsys, sib_tf("predict", *given), "model nothing is")


@pytest.mark.skipif(importlib.util.find_spec("setuptools") is None, reason="setuptools is not installed here")
def test_a_wheel_has_the_whole_package_and_nothing_beside_it(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(CHECKOUT / "sib_tf", source / "sib_tf", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, source)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", f"--wheel-dir={tmp_path}"]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", *options, str(source)]
    expected = {path.relative_to(source).as_posix() for path in (source / "sib_tf").rglob("*") if path.is_file()}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        (scripts,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
        assert wheel.read(scripts).decode().strip() == "[console_scripts]\nsib-tf = sib_tf.commands.script:main"
    # Templates and lists of checksums, too.
    assert names == expected
    assert {"sib_tf/prediction/page.html", "sib_tf/datasets/checksums.tsv"} <= names
