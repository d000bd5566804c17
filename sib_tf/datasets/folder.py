"""The user's own pictures: one folder for each class, with or without `train`, `validation` and `test` above them."""

import dataclasses
import functools
import json
from pathlib import Path

from absl import logging

from sib_tf.datasets import META_SPLITS
from sib_tf.datasets.builder import PictureListBuilder, PictureListConfig
from sib_tf.datasets.class_splits import SPLIT_NAMES, split_classes
from sib_tf.datasets.folder_options import FolderOptions
from sib_tf.errors import InputError
from sib_tf.pictures.class_names import by_class
from sib_tf.pictures.files import list_class, listing_digest, loose_pictures, subfolders
from sib_tf.pictures.pixels import read_picture
from sib_tf.pictures.same_pictures import picture_digest, repeats

_LAYOUT = "<data_dir>/<class>/<pictures> or <data_dir>/train|validation|test/<class>/<pictures>"
_MOST_NAMED = 20


class Builder(PictureListBuilder):
    """Pictures from the user's folder: `<class>/...`, or `train|validation|val|test/<class>/...`.

    Pictures count at any depth below their class's folder. Hidden files and those of systems are passed over; files
    that are no pictures, or none that is read here, are named in a warning. Class names are in Unicode's composed form:
    folders that differ in it alone are one class, and others whose names look alike are refused. Prepared files are
    kept under a digest of names, sizes, times and options: a folder that has changed is prepared anew.

    Without split folders classes are ordered by a seeded hash of their names and cut into test, validation and
    training, at least one class each. Another picture in a class never moves it; another class moves at most those
    at the cuts.
    """

    name = "folder"
    VERSION = "1.1.0"
    OPTIONS = FolderOptions

    @functools.cached_property
    def _seen(self) -> list[tuple[bytes, Path, str]]:
        """Digest, file and class of every picture so far, of all splits."""
        return []

    def _pictures(self, dl_manager, split):
        readable, broken, before = set(), [], set(repeats(*_columns(self._seen)))
        for name, identity, path in self.builder_config.pictures[split]:
            try:
                pixels = read_picture(path, self.image_size)
            except InputError as error:
                if self.builder_config.on_broken == "refuse":
                    raise InputError(f"{error} Or set on_broken to skip, which leaves such pictures out.") from error
                broken.append((name, str(error)))
                continue
            readable.add(name)
            self._seen.append((picture_digest(pixels), path, name))
            yield name, identity, pixels
        for name, reason in broken:
            if name not in readable:
                raise InputError(f"Class {name} has broken pictures only: {reason} Or remove its folder.")
        if broken:
            reasons = " ".join(reason for _, reason in broken)
            logging.warning("Skipped %d broken pictures of the %s split: %s", len(broken), split, reasons)
        _warn_of([sentence for sentence in repeats(*_columns(self._seen)) if sentence not in before])


def builder_config(data_dir: str | None, **options) -> PictureListConfig:
    """Lists the pictures of `data_dir`; `options` are the fields of `FolderOptions`.

    Raises:
        InputError: no folder was named, it is not laid out as needed, or an option is unknown or out of range.
    """
    options = FolderOptions.from_dict(options, "The options of data set 'folder'")
    if data_dir is None:
        raise InputError(f"data_dir is required for data set 'folder': name a folder laid out as {_LAYOUT}.")
    splits = _class_folders(Path(data_dir), options)
    _warn_of_loose_pictures({folder.parent for classes in splits.values() for each in classes for folder in each})
    listings = {split: [list_class(*folders) for folders in classes] for split, classes in splits.items()}
    pictures = {split: [p for of_class in listings[split] for p in of_class.pictures] for split in listings}
    _warn_of([text for split in listings for of_class in listings[split] for text in of_class.skipped])
    files = [(f"{split}/{picture.id}", picture.path) for split in pictures for picture in pictures[split]]
    digest = listing_digest(files, json.dumps(dataclasses.asdict(options), sort_keys=True))
    return PictureListConfig(
        image_size=options.image_size, digest=digest, pictures=pictures, on_broken=options.on_broken
    )


def _class_folders(root: Path, options: FolderOptions) -> dict[str, list[list[Path]]]:
    """By split, the folders of each class."""
    folders = subfolders(root)
    named_as_splits = [folder for folder in folders if folder.name.lower() in SPLIT_NAMES]
    if named_as_splits and (named_as_splits == folders or any(map(subfolders, named_as_splits))):
        return _given_splits(root, folders)
    if not folders and (loose := loose_pictures(root)):
        raise InputError(
            f"data_dir {root} has {len(loose)} pictures but no class folders; move the pictures of each class into a "
            "folder of its own."
        )
    classes = by_class(folders)
    if len(classes) < 3:
        raise InputError(
            f"data_dir {root} has {len(classes)} class folders {list(classes)}; at least 3 are "
            f"needed, one each for training, validation and test: {_LAYOUT}."
        )
    names = split_classes(list(classes), options)
    return {split: [classes[name] for name in names[split]] for split in names}


def _given_splits(root: Path, folders: list[Path]) -> dict[str, list[list[Path]]]:
    splits: dict[str, list[list[Path]]] = {}
    for folder in folders:
        split = SPLIT_NAMES.get(folder.name.lower())
        if split is None or split in splits:
            reason = "is no split" if split is None else f"is a second folder of the {split} split"
            raise InputError(
                f"data_dir {root} has split folders, but {folder.name} beside them {reason}; move it or rename it."
            )
        splits[split] = list(by_class(subfolders(folder)).values())
        if not splits[split]:
            raise InputError(f"{folder} has no class folders; lay the pictures out as {_LAYOUT}.")
    if missing := sorted(set(META_SPLITS) - set(splits)):
        raise InputError(
            f"data_dir {root} has split folders but none for {' and '.join(missing)}; add what is missing."
        )
    return splits


def _warn_of_loose_pictures(folders: set[Path]) -> None:
    if loose := [str(path) for folder in sorted(folders) for path in loose_pictures(folder)]:
        logging.warning("Left out %d pictures that lie in no class folder: %s", len(loose), " ".join(loose[:5]))


def _columns(rows: list[tuple]) -> tuple:
    return tuple(zip(*rows, strict=True)) or ((), (), ())


def _warn_of(sentences: list[str]) -> None:
    if sentences:
        more = f" And {len(sentences) - _MOST_NAMED} more." if len(sentences) > _MOST_NAMED else ""
        logging.warning("%s%s", " ".join(sentences[:_MOST_NAMED]), more)
