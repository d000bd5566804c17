"""Pictures to answers without a model: the stream, what is kept, what is saved; under a small embedder of its own."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import running
from conftest import CHECKOUT
from PIL import Image
from test_cli import check_error

from sib_tf import SIBClassifier
from sib_tf.commands import predict
from sib_tf.errors import InputError
from sib_tf.photographs import cache, embedder, labelled, sorting, streaming
from sib_tf.photographs.feature_store import FeatureStore
from sib_tf.pictures.class_names import by_class
from sib_tf.pictures.pixels import read_picture
from sib_tf.prediction import page

CLASSES = ("ant", "bee", "cat")


class Colours:
    """Stands for the backbone: the mean colour of every ninth of the picture. Counts what it embeds."""

    embedded = 0

    def __init__(self, content: bytes):
        assert content == b"weights"

    def embed(self, picture: np.ndarray) -> np.ndarray:
        type(self).embedded += 1
        assert picture.shape == (224, 224, 3) and picture.dtype == np.uint8
        return _colours(picture)


def _colours(picture: np.ndarray) -> np.ndarray:
    ninths = picture[:222, :222].reshape(3, 74, 3, 74, 3).mean(axis=(1, 3)).ravel() / 255
    return np.resize(ninths, 1280).astype(np.float32)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """labelled/<class>/ with two pictures each, new/<class>/ with eight: a colour of the class's own, and noise."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIB_TF_CACHE", str(tmp_path / "cache"))
    for views in (1, 4):
        (tmp_path / f"weights{views}.tflite").write_bytes(b"weights")
    monkeypatch.setattr(embedder, "file", lambda views: tmp_path / f"weights{views}.tflite")
    monkeypatch.setattr(embedder, "Embedder", Colours)
    monkeypatch.setattr(Colours, "embedded", 0)
    for number, name in enumerate(CLASSES):
        write(tmp_path / "labelled" / name, number, 2, 10 + number)
        write(tmp_path / "new" / name, number, 8, 20 + number)
    return tmp_path


def write(folder: Path, number: int, count: int, seed: int) -> None:
    """Pictures of 30 x 20 pixels, brightest in one channel."""
    folder.mkdir(parents=True, exist_ok=True)
    for place in range(count):
        pixels = np.random.default_rng((seed, place)).integers(0, 120, (20, 30, 3), np.uint8)
        pixels[..., number % 3] += 8
        Image.fromarray(pixels).save(folder / f"{place}.png")


def run(**changes) -> int:
    given = {"support": "labelled", "query": "new", "output": "out.csv", "num_threads": 2}
    return running.run(predict, {**given, **changes})


def rows(path="out.csv") -> list[dict]:
    with Path(path).open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def features(folder: str) -> tuple[list[str], np.ndarray]:
    paths = sorted(Path(folder).rglob("*.png"))
    return [path.parent.name for path in paths], np.stack([_colours(read_picture(path, 224)) for path in paths])


def test_answers_are_those_of_the_classifier(folders, capsys):
    assert run(html="out.html") == 0
    names, support = features("labelled")
    _, query = features("new")
    classifier = SIBClassifier().fit(np.concatenate([support, query]), np.array(names + [None] * 24, object))
    found = rows()
    assert [row["file"] for row in found] == [f"{name}/{place}.png" for name in CLASSES for place in range(8)]
    assert [row["class"] for row in found] == classifier.predict(query).tolist()
    for column, expected in (
        ("probability", classifier.predict_proba(query).max(axis=1)),
        ("second_probability", np.sort(classifier.predict_proba(query), axis=1)[:, -2]),
        ("prototype_probability", classifier.prototype_proba(query).max(axis=1)),
    ):
        np.testing.assert_allclose([float(row[column]) for row in found], expected, atol=1e-5)
    assert sum(row["class"] == row["file"].split("/")[0] for row in found) >= 22
    assert capsys.readouterr().out.startswith("24 pictures, 3 classes learned from 6 labelled pictures: K = ")
    assert "learned from\n<b>6</b> labelled" in Path("out.html").read_text(encoding="utf-8")


