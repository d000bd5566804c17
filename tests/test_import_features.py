"""Embeddings of anyone's become a feature cache: every number and label where it belongs, and every complaint."""

import hashlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from running import run

from sib_tf.datasets import META_SPLITS, embeddings
from sib_tf.datasets.class_splits import split_classes
from sib_tf.datasets.embedding_options import EmbeddingOptions
from sib_tf.errors import InputError
from sib_tf.features import FeatureCache, importing
from sib_tf.storage import run_lock
from train import calibrate, evaluate, import_features, meta_train

# Exact in float16 and as decimal text.
X = (np.random.RandomState(0).randint(-999, 999, (60, 5)) / 16).astype(np.float32)
Y = np.array([f"gënre {i % 6}" for i in range(60)])
NAMES = sorted(set(Y))
SPLIT = np.array([("train", "val", "test")[i % 3] for i in range(60)])


def read(path, **options) -> embeddings.Embeddings:
    return embeddings.read(path, EmbeddingOptions(**options))


def table(columns: dict) -> str:
    """The text of a .csv file."""
    lines = [",".join(map(str, line)) for line in zip(*columns.values(), strict=True)]
    return "\n".join([",".join(columns), *lines]) + "\n"


def columns(**others) -> dict:
    return {f"f{i}": X[:, i] for i in range(5)} | others


def save_parquet(path, values: dict) -> None:
    pandas = pytest.importorskip("pandas")
    pandas.DataFrame(values).sample(frac=1, random_state=0).sort_index().to_parquet(path)


def npz(kind):
    np.savez("a.npz", X=X.astype(kind), y=Y, split=SPLIT)
    return "a.npz", {}


def npz_with_other_names():
    np.savez_compressed("a.npz", vectors=X, genre=np.char.encode(Y, "utf-8"), part=SPLIT)
    return "a.npz", {"x_key": "vectors", "y_key": "genre", "split_column": "part"}


def npy():
    np.save("a.npy", np.asfortranarray(X.astype(np.float64)))
    Path("l.csv").write_text("\ufeff" + table({"id": range(60), "genre": Y, "part": SPLIT}), encoding="utf-8")
    return "a.npy", {"labels": "l.csv", "label_column": "genre", "split_column": "part"}


def csv_with_quotes():
    text = table(columns(label=[f'"{name}"' for name in Y], part=SPLIT))
    Path("a.csv").write_text(text.replace("\n", "\r\n") + "\n", encoding="utf-8")
    return "a.csv", {"split_column": "part"}


def parquet():
    save_parquet("a.parquet", columns(label=Y, part=SPLIT))
    return "a.parquet", {"split_column": "part"}


def parquet_of_lists():
    save_parquet("a.parquet", {"embedding": list(X), "label": Y, "part": SPLIT})
    return "a.parquet", {"split_column": "part"}


