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

from sib_tf.calibration import Calibration
from sib_tf.commands import cli, predict, script
from sib_tf.errors import InputError
from sib_tf.features import weights_fingerprint
from sib_tf.pictures.picture_folders import folder_of_classes
from sib_tf.prediction.litert import LiteRTClassifier
from sib_tf.prediction.models import KerasModel, open_model

CLASSES = ("ant", "bee", "cat", "dog", "elk")
HEADER = [
    "file", "class", "probability", "second_class", "second_probability", "prototype_class", "prototype_probability",
    "known_probability", "none_of_these", "changed",
]  # fmt: skip
ODD_NAMES = (
    "a b.png", "ä ö – 猫 🐈.png", 'say "cheese", please.png', "two\nlines.png", "=1+1.png", "-x.png", "@y.png",
    "<img src=x onerror=alert(1)>.png", "a&amp;b.png", "it's.png", "{{ 7 * 7 }}.png", "carriage\rreturn.png",
)  # fmt: skip


def write_pictures(folder: Path, names, seed: int) -> None:
    folder.mkdir(parents=True)
    for name, picture in zip(names, pictures(len(names), seed), strict=True):
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
    labelled = model.embed(np.concatenate([pictures(2, 10 + seed) for seed in range(5)]))
    query = model.embed(pictures(12, 2))
    return model, query, model.adapt(labelled, np.repeat(np.arange(5), 2), query)


def rows(path="out.csv") -> list[dict]:
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def check_error(capsys, code: int, *parts: str) -> None:
    """One line on standard error that has all of `parts`, exit code 2, nothing printed and nothing written."""
    streams = capsys.readouterr()
    line = streams.err.rsplit("\r", 1)[-1]
    assert code == 2
    assert streams.out == ""
    assert line.startswith("error: ")
    assert line.count("\n") == 1, line
    assert all(part in line for part in parts), line
    assert not list(Path().glob("*out*"))


def test_the_csv_says_what_the_model_says(models, folders, capsys):
    assert run(models["dynamic"]) == 0
    model, query, path = adapted(models["run"])
    before, after = (model.classify(query, weights)[1] for weights in (path[0], path[-1]))
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
    changed = int((before.argmax(axis=1) != after.argmax(axis=1)).sum())
    assert 0 < changed < 12
    assert capsys.readouterr().out == (
        "12 pictures, 5 classes learned from 10 labelled pictures: K = 3 steps changed "
        f"{changed} answers of nearest prototypes.\nPredictions: out.csv\n"
    )


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
        classifier.known_proba(pictures(12, 2))
    labelled = np.concatenate([pictures(2, 10 + seed) for seed in range(5)])
    classifier.fit(labelled, np.repeat(CLASSES, 2), pictures(12, 2))
    np.testing.assert_allclose(classifier.known_proba(pictures(12, 2)[:5]), known[:5], atol=1e-3)
    with pytest.raises(InputError, match="The file cannot tell; fit the model with train.calibrate, and export it"):
        LiteRTClassifier(models["static"]).known_proba(pictures(12, 2))
    assert run(telling["run"], html="all.html") == 0
    assert {row["none_of_these"] for row in rows()} == {"no"}
    assert ">None of these<" not in Path("all.html").read_text()


def test_without_queries_the_temperature_of_a_static_file_is_the_offset(telling):
    """Nothing tells how easy the episode is; classifiers are of length 1 / T."""
    model = open_model(telling["static"])
    weights = model.adapt(model.embed(pictures(2)), np.arange(2), np.zeros((0, 16), np.float32))
    np.testing.assert_allclose(np.linalg.norm(weights, axis=-1), np.exp(-0.3), rtol=1e-5)


def test_one_picture_alone_or_none_is_not_told(telling, folders, capsys, recwarn):
    for count, summary in ((1, "1 picture, 5 classes"), (0, "No picture in new")):
        for file in list(Path("new").iterdir())[count:]:
            file.unlink()
        assert run(telling["static"], unknown_below=1, html="page.html") == 0
        assert capsys.readouterr().out.startswith(summary)
        assert [(row["known_probability"], row["none_of_these"]) for row in rows()] == [("", "no")] * count
    assert not [w for w in recwarn if "divide" in str(w.message)]


def test_a_threshold_wants_a_model_that_can_tell(models, folders, capsys):
    code = run(models["dynamic"], unknown_below=0.5)
    check_error(capsys, code, "unknown_below needs a model that tells known pictures from unknown ones; fit it with")
    assert run(models["dynamic"], unknown_below=1.5) == cli.USAGE_ERROR


