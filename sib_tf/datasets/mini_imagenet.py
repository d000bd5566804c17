"""mini-ImageNet (Vinyals et al. 2016; split of Ravi and Larochelle, ICLR 2017), from a folder that the user names."""

import csv
import functools
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from absl import logging
from PIL import Image

from sib_tf.datasets import array_pickle
from sib_tf.datasets.builder import PictureListBuilder, PictureListConfig
from sib_tf.datasets.class_splits import SPLIT_NAMES
from sib_tf.errors import InputError
from sib_tf.pictures.files import Picture, listing_digest, pictures_of, subfolders
from sib_tf.pictures.pixels import fit_picture, read_picture

_VALIDATION = (
    "n01855672 n02091244 n02114548 n02138441 n02174001 n02950826 n02971356 n02981792 n03075370 n03417042 n03535780 "
    "n03584254 n03770439 n03773504 n03980874 n09256479"
)
_TEST = (
    "n01930112 n01981276 n02099601 n02110063 n02110341 n02116738 n02129165 n02219486 n02443484 n02871525 n03127925 "
    "n03146219 n03272010 n03544143 n03775546 n04146614 n04149813 n04418357 n04522168 n07613480"
)
# WordNet id -> meta-split; all others are for training.
HELD_OUT = dict.fromkeys(_VALIDATION.split(), "validation") | dict.fromkeys(_TEST.split(), "test")
CLASSES = {"train": 64, "validation": 16, "test": 20}
PICTURES_PER_CLASS = 600
CSV_FILES = {"train.csv": "train", "val.csv": "validation", "test.csv": "test"}
_PARTS = {"train": ("train", "train_phase_train"), "validation": ("val", "val"), "test": ("test", "test")}
PICKLES = {
    name: split
    for split, (cache, phase) in _PARTS.items()
    for name in (f"mini-imagenet-cache-{cache}.pkl", f"miniImageNet_category_split_{phase}.pickle")
}
_WNID = re.compile(r"n\d{8}")


class Builder(PictureListBuilder):
    """100 ImageNet classes of 600 pictures, stored at 84 x 84 pixels, split by class into 64 / 16 / 20.

    The published lists of validation and test classes decide on the split, whichever folder or csv file a class
    comes in; a class in neither list is for training. Pictures of another size are scaled and cropped to 84 x 84.
    """

    name = "mini_imagenet"
    VERSION = "1.0.0"
    IMAGE_SIZE = 84
    CROP_SIZE = 80
    # The released code's constants (RGB, 0-255 scale).
    NORMALIZATION = ((120.396, 115.594, 104.540), (70.682, 68.276, 72.545))
    HOMEPAGE = "https://github.com/twitter-research/meta-learning-lstm"
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "ImageNet's licence forbids handing its pictures on: get them from https://image-net.org and the class lists "
        "from https://github.com/twitter-research/meta-learning-lstm, and name a folder with either images/*.jpg, "
        "train.csv, val.csv and test.csv (columns filename,label), or <wnid>/*.jpg, all in one folder or in some of "
        "train, val and test, or mini-imagenet-cache-{train,val,test}.pkl, or miniImageNet_category_split_*.pickle."
    )
    CITATION = """@inproceedings{ravi2017, title={Optimization as a model for few-shot learning},
    author={Ravi, Sachin and Larochelle, Hugo}, booktitle={International Conference on Learning Representations},
    year={2017}}"""

    def _pictures(self, dl_manager, split):
        opened = functools.lru_cache(maxsize=1)(array_pickle.read)
        for picture in self.builder_config.pictures[split]:
            if picture.path.name in PICKLES:
                pixels = opened(picture.path).pixels[int(picture.id.split("/")[1])]
                yield picture.class_name, picture.id, fit_picture(Image.fromarray(pixels), self.image_size)
            else:
                yield picture.class_name, picture.id, read_picture(picture.path, self.image_size)


def builder_config(data_dir: str | None) -> PictureListConfig:
    """Lists the pictures of `data_dir`; the name has their digest, so that another folder is prepared anew.

    Raises:
        InputError: no folder was named, it has none of the layouts, or its files contradict one another.
    """
    if data_dir is None:
        raise InputError(f"data_dir is required for 'mini_imagenet'. {Builder.MANUAL_DOWNLOAD_INSTRUCTIONS}")
    root = Path(data_dir)
    given = list(_given(root))
    _refuse_repeats(root, [picture for _, picture in given])
    pictures = {split: [picture for _, picture in given if _split_of(picture) == split] for split in CLASSES}
    if missing := [split for split in CLASSES if not pictures[split]]:
        raise InputError(f"data_dir {root} has no pictures of the {missing[0]} classes; add the published classes.")
    if moved := {picture.class_name for split, picture in given if split not in (None, _split_of(picture))}:
        logging.warning("%s puts %s into other splits than the published ones, which count.", root, sorted(moved))
    _warn_of_other_counts(root, pictures)
    digest = listing_digest((picture.id, picture.path) for _, picture in given)
    return PictureListConfig(name=digest[:16], image_size=Builder.IMAGE_SIZE, digest=digest, pictures=pictures)


def _split_of(picture: Picture) -> str:
    return HELD_OUT.get(picture.class_name, "train")