@pytest.mark.parametrize(
    "save",
    [lambda: npz("<f2"), lambda: npz(">f8"), npz_with_other_names, npy, csv_with_quotes, parquet, parquet_of_lists],
    ids=["npz-f2", "npz-f8", "npz-names", "npy", "csv", "parquet", "lists"],
)
def test_every_kind_of_file_gives_the_same_cache(save, monkeypatch):
    monkeypatch.setattr(importing, "_BLOCK", 35)  # Of seven rows, so that the last one is shorter.
    path, options = save()
    found = read(path, **options)
    assert importing.import_embeddings(found, "cache")
    cache = FeatureCache.open("cache")
    assert (cache.views, cache.feature_dim) == (1, 5)
    for place, split in enumerate(META_SPLITS):
        rows = np.arange(place, 60, 3)
        assert found.classes[split] == (NAMES[place], NAMES[place + 3])
        assert cache.table(split).dtype == np.float32
        np.testing.assert_array_equal(cache.table(split), X[rows])
        np.testing.assert_array_equal(cache.labels(split), (rows % 6) // 3)


@pytest.mark.parametrize(
    ("labels", "names"),
    [(np.arange(60) % 6 * 7, ["0", "14", "21", "28", "35", "7"]), (np.arange(60) % 6 + 1.0, list("123456"))],
)
def test_numbers_are_labels_too_and_integers_features(labels, names):
    np.savez("a.npz", X=(X * 16).astype(np.int16), y=labels.astype(labels.dtype.newbyteorder(">")))
    found = read("a.npz", split_seed=3, test_fraction=0.4)
    expected = split_classes(names, EmbeddingOptions(split_seed=3, test_fraction=0.4))
    assert found.classes == {split: tuple(sorted(expected[split])) for split in META_SPLITS}
    assert sorted(map(len, found.classes.values())) == [1, 2, 3]
    importing.import_embeddings(found, "cache")
    cache = FeatureCache.open("cache")
    for split in META_SPLITS:
        rows, places = found.members(split)
        np.testing.assert_array_equal(cache.table(split), 16 * X[rows])
        assert [found.classes[split][i] for i in places] == [f"{labels[row]:.0f}" for row in rows]


@pytest.mark.parametrize(("file", "text"), [("l.npy", None), ("l.txt", "\n".join(Y))])
def test_labels_of_a_file_that_is_mapped_lie_beside_it(file, text):
    np.save("a.npy", X)
    np.save(file, Y) if text is None else Path(file).write_text(text, encoding="utf-8")
    found = read("a.npy", labels=file)
    assert isinstance(found.features, np.memmap)
    np.testing.assert_array_equal(found.labels, np.arange(60) % 6)
    assert found.classes == {name: tuple(sorted(v)) for name, v in split_classes(NAMES, EmbeddingOptions()).items()}


def test_the_file_is_the_backbone_and_the_same_cache_is_not_made_again(capsys):
    np.savez("sounds.npz", X=X, y=Y)
    given = {"features": "sounds.npz", "output_dir": "out"}
    said = []
    for extra in ({}, {}, {"split_seed": 1}, {"split_seed": 1, "name": "wav2vec"}):
        assert run(import_features, given, **extra) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == "Features of 40 in 4 + 10 in 1 + 10 in 1 classes (length 5) written to out.\n"
    assert ["already in out" in text for text in said] == [False, True, False, False]
    digest = hashlib.sha256(Path("sounds.npz").read_bytes()).hexdigest()
    manifest = FeatureCache.open("out").manifest
    assert manifest["backbone"] == {"name": "wav2vec", "weights": digest}
    assert manifest["source"] == {"file": "sounds.npz", "sha256": digest}
    assert manifest["dataset"]["name"] == "sounds"
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("kept")
    assert run(import_features, given, output_dir="mine") == 2
    assert "output_dir mine holds other files; name a new folder." in capsys.readouterr().err
    # Nor beside a cache, or what is called like one.
    Path("out/sib").mkdir()
    Path("out/sib/best.keras").write_text("kept")
    Path("mine/manifest.json").write_text('{"name": "a web page"}')
    for folder, kept in (("out", "sib/best.keras"), ("mine", "thesis.txt")):
        assert run(import_features, given, output_dir=folder, split_seed=2) == 2
        assert f"output_dir {folder} holds other files; name a new folder." in capsys.readouterr().err
        assert Path(folder, kept).read_text() == "kept"
    with run_lock.held("new", beside=True):
        assert run(import_features, given, output_dir="new") == 2
    assert re.search(r"error: new is in use by process \d+ on ", capsys.readouterr().err)


@pytest.mark.slow
def test_a_head_is_trained_calibrated_and_measured_on_them_and_on_no_others(capsys):
    random = np.random.RandomState(0)
    labels = np.repeat(np.arange(20), 12)
    features = random.normal(size=(20, 6))[labels] + random.normal(0, 0.7, (240, 6))
    np.savez("texts.npz", X=features, y=labels, split=np.repeat(["train", "val", "test"], [96, 72, 72]))
    np.savez("others.npz", X=features + 1, y=labels)
    assert run(import_features, features="texts.npz", output_dir="features") == 0
    assert run(import_features, features="texts.npz", output_dir="all", all_for="test") == 0
    assert run(import_features, features="others.npz", output_dir="others") == 0
    spec = {"way": 3, "shot": 1, "query": 5}
    training = {"num_steps": 1, "steps": 5, "steps_per_call": 5, "validate_every": 5, "validation_episodes": 20}
    training |= {"gradient_network": "per_class", "output_dir": "sib"}
    assert run(meta_train, spec | training, features_dir="features") == 0
    assert run(calibrate, spec, features_dir="features", model_dir="sib", episodes=20) == 0
    measured = {**spec, "model_dir": "sib", "episodes": 50, "output": "metrics.json"}
    assert run(evaluate, measured, features_dir="all") == 0
    metrics = json.loads(Path("metrics.json").read_text())
    assert metrics["backbone"]["name"] == "texts"
    assert metrics["baseline_accuracy"] > 0.5  # Chance is 0.33.
    capsys.readouterr()
    none = r"error: way=3, .* there are 0 such classes among 0, the largest of 0 pictures\. Ask for less"
    for module, flags, message in (
        (
            evaluate,
            measured | {"features_dir": "others"},
            r"error: The model in sib was meta-trained on features of a",
        ),
        (evaluate, measured | {"features_dir": "all", "split": "validation"}, none),
        (calibrate, spec | {"features_dir": "all", "model_dir": "sib"}, none),
        (meta_train, spec | training | {"features_dir": "all", "output_dir": "other"}, none),
    ):
        assert run(module, flags) == 2
        assert re.search(message, capsys.readouterr().err)
    assert not Path("other").exists()


def changed(values: np.ndarray, row: int, to) -> np.ndarray:
    values = values.copy()
    values[row] = to
    return values


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (
            changed(X, (17, 3), np.nan),
            r"Row 17 \(counted from 0\) of a\.npz has nan in feature 3; features must be",
        ),
        (changed(X, (59, 0), -np.inf), r"Row 59 .* has -inf in feature 0"),
        (
            changed(X.astype(float), (0, 4), 1e39),
            r"Row 0 .* has 1e\+39 in feature 4; features must be finite",
        ),
        # Finite numbers of whose squares float32 makes infinity, or 0; a row of zeros has no direction to lose.
        (changed(X, 17, X[17] * np.float32(1e20)), r"Row 17 .* has a length of \d.*e\+21; of features from 1e-05 to"),
        (changed(X, 59, X[59] * np.float32(1e-9)), r"Row 59 .* has a length of \d.*e-\d+; of features from"),
    ],
)
def test_numbers_that_are_not_finite_are_named_and_the_old_cache_stays(features, message, monkeypatch):
    np.savez("a.npz", X=X, y=Y)
    importing.import_embeddings(read("a.npz"), "cache")
    before = FeatureCache.open("cache").manifest
    np.savez("a.npz", X=features, y=Y)
    monkeypatch.setattr(importing, "_BLOCK", 20)
    with pytest.raises(InputError, match=message):
        importing.import_embeddings(read("a.npz"), "cache")
    assert FeatureCache.open("cache").manifest == before
    assert sorted(path.name for path in Path().iterdir()) == ["a.npz", "cache"]


