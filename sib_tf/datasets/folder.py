"""The user's own pictures: one folder for each class, with or without `train`, `validation` and `test` above them."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import tensorflow_datasets as tfds
from absl import logging

from sib_tf.config import Record
from sib_tf.datasets.builder import FewShotBuilder, png_bytes
from sib_tf.errors import InputError, require, require_choice
from sib_tf.pictures.files import find_pictures, is_hidden, is_picture, listing_digest, read_picture

SPLIT_FOLDERS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
ON_BROKEN = ("refuse", "skip")
_LAYOUT = "<data_dir>/<class>/<pictures> or <data_dir>/train|validation|test/<class>/<pictures>"


@dataclasses.dataclass(frozen=True)
class FolderOptions(Record):
    """How a folder of pictures becomes a data set.

    Attributes:
        image_size: side in pixels of the stored pictures, at least 16; see `pictures.read_picture` for the resizing.
        on_broken: "refuse": a picture that cannot be read is an error that names it; "skip": such pictures are left
            out, and named in one warning when the folder is prepared.
        split_seed: seed of the split by class, for folders without split folders.
        validation_fraction, test_fraction: of the classes, each above 0, together below 1; for such folders too.
    """

    image_size: int = 32
    on_broken: str = "refuse"
    split_seed: int = 0
    validation_fraction: float = 0.2
    test_fraction: float = 0.2

    def __post_init__(self):
        require("image_size", self.image_size, self.image_size >= 16, "at least 16 pixels")
        require_choice("on_broken", self.on_broken, ON_BROKEN)
        for name in ("validation_fraction", "test_fraction"):
            require(name, getattr(self, name), getattr(self, name) > 0, "above 0")
        total = self.validation_fraction + self.test_fraction
        require("validation_fraction + test_fraction", total, total < 1, "below 1")


class Picture(NamedTuple):
    """One picture file; `id` is `<class>/<path below the class folder>`."""

    class_name: str
    id: str
    path: Path


@dataclasses.dataclass(eq=False)
class PictureListConfig(tfds.core.BuilderConfig):
    """Picture files by meta-split, listed once so that the name, which has their digest, and the content agree."""

    options: FolderOptions | None = None
    pictures: dict[str, list[Picture]] = dataclasses.field(default_factory=dict, repr=False)


class Builder(FewShotBuilder):
    """Pictures from the user's folder: `<class>/...`, or `train|validation|val|test/<class>/...`.

    Pictures count at any depth below their class's folder. Hidden files and files that are not called like pictures
    are passed over. Prepared files are kept under a digest of names, sizes, times and options: a folder that has
    changed is prepared anew.

    Without split folders classes are ordered by a seeded hash of their names and cut into test, validation and
    training, at least one class each. Another picture in a class never moves it; another class moves at most those
    at the cuts.
    """

    name = "folder"
    VERSION = "1.0.0"

    @property
    def image_size(self) -> int:
        """Side of the stored pictures in pixels."""
        return self.builder_config.options.image_size

    def download_and_prepare(self, **kwargs) -> None:
        """Prepares the pictures, and names those that were skipped."""
        self._broken: list[str] = []
        super().download_and_prepare(**kwargs)
        if self._broken:
            logging.warning("Skipped %d broken pictures: %s", len(self._broken), " ".join(self._broken))

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(pictures) for split, pictures in self.builder_config.pictures.items()}

    def _generate_examples(self, pictures: list[Picture]) -> Iterator[tuple[str, dict]]:
        readable, broken = set(), {}
        for picture in pictures:
            try:
                pixels = read_picture(picture.path, self.image_size)
            except InputError as error:
                if self.builder_config.options.on_broken == "refuse":
                    raise InputError(f"{error} Or set on_broken to skip, which leaves such pictures out.") from error
                self._broken.append(str(error))
                broken.setdefault(picture.class_name, str(error))
                continue
            readable.add(picture.class_name)
            yield picture.id, {"image": png_bytes(pixels), "class_name": picture.class_name, "id": picture.id}
        if empty := sorted(set(broken) - readable):
            raise InputError(f"Class {empty[0]} has broken pictures only: {broken[empty[0]]} Or remove its folder.")


def builder_config(data_dir: str | None, **options) -> PictureListConfig:
    """Lists the pictures of `data_dir`; `options` are the fields of `FolderOptions`.

    Raises:
        InputError: no folder was named, it is not laid out as needed, or an option is unknown or out of range.
    """
    options = FolderOptions.from_dict(options, "The options of data set 'folder'")
    if data_dir is None:
        raise InputError(f"data_dir is required for data set 'folder': name a folder laid out as {_LAYOUT}.")
    splits = _class_folders(Path(data_dir), options)
    _warn_of_loose_pictures(folder for folders in splits.values() for folder in folders)
    pictures = {split: [p for folder in folders for p in _pictures_of(folder)] for split, folders in splits.items()}
    files = [(f"{split}/{picture.id}", picture.path) for split in pictures for picture in pictures[split]]
    digest = listing_digest(files, json.dumps(dataclasses.asdict(options), sort_keys=True))
    name = f"{options.image_size}px-{digest[:16]}"
    return PictureListConfig(name=name, description=f"Pictures of {data_dir}", options=options, pictures=pictures)


def split_classes(names: list[str], options: FolderOptions) -> dict[str, list[str]]:
    """Cuts class names, ordered by the hash of seed and name, into meta-splits of at least one class each."""
    order = sorted(names, key=lambda name: _hash(options.split_seed, name))
    test = min(max(1, round(len(order) * options.test_fraction)), len(order) - 2)
    validation = min(max(1, round(len(order) * options.validation_fraction)), len(order) - 1 - test)
    cut = test + validation
    return {"train": order[cut:], "validation": order[test:cut], "test": order[:test]}


def _hash(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}/{name}".encode(errors="surrogateescape")).digest()


def _class_folders(root: Path, options: FolderOptions) -> dict[str, list[Path]]:
    folders = _subfolders(root)
    named_as_splits = [folder for folder in folders if folder.name.lower() in SPLIT_FOLDERS]
    if named_as_splits and (named_as_splits == folders or any(map(_subfolders, named_as_splits))):
        return _given_splits(root, folders)
    if not folders and (loose := [entry for entry in _entries(root) if _is_loose_picture(entry)]):
        raise InputError(
            f"data_dir {root} has {len(loose)} pictures but no class folders; move the pictures of each class into a "
            "folder of its own."
        )
    if len(folders) < 3:
        raise InputError(
            f"data_dir {root} has {len(folders)} class folders {[folder.name for folder in folders]}; at least 3 are "
            f"needed, one each for training, validation and test: {_LAYOUT}."
        )
    by_name = {folder.name: folder for folder in folders}
    return {split: [by_name[n] for n in names] for split, names in split_classes(list(by_name), options).items()}


def _given_splits(root: Path, folders: list[Path]) -> dict[str, list[Path]]:
    splits: dict[str, list[Path]] = {}
    for folder in folders:
        split = SPLIT_FOLDERS.get(folder.name.lower())
        if split is None or split in splits:
            reason = "is no split" if split is None else f"is a second folder of the {split} split"
            raise InputError(
                f"data_dir {root} has split folders, but {folder.name} beside them {reason}; move it or rename it."
            )
        splits[split] = _subfolders(folder)
        if not splits[split]:
            raise InputError(f"{folder} has no class folders; lay the pictures out as {_LAYOUT}.")
    if missing := sorted({"train", "validation", "test"} - set(splits)):
        raise InputError(
            f"data_dir {root} has split folders but none for {' and '.join(missing)}; add what is missing."
        )
    return splits


def _pictures_of(folder: Path) -> list[Picture]:
    paths = find_pictures(folder)
    if not paths:
        raise InputError(f"Class folder {folder} has no pictures; add some or remove the folder.")
    return [Picture(folder.name, f"{folder.name}/{path.relative_to(folder).as_posix()}", path) for path in paths]


def _warn_of_loose_pictures(class_folders: Iterable[Path]) -> None:
    parents = {folder.parent for folder in class_folders}
    if loose := [str(entry) for parent in sorted(parents) for entry in _entries(parent) if _is_loose_picture(entry)]:
        logging.warning("Left out %d pictures that lie in no class folder: %s", len(loose), " ".join(loose[:5]))


def _is_loose_picture(entry: Path) -> bool:
    return is_picture(entry) and entry.is_file()


def _subfolders(folder: Path) -> list[Path]:
    return [entry for entry in _entries(folder) if entry.is_dir() and not is_hidden(entry.name)]


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"Folder {folder} cannot be opened ({error.strerror}); name one that can be read.") from error