def test_every_kind_of_model_gives_the_same(models, folders):
    for kind in ("run", "saved", "dynamic", "static"):
        assert run(models[kind], output=f"{kind}.csv", html=f"{kind}.html") == 0
        for row, expected in zip(rows(f"{kind}.csv"), rows("run.csv"), strict=True):
            for name in HEADER:
                if "probability" in name and "known" not in name:
                    assert float(row[name]) == pytest.approx(float(expected[name]), abs=1e-4)
                else:
                    assert row[name] == expected[name]
    # A version's own folder, too.
    assert run(models["saved"] / "1", output="version.csv") == 0
    assert Path("version.csv").read_bytes() == Path("saved.csv").read_bytes()


def test_any_number_of_classes_and_pictures(models, folders):
    for seed in range(30):
        write_pictures(folders / "many" / f"class {seed:02d}", [f"{i}.png" for i in range(1 + seed % 3)], 100 + seed)
    write_pictures(folders / "heap", [f"{i:03d}.png" for i in range(150)], 3)
    assert run(models["dynamic"], support="many", query="heap") == 0
    assert len(rows()) == 150
    assert len({row["class"] for row in rows()}) > 5
    for name in ("class 01", "class 02"):
        shutil.copytree(folders / "many" / name, folders / "two" / name)
    assert run(models["static"], support="two") == 0
    assert {row["class"] for row in rows()} | {row["second_class"] for row in rows()} == {"class 01", "class 02"}


@pytest.mark.parametrize("pattern", ["labelled/", "labelled/*", "labelled/*/*", "labelled/<class>/*", "./labelled/*/"])
def test_support_may_be_written_as_a_pattern(folders, pattern):
    assert folder_of_classes(pattern) == Path("labelled")


def test_names_survive(models, folders):
    names = [*ODD_NAMES, "deep/er/a.png"]
    for name, picture in zip(names, pictures(len(names), 2), strict=True):
        path = folders / "odd" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    (folders / "labelled" / "ant").rename(folders / "labelled" / '=A1, "<b>bold"\nant')
    assert run(models["dynamic"], query="odd", html="out.html") == 0
    assert sorted(row["file"] for row in rows()) == sorted(names)
    given = {row[name] for row in rows() for name in ("class", "second_class", "prototype_class")}
    assert given <= {'=A1, "<b>bold"\nant', *CLASSES[1:]}
    page = Page.read("out.html")
    # HTML parsers read a carriage return as a new line.
    assert sorted(page.names) == sorted(name.replace("\r", "\n") for name in names)
    assert '=A1, "<b>bold"\nant' in page.headings
    assert page.tags.isdisjoint({"script", "iframe", "link", "object"})


@pytest.mark.parametrize("kind", ["static", "run"])
def test_no_picture_gives_the_header_only(models, folders, capsys, kind):
    (folders / "none").mkdir()
    (folders / "none" / "note.txt").write_text("not a picture")
    assert run(models[kind], query="none", html="out.html") == 0
    assert Path("out.csv").read_text(encoding="utf-8").splitlines() == [",".join(HEADER)]
    out = capsys.readouterr().out
    assert out == (
        "No picture in none: nothing to give a class to.\nPredictions: out.csv (the header only)\n"
        "Page:        out.html\n"
    )
    assert Page.read("out.html").names == []


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


def test_output_replaces_an_older_one_only_when_it_is_whole(models, folders, capsys):
    Path("old.csv").write_text("old")
    write_pictures(folders / "heap", [f"{i}.png" for i in range(17)], 3)
    check_error(capsys, run(models["static"], query="heap", output="old.csv"), "query must have at most 16 rows")
    assert Path("old.csv").read_text() == "old"
    # The labelled pictures may be asked for as well.
    assert run(models["static"], query="labelled", output="old.csv") == 0
    found = rows("old.csv")
    assert [row["file"] for row in found] == [f"{name}/{i}.png" for name in CLASSES for i in range(2)]
    assert sum(row["prototype_class"] == row["file"].split("/")[0] for row in found) >= 8
    assert run(models["static"], output="made/for/it/out.csv") == 0
    assert not list(Path().rglob(".partial*"))


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"output": "out.txt"}, ["output must end in .csv; got out.txt"]),
        ({"html": "out.pdf"}, ["html must end in .html; got out.pdf"]),
        ({"support": "nowhere"}, ["support must be a folder", "there is no folder nowhere"]),
        ({"query": "nowhere"}, ["query must be a folder", "there is no folder nowhere"]),
        ({"query": "new/00.png"}, ["query must be a folder"]),
        ({"support": "new"}, ["support new must have at least two class folders", "12 pictures in none"]),
        ({"num_threads": "0"}, ["num_threads"]),
        ({"model": "new/00.png"}, ["new/00.png is not a file of export.tflite, or is damaged"]),
        ({"model": "new"}, ["model new is neither a .tflite file, nor"]),
        ({"model": "nowhere"}, ["model nowhere is neither a .tflite file, nor"]),
    ],
)
def test_flags_that_cannot_be_used_are_named(models, folders, capsys, changes, parts):
    check_error(capsys, run(**{"model": models["dynamic"], **changes}), *parts)


