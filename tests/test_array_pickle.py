"""The pickles of mini-ImageNet: both kinds, as Python 2 and 3 write them, and files that want more than arrays."""

import pickle
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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Malicious(), r"it asks for pathlib\S*\.Path\S*, which no array needs"),
        ({"image_data": Malicious(), "class_dict": {}}, "which no array needs"),
        ({"image_data": np.array([Malicious()]), "class_dict": {}}, "which no array needs|'O8'"),
        ({"image_data": PIXELS, "class_dict": {"n01532829": [0, 2]}}, "class n01532829 has rows beyond its 2 pictures"),
        ({"image_data": PIXELS, "class_dict": {"n01532829": [-1]}}, "rows beyond its 2 pictures"),
        ({"image_data": PIXELS[0], "class_dict": {}}, r"not one array \[pictures, height, width, 3\] of bytes"),
        ({"image_data": PIXELS.astype(np.int32), "class_dict": {}}, "of bytes"),
        ({"image_data": np.asfortranarray(PIXELS), "class_dict": {}}, "Fortran's order"),
        ({"image_data": PIXELS.astype(">i4"), "class_dict": {}}, "big-endian"),
        ({"image_data": PIXELS.astype(np.float32), "class_dict": {}}, "f4"),
        ({"pictures": 1}, r"it has \['pictures'\], not image_data and class_dict"),
        ([1], "it holds a list"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path, content, message):
    path = tmp_path / "file.pkl"
    path.write_bytes(pickle.dumps(content, 4))
    with pytest.raises(InputError, match=rf"file\.pkl is no pickle of mini-ImageNet, or is damaged \(.*{message}"):
        array_pickle.read(path)
    assert not Path("executed").exists()


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