RAGGED = np.array([np.zeros(2), np.zeros(3)], dtype=object)
AT = r"\(counted from 0\) of a\.npz"


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"X": X}, {}, r"a\.npz has no array 'y', but \['X'\]; name one with y_key\."),
        ({"y": Y}, {"x_key": "E"}, r"a\.npz has no array 'E', but \['y'\]; name one with x_key\."),
        ({"X": X, "y": Y}, {"split_column": "s"}, r"has no array 's', but \['X', 'y'\]; name one with split_column\."),
        ({"X": RAGGED, "y": Y}, {}, r"a\.npz is damaged \(it holds object, no plain numbers or text\); save numbers"),
        ({"X": X, "y": Y.astype(object)}, {}, r"it holds object, .*; save numbers and text alone \(labels as y\.as"),
        ({"X": X[0], "y": Y}, {}, r"features of a\.npz must be numbers \[rows, D\]; they are float32 \(5,\)\."),
        ({"X": X.astype(str), "y": Y}, {}, r"features of a\.npz must be numbers \[rows, D\]; they are <U"),
        ({"X": X[:0], "y": Y[:0]}, {}, r"must have a row, of 2 numbers at least; they are \(0, 5\)\."),
        ({"X": X[:, :1], "y": Y}, {}, r"must have a row, of 2 numbers at least; they are \(60, 1\)\."),
        ({"X": X, "y": Y[:59]}, {}, r"a\.npz has 60 rows but 59 labels; every row needs one\."),
        ({"X": X, "y": Y[:, None]}, {}, r"Labels and splits in a\.npz must be one a row; they are of shape \(60, 1\)"),
        ({"X": X, "y": np.arange(60) / 2}, {}, rf"Row 1 {AT} is labelled 0\.5; labels are text or whole numbers\."),
        ({"X": X, "y": changed(np.ones(60), 9, np.inf)}, {}, rf"Row 9 {AT} is labelled inf"),
        ({"X": X, "y": changed(Y, 5, "")}, {}, rf"Row 5 {AT} has no label; leave such rows out\."),
        ({"X": X, "y": changed(np.arange(60), 7, -1)}, {}, rf"Row 7 {AT} is labelled -1, which marks unlabelled rows"),
        ({"X": X, "y": np.full(60, "a")}, {"all_for": "test"}, r"has 1 classes \['a'\]; at least 2 are needed: add cl"),
        ({"X": X, "y": np.arange(60) % 2}, {}, r"has 2 classes \['0', '1'\]; at least 3 are needed: add classes, or"),
        ({"X": X, "y": Y, "split": SPLIT[:9]}, {}, r"a\.npz has 60 labels but 9 splits; every row needs one\."),
        ({"X": X, "y": Y, "split": changed(SPLIT, 4, "dev")}, {}, rf"Row 4 {AT} is of split 'dev'; splits are train,"),
        (
            {"X": X, "y": Y, "split": changed(SPLIT, 8, "train")}, {},
            rf"Row 8 {AT} puts class 'gënre 2' into train, an earlier row into test; meta-splits have disjoint classes",
        ),
    ],
)  # fmt: skip
def test_arrays_that_cannot_be_used_are_named(arrays, options, message):
    np.savez("a.npz", **arrays)
    with pytest.raises(InputError, match=message):
        read("a.npz", **options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"a\.csv has no column 'label', but \[\]; name one with label_column\."),
        ("f0,f1,label\n", r"features of a\.csv must have a row, of 2 numbers at least; they are \(0, 2\)\."),
        (
            "f0,f1,label\n1,2,a\n\n1,2\n",
            r"Row 1 \(counted from 0\) of a\.csv has 2 cells, its header 3; mend that",
        ),
        ("f0,f1,label\n1,x,a\n", r"Row 0 .* has 'x' in column 'f1'; columns but label_column and split_column must be"),
        ("f0,f1,label\n1,,a\n", r"Row 0 .* has '' in column 'f1'"),
        ("f0,f1,label\n1,2,\n", r"Row 0 .* has no label"),
        ('f0,f1,label\n1,2,"a', r"a\.csv cannot be read \(unexpected end of data\); mend it, or save it anew\."),
        ("f0,f1,label\n1,2,\udcff\n", r"a\.csv cannot be read \('utf-8' codec can't decode"),
    ],
)
def test_tables_that_cannot_be_used_are_named(text, message):
    Path("a.csv").write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(InputError, match=message):
        read("a.csv")