def test_a_run_that_is_extended_embeds_only_what_is_new(folders):
    assert run() == 0
    before, Colours.embedded = rows(), 0
    assert run() == 0
    assert (rows(), Colours.embedded) == (before, 0)
    write(folders / "new" / "more", 0, 3, 99)
    (folders / "new" / "ant" / "0.png").rename(folders / "new" / "renamed.png")
    assert run() == 0
    assert (len(rows()), Colours.embedded) == (27, 3)


def test_features_of_several_views_are_kept_apart(folders, capsys):
    """In the store, and in what is saved, which takes no pictures embedded otherwise."""
    assert run(views=4, save="classes.sib") == 0
    assert Colours.embedded == 30
    assert run() == 0
    assert Colours.embedded == 60
    assert run(views=4, support=None, learned="classes.sib") == 0
    assert Colours.embedded == 60
    capsys.readouterr()
    check_error(
        capsys,
        run(support=None, learned="classes.sib"),
        r"views must be 4 as when classes\.sib was saved; got 1\.",
    )


def test_the_steps_see_a_sample_and_every_picture_is_answered(folders, monkeypatch, capsys):
    monkeypatch.setattr(sorting, "opened", lambda _: SIBClassifier(backbone=embedder.BACKBONE, max_unlabelled=10))
    monkeypatch.setattr(sorting, "_BLOCK", 7)
    assert run() == 0
    assert len(rows()) == 24 and all(float(row["probability"]) > 1 / 3 for row in rows())
    assert "The steps saw 10 of the pictures, drawn at random (seed 0); all were answered." in capsys.readouterr().out


def test_what_was_learned_is_saved_and_used_and_added_to(folders, capsys):
    assert run(save="classes.sib", query=None, output=None) == 0
    assert capsys.readouterr().out == "Saved: classes.sib\n"
    assert run(save="classes.sib") == 0
    first = rows()
    assert run(support=None, learned="classes.sib") == 0
    assert rows() == first
    # Answers do not depend on the other pictures.
    assert run(support=None, learned="classes.sib", query="new/bee") == 0
    assert [row["probability"] for row in rows()] == [row["probability"] for row in first[8:16]]
    write(folders / "more" / "bee", 1, 1, 50)
    write(folders / "more" / "white", 0, 2, 51)
    for path in (folders / "more" / "white").iterdir():
        Image.new("RGB", (30, 20), (250, 250, 240)).save(path)
    assert run(support=None, learned="classes.sib", add="more", save="all.sib", html="out.html") == 0
    classifier = SIBClassifier.load("all.sib", backbone="efficientnet_lite0")
    assert (classifier.classes_.tolist(), classifier.labelled_seen_) == ([*CLASSES, "white"], 9)
    with pytest.raises(InputError, match="backbone must be efficientnet_lite0"):
        SIBClassifier.load("all.sib", backbone="clip")


def test_pictures_to_label_next_are_named_in_order(folders, capsys):
    assert run(label_next=3, html="out.html") == 0
    turns = {row["label_next"]: row["file"] for row in rows() if row["label_next"]}
    assert sorted(turns) == ["1", "2", "3"]
    listed = capsys.readouterr().out.split("Label these next:\n")[1].splitlines()[:3]
    assert [line.strip() for line in listed] == [turns[turn] for turn in "123"]
    text = Path("out.html").read_text(encoding="utf-8")
    assert text.index("Label these next") < text.index(f">{turns['1']}<") < text.index(f">{turns['2']}<")