def _given(root: Path) -> Iterator[tuple[str | None, Picture]]:
    """Yields (split as given, or None where the layout gives none, picture)."""
    images, folders = root / "images", subfolders(root)
    splits = {SPLIT_NAMES[folder.name]: folder for folder in folders if folder.name in SPLIT_NAMES}
    if any((root / name).is_file() for name in PICKLES):
        for name in _pickles_in(root, bool(splits) or images.is_dir()):
            yield from ((PICKLES[name], picture) for picture in _from_pickle(root / name))
    elif images.is_dir() and not (any(map(_is_class, subfolders(images))) and not _csv_files(root)):
        yield from _from_csv_files(root)
    elif splits:
        for folder in (folder for folder in folders if folder.name in SPLIT_NAMES):
            # Of three folders each is a split; copies with fewer have every class in each.
            split = SPLIT_NAMES[folder.name] if len(splits) == len(CLASSES) else None
            yield from ((split, picture) for picture in _from_class_folders(folder))
    else:
        yield from ((None, picture) for picture in _from_class_folders(images if images.is_dir() else root))


def _from_csv_files(root: Path) -> Iterator[tuple[str, Picture]]:
    """Yields (split as given, picture)."""
    if missing := sorted(set(CSV_FILES) - set(_csv_files(root))):
        raise InputError(f"data_dir {root} has images but no {', '.join(missing)}; put it beside the folder images.")
    for name, split in CSV_FILES.items():
        yield from ((split, picture) for picture in _read_csv(root, root / name))


def _read_csv(root: Path, path: Path) -> Iterator[Picture]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, strict=True)
            if not {"filename", "label"} <= set(rows.fieldnames or ()):
                raise InputError(f"{path} must have the columns filename,label; its first line is {rows.fieldnames}.")
            for row in rows:
                yield _picture_of_row(root, row, f"{path} line {rows.line_num}")
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path} is not a readable csv file ({error}); fetch it again.") from error


def _picture_of_row(root: Path, row: dict, line: str) -> Picture:
    name, wnid = row["filename"], row["label"]
    if not name or not wnid or None in row:
        raise InputError(f"{line} must have a filename and a label; got {list(row.values())}.")
    if not _WNID.fullmatch(wnid):
        raise InputError(f"{line} has the label {wnid!r}; a WordNet id, such as n01532829, is needed.")
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise InputError(f"{line} names {name}, which is not inside {root / 'images'}; remove the line.")
    picture = root / "images" / name
    if not picture.is_file():
        raise InputError(f"{line} names {name}, which is not in {picture.parent}; add the picture or remove the line.")
    return Picture(wnid, f"{wnid}/{name}", picture)


def _from_class_folders(folder: Path) -> Iterator[Picture]:
    classes = subfolders(folder)
    if not classes:
        raise InputError(f"{folder} has no class folders such as n01532829. {Builder.MANUAL_DOWNLOAD_INSTRUCTIONS}")
    for of_class in classes:
        if not _is_class(of_class):
            raise InputError(f"Class folder {of_class} must be called by a WordNet id, such as n01532829; rename it.")
        yield from pictures_of(of_class)


def _pickles_in(root: Path, folders: bool) -> list[str]:
    """Names of the pickles, one for each split; an InputError if it is not they alone."""
    there = [name for name in PICKLES if (root / name).is_file()]
    for split in CLASSES:
        own = [name for name in there if PICKLES[name] == split]
        if len(own) > 1:
            raise InputError(f"data_dir {root} has the {split} pictures in {own[0]} and in {own[1]}; remove one.")
        if not own:
            names = " or ".join(name for name in PICKLES if PICKLES[name] == split)
            raise InputError(f"data_dir {root} has {there[0]}, but no {names}; put it beside.")
    if folders:
        raise InputError(f"data_dir {root} has both {there[0]} and folders of pictures; remove either.")
    return there


def _from_pickle(path: Path) -> Iterator[Picture]:
    """A picture's id is its class and its row."""
    for wnid, rows in array_pickle.read(path).rows.items():
        if not _WNID.fullmatch(wnid):
            raise InputError(f"{path} has the class {wnid!r}; a WordNet id, such as n01532829, is needed.")
        yield from (Picture(wnid, f"{wnid}/{row:05d}", path) for row in rows)


def _is_class(folder: Path) -> bool:
    return bool(_WNID.fullmatch(folder.name))


def _csv_files(root: Path) -> list[str]:
    return [name for name in CSV_FILES if (root / name).is_file()]


def _refuse_repeats(root: Path, pictures: list[Picture]) -> None:
    files = [picture.path for picture in pictures if picture.path.name not in PICKLES]
    for values in ([picture.id for picture in pictures], files):
        if repeated := [value for value, times in Counter(values).items() if times > 1]:
            raise InputError(f"data_dir {root} has {repeated[0]} more than once; remove all but one.")


def _warn_of_other_counts(root: Path, pictures: dict[str, list[Picture]]) -> None:
    counts = {split: Counter(picture.class_name for picture in pictures[split]) for split in CLASSES}
    classes = {split: len(counts[split]) for split in CLASSES}
    sizes = {size for count in counts.values() for size in count.values()}
    if classes != CLASSES or sizes != {PICTURES_PER_CLASS}:
        logging.warning(
            "%s has %s classes of %d to %d pictures; mini-ImageNet has %s of %d.",
            *(root, classes, min(sizes), max(sizes), CLASSES, PICTURES_PER_CLASS),
        )
