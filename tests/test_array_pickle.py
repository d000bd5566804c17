"""The pickles of mini-ImageNet: both kinds, as Python 2 and 3 write them, and files that want more than arrays."""

import pickle
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from test_mini_imagenet import GIVEN, TRAIN, configure, load, picture_of

from sib_tf import datasets
from sib_tf.datasets import array_pickle
from sib_tf.errors import InputError

NAMES = {"train": ("train", "train_phase_train"), "val": ("val", "val"), "test": ("test", "test")}


def cached(wnids: tuple[str, ...]) -> dict:
    pixels = np.stack([picture_of(wnid, index) for index in range(2) for wnid in wnids])
    return {"image_data": pixels, "class_dict": {w: [i, i + len(wnids)] for i, w in enumerate(wnids)}}


def labelled(wnids: tuple[str, ...]) -> dict:
    pixels = np.stack([picture_of(wnid, index) for index in range(2) for wnid in wnids])
    # Labels of other splits are counted on from there.
    labels = [64 + i for _ in range(2) for i in range(len(wnids))]
    return {"data": pixels, "labels": labels, "catname2label": {w: 64 + i for i, w in enumerate(wnids)}}


def write(root: Path, make=cached, protocol: int = 4) -> None:
    for split, wnids in GIVEN.items():
        name = NAMES[split]
        path = (
            f"mini-imagenet-cache-{name[0]}.pkl" if make is cached else f"miniImageNet_category_split_{name[1]}.pickle"
        )
        (root / path).write_bytes(pickle.dumps(make(wnids), protocol))


@pytest.mark.parametrize("make", [cached, labelled])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_both_kinds_give_exact_pixels_labels_and_names(tmp_path, make, protocol):
    root = tmp_path / "mini"
    root.mkdir()
    write(root, make, protocol)
    data = load(root)
    assert [data.split(split).class_names for split in datasets.META_SPLITS] == list(map(tuple, GIVEN.values()))
    expected = [picture_of(wnid, index) for wnid in TRAIN for index in range(2)]
    np.testing.assert_array_equal(data.train.images, expected)
    assert data.train.labels.tolist() == [0, 0, 1, 1]
    assert data.train.ids[1] == f"{TRAIN[0]}/00002"


# As Python 2 writes it: two pictures of 2 x 2 pixels, 0 .. 23, both of n01532829.
PYTHON2 = (
    b"\x80\x02}(U\nimage_datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    b"(K\x01(K\x02K\x02K\x02K\x03tcnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    b"\x89U\x18" + bytes(range(24)) + b"tbU\nclass_dict}U\tn01532829](K\x00K\x01esu."
)


def test_a_file_of_python_2_is_read(tmp_path):
    (tmp_path / "file").write_bytes(PYTHON2)
    found = array_pickle.read(tmp_path / "file")
    np.testing.assert_array_equal(found.pixels, np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3))
    assert list(found.rows) == ["n01532829"] and found.rows["n01532829"].tolist() == [0, 1]


class Malicious:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


PIXELS = np.zeros((2, 4, 4, 3), np.uint8)
ONE, TWO = TRAIN


def of(pixels=PIXELS, rows=None) -> dict:
    return {"image_data": pixels, "class_dict": {ONE: [0], TWO: [1]} if rows is None else rows}


def by_labels(labels, names=None) -> dict:
    return {"data": PIXELS, "labels": labels, "catname2label": {ONE: 0, TWO: 1} if names is None else names}


@pytest.mark.parametrize(
    "content",
    [
        of(np.asfortranarray(PIXELS)),
        of(rows=defaultdict(list, {ONE: [0], TWO: [1]})),
        of(rows={ONE: np.array([0], np.int16), TWO: np.array([1], np.uint64)}),
        by_labels(np.array([0, 1], np.int32)),
        by_labels((0, 1)),
    ],
)
def test_forms_of_the_same_are_read(tmp_path, content):
    (tmp_path / "file.pkl").write_bytes(pickle.dumps(content, 4))
    found = array_pickle.read(tmp_path / "file.pkl")
    np.testing.assert_array_equal(found.pixels, PIXELS)
    assert {name: rows.tolist() for name, rows in found.rows.items()} == {ONE: [0], TWO: [1]}


EACH_ONCE = "its classes do not have each of its 2 pictures once"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Malicious(), r"it asks for pathlib\S*\.Path\S*, which no array needs"),
        (of(Malicious()), "which no array needs"),
        (of(np.array([Malicious()])), "which no array needs|numbers of kind 'O8'"),
        (of(rows={ONE: [0, 2], TWO: [1]}), EACH_ONCE),
        (of(rows={ONE: [0], TWO: [-1]}), EACH_ONCE),
        (of(rows={ONE: [0]}), EACH_ONCE),
        (of(rows={ONE: [0, 1], TWO: [1]}), EACH_ONCE),
        (of(rows={ONE: [], TWO: [0, 1]}), f"class {ONE} has no pictures"),
        (of(rows={1: [0], 2: [1]}), "class_dict has the name 1; text is needed"),
        (of(rows={ONE: [0], ONE.encode(): [1]}), "class_dict has a name twice, as bytes and as text"),
        (of(rows=[[0], [1]]), "class_dict is a list; a dictionary is needed"),
        (of(rows={ONE: [0.5], TWO: [1]}), f"class {ONE} is no list of whole numbers"),
        (of(rows={ONE: "01", TWO: [1]}), f"class {ONE} is no list of whole numbers"),
        (of(rows={ONE: [True], TWO: [0]}), f"class {ONE} is no list of whole numbers"),
        (of(rows={ONE: [[0, 1]], TWO: [1]}), f"class {ONE} is no list of whole numbers"),
        (of(rows={ONE: np.array([[0, 1]]), TWO: [1]}), f"class {ONE} is no list of whole numbers, but has 2 axes"),
        (by_labels([0]), f"class {TWO} has no pictures"),
        (by_labels([0, 1, 0]), EACH_ONCE),
        (by_labels([0, 7]), f"class {TWO} has no pictures"),
        (by_labels(None), "labels is no list of whole numbers"),
        (by_labels([0, 1], {ONE: None, TWO: 1}), "catname2label is no list of whole numbers"),
        (by_labels([0, 0], {ONE: 0, TWO: 0}), "catname2label has the label 0 for several names"),
        (by_labels([0, 1], {0: ONE, 1: TWO}), "catname2label has the name 0; text is needed"),
        (of(PIXELS[0]), r"pictures are uint8 \[4, 4, 3\]; one array \[pictures, height, width, 3\] of bytes is needed"),
        (of(PIXELS.transpose(0, 3, 1, 2).copy()), r"pictures are uint8 \[2, 3, 4, 4\]; one array"),
        (of(np.zeros((2, 0, 0, 3), np.uint8)), r"pictures are uint8 \[2, 0, 0, 3\]; one array"),
        (of(PIXELS.astype(np.int32)), "pictures are int32"),
        (of([1]), "pictures are a list"),
        (of(PIXELS.astype(">i4")), "its numbers are big-endian"),
        (of(PIXELS.astype(np.float32)), "numbers of kind 'f4'"),
        ({"pictures": 1}, r"it has \['pictures'\], not image_data and class_dict"),
        ([1], "it is a list; a dictionary is needed"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path, content, message):
    path = tmp_path / "file.pkl"
    path.write_bytes(pickle.dumps(content, 4))
    with pytest.raises(InputError, match=rf"file\.pkl (cannot be used: |is no pickle of mini-ImageNet, ).*({message})"):
        array_pickle.read(path)
    assert not Path("executed").exists()