def test_what_is_left_out_or_there_twice_is_said(folders, capsys):
    (folders / "new" / "torn.png").write_bytes(b"no picture")
    twin = (folders / "labelled" / "ant" / "0.png").read_bytes()
    (folders / "labelled" / "bee" / "twin.png").write_bytes(twin)
    (folders / "new" / "twin.png").write_bytes(twin)
    assert run() == 0
    out = capsys.readouterr().out
    assert out.startswith("Skipped 1:\n  new/torn.png cannot be read as a picture")
    assert "are the same picture, labelled as ant and bee; keep one.\n" in out
    assert "Note: 1 labelled pictures are among the unlabelled ones too" in out
    assert len(rows()) == 25
    (folders / "labelled" / "ant" / "torn.png").write_bytes(b"")
    (folders / "labelled" / "dog").mkdir()
    (folders / "labelled" / "dog" / "torn.png").write_bytes(b"")
    check_error(capsys, run(), "Class folder dog must have at least one picture; it has only broken ones: .*dog/torn")


def test_an_addition_that_failed_half_way_is_made_once(folders, capsys):
    """What was learned is written last; and pictures that it has learned from do not count again."""
    assert run(save="classes.sib", query=None, output=None) == 0
    before = Path("classes.sib").read_bytes()
    write(folders / "more" / "bee", 1, 2, 50)
    again = {"support": None, "learned": "classes.sib", "add": "more", "save": "classes.sib"}
    assert run(**again, output="/proc/out.csv") == 2
    assert Path("classes.sib").read_bytes() == before
    assert run(**again) == 0
    first, learned = rows(), SIBClassifier.load("classes.sib")
    assert learned.labelled_seen_ == 8
    capsys.readouterr()
    assert run(**again) == 0
    assert "Note: Learned from already, and counted once: 2 pictures of add." in (capsys.readouterr().out)
    assert SIBClassifier.load("classes.sib").labelled_seen_ == 8 and rows() == first


def test_known_pictures_are_learned_with_a_new_pile(folders, capsys):
    """And the pile is not counted again."""
    assert run(save="classes.sib", query=None, output=None) == 0
    again = {"support": None, "learned": "classes.sib", "add": "labelled", "save": "classes.sib"}
    for _ in range(2):
        assert run(**again) == 0
        learned = SIBClassifier.load("classes.sib")
        assert (learned.labelled_seen_, learned._rows.unlabelled_seen) == (6, 24)
    capsys.readouterr()
    (folders / "more" / "bee").mkdir(parents=True)
    (folders / "labelled" / "ant" / "0.png").rename(folders / "more" / "bee" / "was_ant.png")
    assert run(**{**again, "add": "more"}) == 0
    assert "Note: Kept under another class already, and now under both: 1 picture of add.\n" in capsys.readouterr().out


def test_added_classes_that_look_like_learned_ones_are_refused(folders, capsys):
    assert run(save="classes.sib", query=None, output=None) == 0
    write(folders / "more" / "Bee", 1, 1, 50)
    capsys.readouterr()
    check_error(
        capsys,
        run(support=None, learned="classes.sib", add="more"),
        "Class folders must have names that differ to the eye; 'bee' and 'more/Bee' do not",
    )


def test_a_folder_of_a_learned_name_is_that_class(tmp_path):
    """However the name was written when it was learned, and whatever else looks like it."""
    for name in ("caf\u00e9", "Bee"):
        (tmp_path / name).mkdir()
    folders = sorted(tmp_path.iterdir())
    known = np.array(["cafe\u0301", "Bee", "bee"])
    assert by_class(folders, known) == {"Bee": [folders[0]], "cafe\u0301": [folders[1]]}
    with pytest.raises(InputError, match=r"^Class folders must have names .*; 'bee' and "):
        by_class(folders, np.array(["bee"]))


def test_what_was_learned_of_something_else_is_refused(folders, capsys):
    """Before anything is embedded."""
    random = np.random.default_rng(0)
    features = random.normal(size=(6, 16)).astype(np.float32)
    SIBClassifier().fit(features, list("aabbcc")).save("short.sib")
    message = r"learned must be of efficientnet_lite0's features, \d+ numbers a picture; short\.sib has 16"
    check_error(capsys, run(support=None, learned="short.sib"), message)
    features = random.normal(size=(6, embedder.FEATURE_DIM)).astype(np.float32)
    SIBClassifier().fit(features, [0, 0, 1, 1, 2, 2]).save("numbers.sib")
    message = r"add must be left out: .*numbers\.sib has classes that are none, such as 0"
    check_error(capsys, run(support=None, learned="numbers.sib", add="labelled"), message)
    assert Colours.embedded == 0


