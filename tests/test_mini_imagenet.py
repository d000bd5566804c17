"""mini-ImageNet from a folder: both layouts, the official splits, and every complaint."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sib_tf import datasets
from sib_tf.datasets import mini_imagenet
from sib_tf.errors import InputError

# Two training classes, and one each of the published validation and test lists.
TRAIN, VALIDATION, TEST = ("n01532829", "n01558993"), "n01855672", "n01930112"
GIVEN = {"train": TRAIN, "val": (VALIDATION,), "test": (TEST,)}


def picture_of(wnid: str, index: int) -> np.ndarray:
    return np.random.default_rng([*wnid.encode(), index]).integers(0, 256, (84, 84, 3), np.uint8)


def draw(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Lossless whatever the name says, so that tests can ask for exact pixels.
    Image.fromarray(pixels).save(path, format="PNG")
    return path


def make_folders(root: Path, given=GIVEN, pictures: int = 2) -> None:
    for split, wnids in given.items():
        for wnid in wnids:
            for index in range(pictures):
                draw(root / split / wnid / f"{wnid}{index:08d}.jpg", picture_of(wnid, index))


def make_csv_files(root: Path, given=GIVEN, pictures: int = 2) -> None:
    for split, wnids in given.items():
        rows = [("filename", "label")]
        for wnid in wnids:
            for index in range(pictures):
                name = f"{wnid}{index:08d}.jpg"
                draw(root / "images" / name, picture_of(wnid, index))
                rows.append((name, wnid))
        # With a byte order mark, which spreadsheets write.
        with (root / f"{split}.csv").open("w", newline="", encoding="utf-8-sig") as file:
            csv.writer(file).writerows(rows)


def load(root: Path) -> datasets.MetaDataset:
    return datasets.load("mini_imagenet", str(root), str(root.parent / "cache"))


def configure(root: Path):
    return mini_imagenet.builder_config(str(root))


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "mini").mkdir()
    return tmp_path / "mini"


@pytest.mark.parametrize("make", [make_folders, make_csv_files])
def test_both_layouts_give_exact_pixels_labels_and_names(root, make):
    make(root)
    data = load(root)
    assert data.train.class_names == TRAIN
    assert data.validation.class_names == (VALIDATION,)
    assert data.test.class_names == (TEST,)
    assert data.train.labels.tolist() == [0, 0, 1, 1]
    assert data.test.ids.tolist() == [f"{TEST}/{TEST}{index:08d}.jpg" for index in range(2)]
    expected = [picture_of(wnid, index) for wnid in TRAIN for index in range(2)]
    np.testing.assert_array_equal(data.train.images, expected)
    assert data.normalization == ((120.396, 115.594, 104.540), (70.682, 68.276, 72.545))
    assert mini_imagenet.Builder.CROP_SIZE == 80


@pytest.mark.parametrize("make", [make_folders, make_csv_files])
def test_the_published_lists_win_over_folders_and_csv_files(root, make, caplog):
    make(root, {"train": (TRAIN[0], TEST), "val": (TRAIN[1],), "test": (VALIDATION,)})
    data = load(root)
    assert [data.split(split).class_names for split in datasets.META_SPLITS] == [TRAIN, (VALIDATION,), (TEST,)]
    moved = (
        f"{root} puts ['n01558993', 'n01855672', 'n01930112'] into other splits than the published ones, which count."
    )
    assert moved in caplog.messages


def in_one_folder(root: Path) -> None:
    make_folders(root.parent / "made")
    for folder in (root.parent / "made").glob("*/*"):
        folder.rename(root / folder.name)


def in_one_folder_of_images(root: Path) -> None:
    (root / "images").mkdir()
    in_one_folder(root / "images")
    (root / "made").rename(root / ".made")


def every_class_in_two_folders(root: Path) -> None:
    """As copies for plain classification have it: some pictures of each class in either."""
    make_folders(root.parent / "made")
    for path in (root.parent / "made").glob("*/*/*"):
        split = "train" if path.stem.endswith("0") else "val"
        (root / split / path.parent.name).mkdir(parents=True, exist_ok=True)
        path.rename(root / split / path.parent.name / path.name)


@pytest.mark.parametrize("make", [in_one_folder, in_one_folder_of_images, every_class_in_two_folders])
def test_layouts_without_the_published_splits_are_split_by_the_published_lists(root, make, caplog):
    make(root)
    found = configure(root).pictures
    names = {split: [picture.id for picture in pictures] for split, pictures in found.items()}
    expected = {"train": TRAIN, "validation": (VALIDATION,), "test": (TEST,)}
    for split, wnids in expected.items():
        wanted = [f"{wnid}/{wnid}{index:08d}.jpg" for wnid in wnids for index in range(2)]
        assert sorted(names[split]) == wanted
    assert len(caplog.messages) == 1  # Of the counts: nothing is in another split than it should be.


def test_a_picture_in_both_of_two_folders_is_refused(root):
    every_class_in_two_folders(root)
    draw(root / "val" / TEST / f"{TEST}00000000.jpg", picture_of(TEST, 0))
    with pytest.raises(InputError, match=rf"mini has {TEST}/{TEST}00000000\.jpg more than once; remove all but one"):
        configure(root)


def test_counts_other_than_the_published_are_warned_of(root, caplog):
    make_folders(root)
    configure(root)
    assert caplog.messages == [
        f"{root} has {{'train': 2, 'validation': 1, 'test': 1}} classes of 2 to 2 pictures; mini-ImageNet has "
        "{'train': 64, 'validation': 16, 'test': 20} of 600."
    ]


def test_the_published_counts_are_not_warned_of(root, caplog, monkeypatch):
    monkeypatch.setattr(mini_imagenet, "PICTURES_PER_CLASS", 1)
    train = [f"n{number:08d}" for number in range(64)]
    held_out = [
        [wnid for wnid, of in mini_imagenet.HELD_OUT.items() if of == split] for split in ("validation", "test")
    ]
    make_folders(root, dict(zip(("train", "val", "test"), (train, *held_out), strict=True)), 1)
    configure(root)
    assert not caplog.messages


def test_a_class_may_be_spread_over_both_validation_folders(root):
    make_folders(root)
    draw(root / "validation" / TRAIN[0] / "more.jpg", picture_of(TRAIN[0], 9))
    assert [picture.id for picture in configure(root).pictures["train"]][-1] == f"{TRAIN[0]}/more.jpg"


def test_a_folder_must_be_named(tmp_path):
    complaint = (
        r"data_dir is required for 'mini_imagenet'\. .*https://image-net\.org .*train\.csv, val\.csv and test\.csv"
    )
    with pytest.raises(InputError, match=complaint + r".* or <wnid>/\*\.jpg, all in one folder"):
        datasets.load("mini_imagenet", None, str(tmp_path))


def spread(**folders):
    """Folders laid out by split; the arguments replace those of `GIVEN`."""
    return lambda root: make_folders(root, {split: wnids for split, wnids in {**GIVEN, **folders}.items() if wnids})


def under_two_labels(root: Path) -> None:
    make_csv_files(root)
    (root / "train.csv").write_text(f"filename,label\n{TEST}00000000.jpg,{TRAIN[0]}\n")


LAYOUT_COMPLAINTS = [
    (lambda root: None, r"mini has no class folders such as n01532829\. ImageNet's licence"),
    (spread(test=()), r"mini has no pictures of the test classes; add the published classes\."),
    (lambda root: make_csv_files(root / "train"), r"Class folder .*train/images must be called by a WordNet id"),
    (lambda root: make_csv_files(root, {"train": TRAIN}), r"mini has images but no test\.csv, val\.csv; put it"),
    (spread(test=["n00000001"]), r"mini has no pictures of the test classes; add the published classes\."),
    (spread(train=["goose"]), r"Class folder .*train/goose must be called by a WordNet id, such as n01532829"),
    (spread(test=(TEST, TRAIN[0])), r"mini has n01532829/n0153282900000000\.jpg more than once; remove all but one"),
    (under_two_labels, r"mini has .*images/n0193011200000000\.jpg more than once; remove all but one"),
]


@pytest.mark.parametrize(("make", "complaint"), LAYOUT_COMPLAINTS)
def test_layouts_that_cannot_be_used_say_why(root, make, complaint):
    make(root)
    with pytest.raises(InputError, match=complaint):
        configure(root)


HEAD = "filename,label\n"
CSV_COMPLAINTS = [
    ("", r"must have the columns filename,label; its first line is None\."),
    ("file,class\na,b\n", r"must have the columns filename,label; its first line is \['file', 'class'\]"),
    (HEAD + "a.jpg\n", r"line 2 must have a filename and a label; got \['a\.jpg', None\]\."),
    (HEAD + "a.jpg,n01532829,x\n", r"line 2 must have a filename and a label; got"),
    (HEAD + ",n01532829\n", r"line 2 must have a filename and a label; got \['', 'n01532829'\]"),
    (HEAD + "a.jpg,goose\n", r"line 2 has the label 'goose'; a WordNet id, such as n01532829,"),
    (HEAD + "a.jpg,n01532829\n", r"line 2 names a\.jpg, which is not in .*images; add the pic"),
    (HEAD + "../secret.png,n01532829\n", r"line 2 names \.\./secret\.png, which is not inside .*images; remove the"),
    (HEAD + '"a.jpg,n01532829\n', r"is not a readable csv file \(unexpected end of data\)"),
    (HEAD + "\xff", r"is not a readable csv file \(.*can't decode byte.*\); fetch it again\."),
]


@pytest.mark.parametrize(("content", "complaint"), CSV_COMPLAINTS)
def test_csv_files_that_cannot_be_used_are_named(root, content, complaint):
    make_csv_files(root)
    draw(root / "secret.png", picture_of(TEST, 0))
    (root / "train.csv").write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match=r"train\.csv " + complaint):
        configure(root)