@pytest.mark.parametrize(
    ("file", "text", "options", "message"),
    [
        ("a.npy", None, {}, r"labels is required for a\.npy: name a file with a label a row"),
        ("a.npy", None, {"labels": "l.json"}, r"labels must end in \.npy, \.txt or \.csv; got l\.json\."),
        ("a.npy", None, {"labels": "l.txt"}, r"l\.txt cannot be read \(No such file or directory\)"),
        ("a.npy", None, {"labels": "l.csv"}, r"l\.csv cannot be read \(No such file or directory\)"),
        ("a.npy", None, {"labels": "l.txt", "split_column": "s"}, r"split_column needs labels in a \.csv, with that"),
        ("a.npy", b"\x93NUMPY", {"labels": "l.txt"}, r"a\.npy is damaged \(.*\); save numbers and text alone"),
        ("a.npz", b"PK", {}, r"a\.npz is damaged \(File is not a zip file\)"),
        ("a.npz", None, {"labels": "l.txt"}, r"labels=l\.txt is for a \.npy; a\.npz has its own\. Leave it out\."),
        ("b.npz", None, {}, r"features must be an existing file; b\.npz is not\."),
        ("a.h5", None, {}, r"features must end in \.npz, \.npy, \.csv or \.parquet; got a\.h5\."),
    ],
)
def test_files_that_cannot_be_used_are_named(file, text, options, message):
    np.save("a.npy", X)
    np.savez("a.npz", X=X, y=Y)
    if text is not None:
        Path(file).write_bytes(text)
    with pytest.raises(InputError, match=message):
        read(file, **options)