def test_pictures_with_a_label_are_not_asked_for(folders):
    """The labelled ones lie among the others."""
    assert run(query=".", label_next=1000) == 0
    asked = {row["file"] for row in rows() if row["label_next"]}
    assert len(rows()) == 30 and asked == {row["file"] for row in rows() if row["file"].startswith("new/")}
    assert run(save="classes.sib", query=None, output=None) == 0
    assert run(support=None, learned="classes.sib", query=".", label_next=1000) == 0
    assert {row["file"] for row in rows() if row["label_next"]} == asked


def test_names_that_are_no_text_are_told_as_escapes(folders):
    """In a process of its own, whose output cannot show them."""
    folder = os.fsencode(folders / "new")
    try:
        for name in (b"\xff.svg", b"\xff.cr2"):
            Path(os.fsdecode(folder + b"/" + name)).write_bytes(b"<svg/>")
    except OSError:
        pytest.skip("the file system takes no such names")
    (folders / "new" / "\u2603.png").write_bytes((folders / "new" / "ant" / "0.png").read_bytes())
    with pytest.MonkeyPatch.context() as patch, (folders / "told").open("w", encoding="latin-1") as told:
        patch.setattr(sys, "stdout", told)
        assert run(html="out.html", label_next=25) == 0
    text = (folders / "told").read_text(encoding="latin-1")
    assert "\\udcff.svg" in text and "\\udcff.cr2" in text and "\\u2603.png" in text
    assert "\\udcff.svg" in Path("out.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"support": None}, "support, or learned in its place, must be named"),
        ({"learned": "a.sib"}, "support, or learned in its place, must be named, and not both"),
        ({"add": "new"}, "add needs learned"),
        ({"query": None, "output": None}, "query must be named"),
        ({"output": None}, "query and output must be named together"),
        ({"query": None, "output": None, "save": "a.sib", "label_next": 2}, "html and label_next need query"),
        ({"save": "a.npz"}, r"save must end in \.sib; got a\.npz"),
        ({"model": "m.tflite", "save": "a.sib"}, "save must be left out with a model"),
        ({"model": "m.tflite", "views": 4}, "views must be left out with a model, whose own they are"),
        ({"unknown_below": "nan"}, r"unknown_below must be a probability in \[0, 1\]; got nan"),
        *(
            ({name: ""}, f"{name} must not be empty")
            for name in ("support", "query", "model", "learned", "add", "html")
        ),
        ({"views": 3}, "flag --views=3: value should be one of <1|2|4>"),
        ({"support": None, "learned": "nowhere.sib"}, r".*nowhere\.sib"),
        ({"support": "new/ant"}, "support new/ant must have at least two class folders"),
    ],
)
def test_flags_that_cannot_be_used_are_named(folders, capsys, changes, message):
    check_error(capsys, run(**changes), message)
    assert not Path("out.csv").exists()


def test_rows_survive_a_run_that_was_killed_and_damage(tmp_path):
    random = np.random.default_rng(0)
    digests, kept = [random.bytes(32) for _ in range(5)], random.normal(size=(5, 7)).astype(np.float32)
    with FeatureStore(tmp_path, 7) as store, FeatureStore(tmp_path, 7) as other:
        assert [store.add(digest, row) for digest, row in zip(digests[:3], kept, strict=False)] == [0, 1, 2]
        assert store.add(digests[1], kept[1]) == 1
        assert other.find(digests[0]) is None
        other.add(digests[3], kept[3])
    with FeatureStore(tmp_path, 7) as store:
        assert len(store) == 4 and len(list(tmp_path.iterdir())) == 4
        places = np.array([store.find(digest) for digest in digests[:4]])
        np.testing.assert_array_equal(store.read(places[::-1]), kept[3::-1])
        assert store.find(digests[4]) is None
    # A row without a key, a key without its row, and a row that was altered.
    first, second = sorted(tmp_path.glob("*.features"), key=lambda path: path.stat().st_size)
    with first.open("ab") as file:
        file.write(b"half")
    with second.with_suffix(".keys").open("ab") as file:
        file.write(digests[4][:16] + b"1234")
    with second.open("r+b") as file:
        file.write(b"altered")
    with FeatureStore(tmp_path, 7) as store:
        found = [store.find(digest) is not None for digest in digests]
        assert found == [False, True, True, True, False]
        store.add(digests[0], kept[0])
        np.testing.assert_array_equal(store.read([store.find(digests[0])]), kept[:1])


