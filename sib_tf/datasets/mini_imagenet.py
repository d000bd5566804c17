"""mini-ImageNet (Vinyals et al. 2016; split of Ravi and Larochelle, ICLR 2017), from a folder that the user names."""

import collections
import csv
import re
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from sib_tf.datasets.builder import FewShotBuilder, png_bytes
from sib_tf.datasets.folder import SPLIT_FOLDERS, Picture, PictureListConfig
from sib_tf.errors import InputError
from sib_tf.pictures.files import find_pictures, is_hidden, listing_digest, read_picture

_VALIDATION = (
    "n01855672 n02091244 n02114548 n02138441 n02174001 n02950826 n02971356 n02981792 n03075370 n03417042 n03535780 "
    "n03584254 n03770439 n03773504 n03980874 n09256479"
)
_TEST = (
    "n01930112 n01981276 n02099601 n02110063 n02110341 n02116738 n02129165 n02219486 n02443484 n02871525 n03127925 "
    "n03146219 n03272010 n03544143 n03775546 n04146614 n04149813 n04418357 n04522168 n07613480"
)
VALIDATION_CLASSES = frozenset(_VALIDATION.split())
TEST_CLASSES = frozenset(_TEST.split())
CLASSES = {"train": 64, "validation": 16, "test": 20}
PICTURES_PER_CLASS = 600
CSV_FILES = {"train.csv": "train", "val.csv": "validation", "test.csv": "test"}
_WNID = re.compile(r"n\d{8}")


class Builder(FewShotBuilder):
    """100 ImageNet classes of 600 pictures, stored at 84 x 84 pixels, split by class into 64 / 16 / 20.

    The published lists of validation and test classes decide on the split, whichever folder or csv file a class
    comes in; a class in neither list is for training. Pictures of another size are scaled and cropped to 84 x 84.
    """

    name = "mini_imagenet"
    VERSION = "1.0.0"
    IMAGE_SIZE = 84
    CROP_SIZE = 80  # Side in pixels that backbones take.
    # The released code's constants (RGB, 0-255 scale).
    NORMALIZATION = ((120.396, 115.594, 104.540), (70.682, 68.276, 72.545))
    HOMEPAGE = "https://github.com/twitter-research/meta-learning-lstm"
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "ImageNet's licence forbids handing its pictures on: get them from https://image-net.org and the class lists "
        "from https://github.com/twitter-research/meta-learning-lstm, and name a folder with either images/*.jpg, "
        "train.csv, val.csv and test.csv (columns filename,label) or train|val|test/<wnid>/*.jpg."
    )
    CITATION = """@inproceedings{ravi2017, title={Optimization as a model for few-shot learning},
    author={Ravi, Sachin and Larochelle, Hugo}, booktitle={International Conference on Learning Representations},
    year={2017}}"""

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(pictures) for split, pictures in self.builder_config.pictures.items()}

    def _generate_examples(self, pictures: list[Picture]) -> Iterator[tuple[str, dict]]:
        for picture in pictures:
            image = png_bytes(read_picture(picture.path, self.IMAGE_SIZE))
            yield picture.id, {"image": image, "class_name": picture.class_name, "id": picture.id}


def builder_config(data_dir: str | None, **options) -> PictureListConfig:
    """Lists the pictures of `data_dir`; the name has their digest, so that another folder is prepared anew.

    Raises:
        InputError: no folder was named, it has neither layout, or its files contradict one another.
    """
    if options:
        raise InputError(f"Data set 'mini_imagenet' takes no options; got {sorted(options)}.")
    if data_dir is None:
        raise InputError(f"data_dir is required for 'mini_imagenet'. {Builder.MANUAL_DOWNLOAD_INSTRUCTIONS}")
    root = Path(data_dir)
    given = _from_csv_files(root) if (root / "images").is_dir() else _from_split_folders(root)
    pictures: dict[str, list[Picture]] = {split: [] for split in CLASSES}
    for of_split in given.values():
        for picture in of_split:
            pictures[meta_split_of(picture.class_name)].append(picture)
    _check(root, given, pictures)
    digest = listing_digest((p.id, p.path) for of_split in pictures.values() for p in of_split)
    return PictureListConfig(name=digest[:16], description=f"Pictures of {data_dir}", pictures=pictures)


def meta_split_of(wnid: str) -> str:
    """Returns the meta-split of a class, given its WordNet id."""
    if wnid in VALIDATION_CLASSES:
        return "validation"
    return "test" if wnid in TEST_CLASSES else "train"


def _from_csv_files(root: Path) -> dict[str, list[Picture]]:
    if missing := sorted(name for name in CSV_FILES if not (root / name).is_file()):
        raise InputError(f"data_dir {root} has images but no {', '.join(missing)}; put it beside the folder images.")
    return {split: list(_read_csv(root, root / name)) for name, split in CSV_FILES.items()}


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


def _from_split_folders(root: Path) -> dict[str, list[Picture]]:
    folders = [root / name for name in SPLIT_FOLDERS if (root / name).is_dir()]
    given: dict[str, list[Picture]] = {}
    for folder in folders:
        given.setdefault(SPLIT_FOLDERS[folder.name], []).extend(_read_split_folder(folder))
    if missing := sorted(set(CLASSES) - set(given)):
        raise InputError(
            f"data_dir {root} has no folder for {', '.join(missing)}. {Builder.MANUAL_DOWNLOAD_INSTRUCTIONS}"
        )
    return given


def _read_split_folder(folder: Path) -> list[Picture]:
    pictures = []
    for class_folder in sorted(folder.iterdir()):
        wnid = class_folder.name
        if is_hidden(wnid) or not class_folder.is_dir():
            continue
        if not _WNID.fullmatch(wnid):
            raise InputError(
                f"Class folder {class_folder} must be called by a WordNet id, such as n01532829; rename it."
            )
        paths = find_pictures(class_folder)
        if not paths:
            raise InputError(f"Class folder {class_folder} has no pictures; add them or remove the folder.")
        pictures += [Picture(wnid, f"{wnid}/{path.relative_to(class_folder).as_posix()}", path) for path in paths]
    return pictures


def _check(root: Path, given: dict[str, list[Picture]], pictures: dict[str, list[Picture]]) -> None:
    for split, of_split in pictures.items():
        if not of_split:
            raise InputError(f"data_dir {root} has no pictures of the {split} classes; add the published classes.")
    for field in ("id", "path"):
        seen = collections.Counter(getattr(picture, field) for of_split in pictures.values() for picture in of_split)
        if repeated := [value for value, times in seen.items() if times > 1]:
            raise InputError(f"data_dir {root} has {repeated[0]} more than once; remove all but one.")
    _warn(root, given, pictures)


def _warn(root: Path, given: dict[str, list[Picture]], pictures: dict[str, list[Picture]]) -> None:
    moved = {p.class_name for split in given for p in given[split] if meta_split_of(p.class_name) != split}
    if moved:
        logging.warning("%s puts %s into other splits than the published ones, which count.", root, sorted(moved))
    counts = {split: collections.Counter(p.class_name for p in pictures[split]) for split in CLASSES}
    classes = {split: len(counts[split]) for split in CLASSES}
    sizes = {size for count in counts.values() for size in count.values()}
    if classes != CLASSES or sizes != {PICTURES_PER_CLASS}:
        logging.warning(
            "%s has %s classes of %d to %d pictures; mini-ImageNet has %s of %d.",
            *(root, classes, min(sizes), max(sizes), CLASSES, PICTURES_PER_CLASS),
        )