def test_what_a_file_has_no_bytes_for_is_not_read(monkeypatch):
    with Path("a.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (10**9, 1280)})
    with pytest.raises(InputError, match=r"a\.npy is damaged \(its shape .* needs 5,120,000,000,000 bytes; it has 0\)"):
        read("a.npy", labels="l.txt")
    monkeypatch.setattr(embeddings.array_files, "MOST_BYTES", 1000)
    np.savez_compressed("a.npz", X=np.zeros((60, 5)), y=Y)
    with pytest.raises(InputError, match=r"it unpacks to .* at most 1,000 are read\); .* more than 1 GiB as \.npy\."):
        read("a.npz")


def test_of_a_parquet_file_the_values_are_counted_first(monkeypatch):
    save_parquet("a.parquet", columns(label=Y))
    monkeypatch.setattr(embeddings.array_files, "MOST_BYTES", 1000)
    # With the index, which is no feature.
    with pytest.raises(InputError, match=r"a\.parquet cannot be read \(it unpacks to 420 values; at most"):
        read("a.parquet")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"f0": Y, "f1": X[:, 0], "label": Y}, r"Column 'f0' of a\.parquet holds .*; columns but label_column and spl"),
        ({"f0": X[:, 0], "label": Y}, r"must have a row, of 2 numbers at least; they are \(60, 1\)\."),
        (
            {"e": [[1.0, 2.0]] * 59 + [[1.0]], "label": Y},
            r"Row 59 .* is of shape \(1,\), row 0 of \(2,\); mend that",
        ),
        ({"e": Y, "label": Y}, r"Row 0 .* holds 'gënre 0', no list of numbers\."),
        ({"f0": X[:, 0], "f1": X[:, 1], "label": [*Y[:59], None]}, r"Row 59 .* has no label"),
        ({"f0": X[:, 0], "f1": X[:, 1], "label": [*range(59), None]}, r"Row 59 .* is labelled nan; labels are text or"),
    ],
)
def test_parquet_files_that_cannot_be_used_are_named(values, message):
    save_parquet("a.parquet", values)
    with pytest.raises(InputError, match=message):
        read("a.parquet")


def test_missing_numbers_and_kinds_of_numbers_in_parquet_files():
    pandas = pytest.importorskip("pandas")
    numbers = pandas.array([*range(59), None], dtype="Int64")
    save_parquet("a.parquet", {"n": numbers, "b": X[:, 0] > 0, "f": X[:, 1].astype(float), "label": np.arange(60) % 6})
    found = read("a.parquet")
    expected = np.stack([np.r_[:59, np.nan], X[:, 0] > 0, X[:, 1]], axis=1)
    np.testing.assert_array_equal(found.features, expected.astype(np.float32))
    with pytest.raises(InputError, match=r"Row 59 .* has nan in feature 0"):
        importing.import_embeddings(found, "cache")


def test_without_pandas_a_parquet_file_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    Path("a.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"a\.parquet is read by pandas and pyarrow, .*: pip install pandas pyarrow"):
        read("a.parquet")


def test_a_broken_parquet_file_is_named():
    pytest.importorskip("pandas")
    Path("a.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"a\.parquet cannot be read \(.*\); mend it, or save it anew\."):
        read("a.parquet")