def test_no_tensorflow_is_loaded():
    code = "import sys; from sib_tf.photographs import sorting; print({'tensorflow', 'keras'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_cache_is_where_the_platform_has_it(monkeypatch, tmp_path):
    for name in ("SIB_TF_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for platform, expected in {
        "linux": ".cache/sib_tf", "darwin": "Library/Caches/sib_tf", "win32": "AppData/Local/sib_tf/Cache"
    }.items():  # fmt: skip
        monkeypatch.setattr(cache.sys, "platform", platform)
        assert cache.folder() == tmp_path / expected
    monkeypatch.setattr(cache.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache.folder() == Path("/elsewhere/sib_tf")
    monkeypatch.setenv("SIB_TF_CACHE", "/own")
    assert cache.folder() == Path("/own")


def test_only_some_pictures_are_on_their_way_at_a_time(tmp_path, monkeypatch):
    """Results come in order, and no more are read ahead than is said."""
    given, done = [], []

    def files():
        for number in range(100):
            given.append(number)
            yield number

    with streaming.ThreadPoolExecutor(2) as pool:
        for result in streaming._in_order(pool, lambda number: number, files(), 6):
            done.append(result)
            assert len(given) - len(done) <= 6
    assert done == list(range(100))
    assert 1 <= streaming.workers() <= min(16, os.cpu_count())


def test_of_a_class_with_very_many_pictures_a_sample_is_embedded(monkeypatch):
    monkeypatch.setattr(labelled, "MOST_OF_CLASS", 4)
    paths, labels = labelled._at_most([Path(str(n)) for n in range(13)], ["a"] * 10 + ["b"] * 3)
    assert labels == ["a"] * 4 + ["b"] * 3 and paths == sorted(set(paths), key=lambda path: int(path.name))
    assert all(int(path.name) < 10 for path in paths[:4])


def test_that_a_sample_is_embedded_is_said(folders, monkeypatch, capsys):
    monkeypatch.setattr(labelled, "MOST_OF_CLASS", 1)
    assert run() == 0
    assert "Note: Of 2 labelled pictures of bee, 1 are read, drawn at random (seed 0).\n" in capsys.readouterr().out


def test_the_page_of_a_large_pile_shows_the_doubtful_and_says_how_many_there_are(folders, monkeypatch):
    monkeypatch.setattr(page, "_AT_ONCE", 2)
    monkeypatch.setattr(page, "_MOST_OF_CLASS", 5)
    assert run(html="out.html") == 0
    text = Path("out.html").read_text(encoding="utf-8")
    for name in CLASSES:
        own = sorted((row for row in rows() if row["class"] == name), key=lambda row: float(row["probability"]))
        assert len(own) > 5
        section = text[text.index(f'dir="auto">{name}</h2>') :].split("</section>")[0]
        assert f"<p>{len(own)} pictures</p>" in section
        assert re.findall(r'class="name" dir="auto">([^<]+)<', section) == [row["file"] for row in own[:5]]
        first, folded = section.split("<details><summary>3 more, surer ones</summary>")
        assert (first.count("<figure"), folded.count("<figure")) == (2, 3)
        assert f"and {len(own) - 5} more, surer than these" in section
