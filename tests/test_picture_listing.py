"""What folders of people's pictures hold: system folders, look-alike names, what is left out, and repeats."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sib_tf import datasets
from sib_tf.datasets import folder
from sib_tf.datasets.class_splits import SplitOptions, split_classes
from sib_tf.errors import InputError
from sib_tf.pictures import picture_folders
from sib_tf.pictures.files import find_pictures, is_system, list_class, list_pictures

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def draw(path: Path, color=(1, 2, 3), form: str = "PNG") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), color).save(path, form)
    return path


SYSTEM = """
@eaDir lost+found $RECYCLE.BIN $Recycle.Bin #recycle #snapshot @Recycle @__thumb __MACOSX .Trashes FOUND.000 LOST.DIR
desktop.ini Thumbs.db THUMBS.DB ehthumbs.db .DS_Store
"""


@pytest.mark.parametrize("name", [*SYSTEM.split(), "System Volume Information", "Icon\r"])
def test_what_systems_put_there_is_passed_over_at_every_level(tmp_path, name):
    kept = [draw(tmp_path / "a" / "1.png"), draw(tmp_path / "b" / "deep" / "2.png")]
    for parent in (tmp_path, tmp_path / "a", tmp_path / "b" / "deep"):
        draw(parent / name / "a" / "thumbnail.jpg")
    assert list_pictures(tmp_path) == (kept, [])
    support = picture_folders.list_support(tmp_path)
    assert (support.labels, support.skipped) == (["a", "b"], [])


@pytest.mark.parametrize("name", ["train", "@home", "recycled", "lost", "found", "$100", "thumbs"])
def test_what_people_call_their_folders_is_not_the_systems(name):
    assert not is_system(name)


def test_pictures_are_told_by_suffix_or_content(tmp_path):
    names = ("a.jfif", "b.jpe", "c.JPG", "d.HEIC", "e.avif", "f.tif", "g.hif")
    wanted = [draw(tmp_path / name, form="JPEG") for name in names]
    wanted += [draw(tmp_path / name) for name in ("h", "i.download", "j.jpg_large", "k.svg")]
    (tmp_path / "notes.png.txt").write_text("BM is how this text begins, and it is longer than a header would be.")
    assert find_pictures(tmp_path) == wanted


def test_what_is_left_out_is_named(tmp_path):
    draw(tmp_path / "1.png")
    for name in ("x.CR2", "y.jxl", "1.json", "2.json", "movie.MOV", "gone"):
        (tmp_path / name).write_bytes(b"II*\0 and so on")
    (tmp_path / "y.jxl").write_bytes(b"\xff\x0a and so on")
    (tmp_path / "gone").unlink()
    (tmp_path / "gone").symlink_to("nowhere")
    for name in ("1.json", "2.json", "movie.MOV"):
        (tmp_path / name).write_bytes(b"")
    assert list_pictures(tmp_path).skipped == [
        f"{tmp_path / 'x.CR2'} is left out: raw files of cameras are not read; save it as JPEG or PNG.",
        f"{tmp_path / 'y.jxl'} is left out: .jxl files are not read; save it as JPEG or PNG.",
        f"{tmp_path} has 4 files that are no pictures (2 .json, 1 .mov, 1 without a suffix), such as '1.json'.",
    ]


def test_a_name_in_both_forms_is_one_class_with_ids_that_differ(tmp_path):
    for number, name in enumerate((COMPOSED, DECOMPOSED)):
        draw(tmp_path / name / "1.png", (9, 9, number))
        draw(tmp_path / name / f"{number}{DECOMPOSED}.png", (99, 9, number))
    found = list_class(tmp_path / DECOMPOSED, tmp_path / COMPOSED).pictures
    assert {picture.class_name for picture in found} == {COMPOSED}
    below = {f"{COMPOSED}/0{COMPOSED}.png", f"{COMPOSED}/1{COMPOSED}.png"}
    assert {picture.id for picture in found} == below | {f"{COMPOSED}/1.png", f"{DECOMPOSED}/1.png"}
    draw(tmp_path / "tea" / "1.png")
    support = picture_folders.read_support(tmp_path, 8)
    assert support.labels == [COMPOSED] * 4 + ["tea"]
    draw(tmp_path / "gin" / "1.png")
    listed = folder.builder_config(str(tmp_path)).pictures.values()
    assert sorted(len(pictures) for pictures in listed) == [1, 1, 4]


@pytest.mark.parametrize("other", ["Cafe", "cafe ", " cafe", "CAFE", "cafe\u200b", "cafe\u00a0"])
def test_names_that_look_alike_are_refused_by_name(tmp_path, other):
    for name in ("cafe", other, "tea", "gin"):
        draw(tmp_path / name / "1.png")
    for read in (lambda: picture_folders.list_support(tmp_path), lambda: folder.builder_config(str(tmp_path))):
        with pytest.raises(InputError, match=r"Class folders must have names that differ to the eye; .*cafe") as caught:
            read()
        assert ascii(str(tmp_path / other)) in str(caught.value)


def test_both_forms_of_a_name_are_of_the_same_meta_split():
    names = [f"{accented}{number}" for accented in "éüñç" for number in range(10)]
    splits = split_classes([unicodedata.normalize("NFD", name) for name in names], SplitOptions())
    composed = {split: [unicodedata.normalize("NFC", name) for name in of] for split, of in splits.items()}
    assert composed == split_classes(names, SplitOptions())


def test_a_data_set_names_what_it_leaves_out(tmp_path, caplog):
    for name in "abc":
        draw(tmp_path / name / "1.png")
    (tmp_path / "b" / "notes.txt").write_text("text")
    folder.builder_config(str(tmp_path))
    assert caplog.messages == [f"{tmp_path / 'b'} has 1 files that are no pictures (1 .txt), such as 'notes.txt'."]
    (tmp_path / "a" / "1.png").rename(tmp_path / "a" / "1.nef")
    (tmp_path / "a" / "1.nef").write_bytes(b"II*\0")
    with pytest.raises(InputError, match=r"Class folder .*/a has no pictures that are read here: .*1\.nef is left out"):
        folder.builder_config(str(tmp_path))


def test_a_data_set_names_pictures_of_two_classes_in_any_splits(tmp_path, caplog):
    for number, name in enumerate(("train/a/1", "train/a/2", "train/b/1", "val/c/1", "test/d/1", "test/d/2")):
        draw(tmp_path / "data" / f"{name}.png", (0 if name in ("train/a/2", "test/d/2") else number + 1, 0, 0))
    datasets.load("folder", str(tmp_path / "data"), str(tmp_path / "cache"))
    first, second = (tmp_path / "data" / name for name in ("train/a/2.png", "test/d/2.png"))
    assert caplog.messages == [f"{first} and {second} are the same picture, labelled as a and d; keep one."]


def test_the_skipped_of_support_and_query_name_broken_and_unread_ones(tmp_path):
    for name in ("s/a/1.png", "s/b/1.png", "q/1.png"):
        draw(tmp_path / name, (len(name), 0, name.count("a")))
    for name in ("s/a/2.heic", "q/2.cr3", "q/3.jpg"):
        (tmp_path / name).write_bytes(b"nothing")
    support = picture_folders.read_support(tmp_path / "s", 8)
    assert (support.labels, [text.split()[0] for text in support.skipped]) == (
        ["a", "b"],
        [str(tmp_path / "s/a/2.heic")],
    )
    query = picture_folders.read_query(tmp_path / "q", 8)
    assert [text.split()[0] for text in query.skipped] == [str(tmp_path / "q/2.cr3"), str(tmp_path / "q/3.jpg")]
    (tmp_path / "s/b/1.png").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"Class folder .*/s/b of support must have .* only broken ones: .*s/b/1\.png"):
        picture_folders.read_support(tmp_path / "s", 8)


def test_the_same_picture_of_two_classes_or_labelled_and_unlabelled_is_said(tmp_path):
    colors = {"s/a/1.png": 10, "s/a/2.png": 20, "s/b/1.png": 30, "s/b/2.bmp": 20, "q/1.png": 40, "q/x.png": 30}
    for name, color in colors.items():
        draw(tmp_path / name, (color, 0, 0), "BMP" if name.endswith("bmp") else "PNG")
    support = picture_folders.read_support(tmp_path / "s", 8)
    assert support.notes == [
        f"{tmp_path / 's/a/2.png'} and {tmp_path / 's/b/2.bmp'} are the same picture, labelled as a and b; keep one."
    ]
    query = picture_folders.read_query(tmp_path / "q", 8)
    (said,) = picture_folders.repeated(support, query)
    assert said.startswith("1 labelled pictures are among the unlabelled ones too, such as ")
    assert f"{tmp_path / 's/b/1.png'} ({tmp_path / 'q/x.png'})" in said
    others = np.arange(3, dtype=np.uint8)[:, None].tobytes()
    assert picture_folders.repeats([bytes([each]) for each in others], [Path("x")] * 3, ["a", "b", None]) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders here")
def test_pipes_and_devices_are_left_out_and_never_opened(tmp_path):
    """Reading them never ends."""
    wanted = [draw(tmp_path / "a.png"), tmp_path / "gone.png"]
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zeros.jpg").symlink_to("/dev/zero")
    wanted[1].symlink_to("nowhere")  # Reading it says why.
    pictures, skipped = list_pictures(tmp_path)
    assert pictures == wanted
    assert [text.split(" is left out: it is a pipe")[0] for text in skipped] == [
        str(tmp_path / name) for name in ("pipe.png", "zeros.jpg")
    ]
