"""The user's own pictures: layouts, options, the split by class, and every complaint."""

import importlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from sib_tf import datasets
from sib_tf.datasets import cifar_fs, folder, omniglot
from sib_tf.errors import InputError

CLASSES = ("ant, red", "bée", "cat", "dog", "emu")
SPLITS = {"train": ("ant, red", "bée"), "val": ("cat",), "test": ("dog",)}


def color_of(name: str, index: int) -> tuple[int, int, int]:
    return (CLASSES.index(name) * 40, index * 20, 99)


def draw(path: Path, color=(1, 2, 3), size: int = 32) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), color).save(path)
    return path


def fill(root: Path, classes, pictures: int = 2, suffix: str = ".png") -> None:
    for name in classes:
        for index in range(pictures):
            draw(root / name / f"{index}{suffix}", color_of(name, index))


def load(root: Path, **options) -> datasets.MetaDataset:
    return datasets.load("folder", str(root), str(root.parent / "cache"), options)


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "pictures").mkdir()
    return tmp_path / "pictures"


def warnings(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_all_data_sets_can_be_imported_together_and_what_they_fetch_has_checksums():
    builders = [importlib.import_module(f"sib_tf.datasets.{name}").Builder for name in datasets.DATASETS]
    names = {builder.name for builder in builders}
    assert len(names) == len(datasets.DATASETS)
    assert names <= set(tfds.list_builders(with_community_datasets=False))
    fetched = {url.rpartition("/")[2] for builder in builders for url in builder.url_infos}
    assert fetched == {cifar_fs.ARCHIVE, omniglot.BACKGROUND, omniglot.EVALUATION}


def test_split_folders_give_exact_pixels_labels_and_names(root):
    for split, names in SPLITS.items():
        fill(root / split, names)
    data = load(root)
    assert data.train.class_names == ("ant, red", "bée")
    assert data.validation.class_names == ("cat",)
    assert data.test.class_names == ("dog",)
    assert data.train.labels.tolist() == [0, 0, 1, 1]
    assert data.train.ids.tolist() == ["ant, red/0.png", "ant, red/1.png", "bée/0.png", "bée/1.png"]
    colors = [color_of(name, index) for name in SPLITS["train"] for index in range(2)]
    np.testing.assert_array_equal(data.train.images, np.broadcast_to(np.array(colors)[:, None, None], (4, 32, 32, 3)))
    # No published constants: those of the training pictures. (0 + 0 + 40 + 40) / 4 and (0 + 20 + 0 + 20) / 4.
    assert data.normalization == ((20.0, 10.0, 99.0), (20.0, 10.0, 1.0))


def test_preparing_says_what_it_does_and_no_more(root, caplog, capsys):
    fill(root, CLASSES)
    load(root)
    printed = capsys.readouterr()
    assert "Preparing the pictures of data set folder once, in " in printed.err
    assert not printed.out
    assert not warnings(caplog)
    load(root)
    assert not capsys.readouterr().err


def test_without_split_folders_classes_are_split_by_hash(root):
    fill(root, CLASSES)
    data = load(root, split_seed=3, image_size=16)
    expected = folder.split_classes(list(CLASSES), folder.FolderOptions(split_seed=3))
    for split in datasets.META_SPLITS:
        assert data.split(split).class_names == tuple(sorted(expected[split]))
        assert data.split(split).images.shape == (2 * len(expected[split]), 16, 16, 3)
    assert data.version.startswith("16px-")
    assert data.version.endswith("-1.1.0")


@pytest.mark.parametrize(
    ("count", "fractions", "sizes"),
    [(100, (0.2, 0.2), (60, 20, 20)), (5, (0.2, 0.2), (3, 1, 1)), (3, (0.2, 0.2), (1, 1, 1))]
    + [(4, (0.45, 0.45), (1, 1, 2)), (10, (0.01, 0.01), (8, 1, 1)), (50, (0.1, 0.3), (30, 5, 15))],
)
def test_split_sizes(count, fractions, sizes):
    options = folder.FolderOptions(validation_fraction=fractions[0], test_fraction=fractions[1])
    names = [f"class {i}" for i in range(count)]
    splits = folder.split_classes(names, options)
    assert tuple(len(splits[split]) for split in datasets.META_SPLITS) == sizes
    assert sorted(sum(splits.values(), [])) == sorted(names)


def test_the_split_depends_on_seed_and_names_only():
    names = [f"class {i}" for i in range(20)]
    splits = folder.split_classes(names, folder.FolderOptions())
    assert splits == folder.split_classes(names[::-1], folder.FolderOptions())
    assert splits != folder.split_classes(names, folder.FolderOptions(split_seed=1))
    # Pinned: the split of a user's folder must be the same for ever.
    pinned = {"train": ["e", "d", "a"], "validation": ["b"], "test": ["c"]}
    assert folder.split_classes(list("abcde"), folder.FolderOptions()) == pinned


def test_one_more_class_moves_others_only_at_the_cuts():
    names = [f"class {i}" for i in range(50)]
    before = folder.split_classes(names, folder.FolderOptions())
    after = folder.split_classes([*names, "another"], folder.FolderOptions())
    moved = sum(len(set(before[split]) - set(after[split])) for split in before)
    assert moved <= 2


def test_pictures_count_at_any_depth_links_are_followed_and_all_else_is_passed_over(root, caplog):
    fill(root, CLASSES[:3], suffix=".PNG")
    for name in (".DS_Store", "cat/Thumbs.db", "cat/@eaDir/0.PNG", "cat/._0.PNG", ".hidden/x.png", "__MACOSX/x.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"no picture")
    draw(root / "cat" / "young ones" / "0.png")
    draw(root.parent / "elsewhere" / "dog" / "x.png")
    (root / "dog").symlink_to(root.parent / "elsewhere" / "dog")
    ids = {picture.id for pictures in folder.builder_config(str(root)).pictures.values() for picture in pictures}
    assert ids == {f"{name}/{i}.PNG" for name in CLASSES[:3] for i in range(2)} | {"cat/young ones/0.png", "dog/x.png"}
    assert not warnings(caplog)


def test_loose_pictures_beside_class_folders_are_warned_of(root, caplog):
    fill(root, CLASSES[:3])
    draw(root / "cover.png")
    folder.builder_config(str(root))
    assert warnings(caplog) == [f"Left out 1 pictures that lie in no class folder: {root / 'cover.png'}"]


def test_a_class_may_be_called_like_a_split(root):
    for name in ("train", "bus", "tram"):
        draw(root / name / "0.png")
    splits = folder.builder_config(str(root)).pictures.values()
    assert sorted(picture.class_name for pictures in splits for picture in pictures) == ["bus", "train", "tram"]


def test_a_changed_folder_is_prepared_anew(root):
    fill(root, CLASSES[:3], pictures=1)
    name = folder.builder_config(str(root)).name
    assert load(root).version.startswith(name)
    copy = shutil.copytree(root, root.parent / "copy")  # Where it lies makes no difference.
    assert folder.builder_config(str(copy)).name == name
    picture = draw(root / "cat" / "0.png", (250, 250, 250))
    os.utime(picture, (1, 1))
    second = load(root)
    assert not second.version.startswith(name)
    split = next(split for split in datasets.META_SPLITS if second.split(split).class_names == ("cat",))
    assert second.split(split).images[0, 0, 0].tolist() == [250, 250, 250]
    assert not second.version.startswith(folder.builder_config(str(root), on_broken="skip").name)


def test_broken_pictures_are_refused_or_skipped_by_name(root, caplog):
    fill(root, CLASSES[:3])
    (root / "cat" / "bad.jpg").write_bytes(b"\xff\xd8 no")
    with pytest.raises(InputError, match=r"bad\.jpg cannot be read .* Or set on_broken to skip, which leaves"):
        load(root)
    (root / "bée" / "gone.png").symlink_to(root / "nowhere.png")
    data = load(root, on_broken="skip")
    assert sum(len(data.split(split).labels) for split in datasets.META_SPLITS) == 6
    found = "\n".join(warnings(caplog))
    assert found.count("Skipped 1 broken pictures of the ") == 2
    assert str(root / "cat" / "bad.jpg") in found
    assert f"{root / 'bée' / 'gone.png'} cannot be read as a picture (No such file or directory)" in found


def test_a_class_of_broken_pictures_only_is_refused_by_name(root):
    fill(root, CLASSES[:2])
    (root / "cat").mkdir()
    (root / "cat" / "bad.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"Class cat has broken pictures only: .*bad\.jpg .* Or remove its folder\."):
        load(root, on_broken="skip")


LAYOUT_COMPLAINTS = [
    ([], r"has 0 class folders \[\]; at least 3 are needed, one each for training"),
    (["cat/0.png"], r"has 1 class folders \['cat'\]; at least 3 are needed"),
    (["0.png", "1.png"], r"has 2 pictures but no class folders; move the pictures of each class"),
    (["a/0.png", "b/0.png", "c/"], r"Class folder .*/c has no pictures; add some or remove"),
    (["train/a/", "val/b/0.png", "test/c/0.png"], r"Class folder .*/train/a has no pic"),
    (["train/a/0.png", "val/b/0.png"], r"has split folders but none for test; add what is missing"),
    (["train/a/0.png"], r"has split folders but none for test and validation; add what"),
    (["train/a/0.png", "val/b/0.png", "test/"], r"/test has no class folders; lay the pict"),
    (["train/0.png", "val/0.png", "test/0.png"], r"/test has no class folders; lay the"),
    (["train/a/0.png", "val/b/0.png", "validation/c/0.png"], r"validation beside them is a se"),
    (
        ["train/a/0.png", "validation/a/0.png", "test/b/0.png"],
        r"disjoint classes; data set 'folder' has \['a'\] in more than one",
    ),
    (["train/a/0.png", "val/b/0.png", "cat/0.png"], r"but cat beside them is no split; move"),
]


@pytest.mark.parametrize(("files", "complaint"), LAYOUT_COMPLAINTS)
def test_layouts_that_cannot_be_used_say_why(root, files, complaint):
    for name in files:
        if name.endswith("/"):
            (root / name).mkdir(parents=True)
        else:
            draw(root / name)
    with pytest.raises(InputError, match=complaint):
        load(root)


@pytest.mark.parametrize("name", ["glyphs", "omniglot", "cifar_fs", "mini_imagenet"])
def test_other_data_sets_refuse_its_options(tmp_path, name):
    with pytest.raises(InputError, match=rf"Data set '{name}' takes no options; got \['image_size'\]\."):
        datasets.load(name, str(tmp_path), str(tmp_path), {"image_size": 64})


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"image_size": 8}, r"image_size must be at least 16 pixels; got 8\."),
        ({"on_broken": "ignore"}, r"on_broken must be one of refuse, skip; got 'ignore'\."),
        ({"test_fraction": 0}, r"test_fraction must be above 0; got 0\."),
        ({"test_fraction": 0.8}, r"validation_fraction \+ test_fraction must be below 1; got 1\.0\."),
        (
            {"size": 8},
            r"options of data set 'folder' has unknown fields \['size'\]; a FolderOptions has \['image_size'",
        ),
    ],
)
def test_options_out_of_range_are_refused(root, options, complaint):
    with pytest.raises(InputError, match=complaint):
        load(root, **options)