def test_classes_that_cannot_be_learned_are_named(models, folders, capsys):
    (folders / "labelled" / "fox").mkdir()
    check_error(capsys, run(models["dynamic"]), "labelled/fox", "at least one picture")
    (folders / "labelled" / "fox" / "a.png").write_bytes(b"no")
    check_error(capsys, run(models["dynamic"]), "labelled/fox", "only broken ones", "a.png")
    (folders / "single" / "ant").mkdir(parents=True)
    check_error(capsys, run(models["dynamic"], support="single"), "at least two class folders", "it has 1")


class Page(HTMLParser):
    """What a test wants to know of the page."""

    def __init__(self):
        super().__init__()
        self.tags, self.names, self.headings, self.images, self.changed = set(), [], [], [], 0
        self._into = None

    @classmethod
    def read(cls, path) -> "Page":
        page = cls()
        page.text = Path(path).read_text(encoding="utf-8")
        page.feed(page.text)
        return page

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.add(tag)
        self.changed += tag == "figure" and attributes.get("class") == "changed"
        if tag == "img":
            self.images.append(attributes)
        self._into = {"h2": self.headings, "div": self.names if attributes.get("class") == "name" else None}.get(tag)
        if self._into is not None:
            self._into.append("")

    def handle_data(self, data):
        if self._into is not None:
            self._into[-1] += data

    def handle_endtag(self, tag):
        self._into = None


def test_the_page_shows_every_picture_and_needs_nothing_else(models, folders):
    assert run(models["dynamic"], html="out.html") == 0
    page = Page.read("out.html")
    assert page.headings == list(CLASSES)
    # By class, the most certain first.
    ordered = sorted(rows(), key=lambda row: (row["class"], -float(row["probability"])))
    assert page.names == [row["file"] for row in ordered]
    assert page.changed == sum(row["changed"] == "yes" for row in rows())
    assert len(page.images) == 12 + 10
    assert all(image["alt"] for image in page.images)
    for image in page.images:
        kind, data = image["src"].split(",")
        assert kind == "data:image/jpeg;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (112, 112)
    rest = page.text.replace("data:image/jpeg", "")
    assert "http:" not in rest
    assert "https:" not in rest
    assert "url(" not in rest


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


@pytest.fixture
def sib_tf_script(monkeypatch):
    """Calls `sib-tf`, the script of an installed package, with arguments."""

    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["/usr/bin/sib-tf", *arguments])
        return script.main()

    return call


def test_the_script_runs_the_command_that_is_named(models, folders, sib_tf_script, capsys):
    check_error(capsys, sib_tf_script("predikt"), "command must be one of predict; got 'predikt'")
    arguments = ["--support=labelled", "--query=new", "--output=out.csv"]
    check_error(capsys, sib_tf_script("predict", "--model=nothing", *arguments), "model nothing is")
    assert sib_tf_script("predict", f"--model={models['dynamic']}", *arguments) == 0
    assert len(rows()) == 12


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_the_script_lists_its_commands(sib_tf_script, capsys, arguments):
    assert sib_tf_script(*arguments) == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: sib-tf COMMAND [--FLAG=VALUE ...]")
    assert "  predict     gives every picture of a folder a class\n" in out


def test_a_command_lists_its_flags(sib_tf_script, capsys):
    assert sib_tf_script("predict", "--help") == 0
    out = capsys.readouterr().out
    assert out.startswith("Learns new classes from a few labelled pictures")
    assert all(f"--{name}:" in out for name in predict.FLAGS)


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
        assert wheel.read(scripts).decode().split() == [
            "[console_scripts]",
            "sib-tf",
            "=",
            "sib_tf.commands.script:main",
        ]
    # Templates and lists of checksums, too.
    assert names == expected
    assert {"sib_tf/prediction/page.html", "sib_tf/datasets/checksums.tsv"} <= names