@pytest.mark.parametrize("name", [b"_codecs\nencode", b"numpy.core.multiarray\nscalar", b"collections\nOrderedDict"])
def test_nothing_of_ours_is_changed(tmp_path, name):
    """A pickle may set the state of whatever it can name: here the attributes of what reads it."""
    (tmp_path / "file.pkl").write_bytes(b"\x80\x02c" + name + b"\nN}X\x0c\0\0\0__defaults__N\x85s\x86b.")
    with pytest.raises(InputError, match=r"file\.pkl is no pickle of mini-ImageNet, or is damaged"):
        array_pickle.read(tmp_path / "file.pkl")
    (tmp_path / "file").write_bytes(PYTHON2)
    array_pickle.read(tmp_path / "file")


def test_a_hostile_name_does_not_reach_the_terminal(tmp_path):
    (tmp_path / "file.pkl").write_bytes(b"\x80\x02c\x1b[2J\x07os\nsys\n.")
    with pytest.raises(InputError) as error:
        array_pickle.read(tmp_path / "file.pkl")
    assert str(error.value).isprintable()


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_that_is_missing_is_named(tmp_path, split):
    write(tmp_path)
    (tmp_path / f"mini-imagenet-cache-{split}.pkl").unlink()
    with pytest.raises(
        InputError, match=rf"has mini-\S+, but no mini-imagenet-cache-{split}\.pkl or miniImageNet\S+; put"
    ):
        configure(tmp_path)


def test_a_split_in_two_files_is_refused(tmp_path):
    write(tmp_path)
    write(tmp_path, labelled)
    with pytest.raises(InputError, match=r"the train pictures in mini-\S+ and in miniImageNet\S+; remove one\."):
        configure(tmp_path)


@pytest.mark.parametrize("folder", ["images", "train"])
def test_pickles_beside_folders_are_refused(tmp_path, folder):
    write(tmp_path)
    (tmp_path / folder).mkdir()
    with pytest.raises(InputError, match=r"has both mini-imagenet-cache-train\.pkl and folders of pictures"):
        configure(tmp_path)


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
def test_a_file_that_is_cut_off_is_refused(tmp_path, part):
    content = pickle.dumps(cached(TRAIN), 4)
    (tmp_path / "file.pkl").write_bytes(content[: int(part * len(content))])
    with pytest.raises(InputError, match="or is damaged"):
        array_pickle.read(tmp_path / "file.pkl")


def test_a_class_that_is_no_wordnet_id_is_named(tmp_path):
    write(tmp_path)
    content = cached(("goose",))
    (tmp_path / "mini-imagenet-cache-val.pkl").write_bytes(pickle.dumps(content, 4))
    with pytest.raises(InputError, match=r"cache-val\.pkl has the class 'goose'; a WordNet id"):
        configure(tmp_path)
