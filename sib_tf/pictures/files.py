"""Which picture files a folder holds, by class, and whether they have changed; none is decoded here."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from sib_tf.errors import InputError
from sib_tf.pictures.class_names import composed
from sib_tf.pictures.formats import RAW_SUFFIXES, START, SUFFIXES, UNREAD_SUFFIXES, format_of

# What systems, archivers and network storage put beside pictures, in lower case. Hidden names are passed over anyway.
_SYSTEM_NAMES = frozenset(
    [
        "$recycle.bin", "$winreagent", "@__thumb", "@eadir", "@recently-snapshot", "@recycle", "@tmp", "#recycle",
        "#snapshot", "__macosx", "config.msi", "desktop.ini", "ehthumbs.db", "ehthumbs_vista.db", "icon\r", "lost.dir",
        "lost+found", "network trash folder", "picasa.ini", "system volume information",
        "temporary items", "thumbs.db", "thumbs.db:encryptable", "zbthumbnail.info",
    ]
)  # fmt: skip
_CHECKED_DISK = re.compile(r"found\.\d{3}")


class Picture(NamedTuple):
    """One picture file of a class; `id` is `<class>/<path below the class folder>`, in composed Unicode."""

    class_name: str
    id: str
    path: Path


class Listing(NamedTuple):
    """What a folder holds.

    Attributes:
        pictures: sorted paths, or `Picture` records.
        skipped: what was left out and is not the system's own, in sentences that name the files and the reason.
    """

    pictures: list
    skipped: list[str]


def list_pictures(folder: str | os.PathLike) -> Listing:
    """Lists the picture files under `folder` at any depth; hidden and system files and folders are passed over.

    A file is a picture by its suffix, or by its content if it has another one. Links are followed. A folder that is
    reached twice, as by a link to one above it, is entered once only.

    Raises:
        InputError: a folder cannot be opened, or a name is not valid UTF-8.
    """
    found, skipped, others, entered = [], [], [], set()
    for parent, folders, files in os.walk(folder, onerror=_raise_unreadable, followlinks=True):
        real = os.path.realpath(parent)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not is_system(name))
        for path in (Path(parent, name) for name in sorted(files) if not is_system(name)):
            if path.exists() and not path.is_file():
                # Opening a pipe waits for ever, and some devices never end.
                skipped.append(f"{path} is left out: it is a pipe, a socket or a device, and no file.")
            elif is_picture(path):
                found.append(path)
            elif path.suffix.lower() in UNREAD_SUFFIXES:
                skipped.append(_unread(path))
            else:
                others.append(path)
    if unreadable := [path for path in found if not _is_text(str(path))]:
        raise InputError(f"{ascii(str(unreadable[0]))} has a name that is not valid UTF-8; rename it.")
    return Listing(sorted(found), skipped + _no_pictures(folder, others))


def find_pictures(folder: str | os.PathLike) -> list[Path]:
    """Returns the pictures of `list_pictures` alone."""
    return list_pictures(folder).pictures


def is_picture(path: str | os.PathLike) -> bool:
    """Whether a file is called like a picture that is read here, or has the content of one.

    Raw files of cameras are none: they are TIFF inside, but what a reader of TIFF finds is their thumbnail.
    """
    path = Path(path)
    if path.suffix.lower() in SUFFIXES:
        return True
    content = format_of(_start(path))
    return content is not None and not (content == "TIFF" and path.suffix.lower() in RAW_SUFFIXES)


def list_class(*folders: Path) -> Listing:
    """Lists the pictures of one class as `Picture` records, sorted by path; it is called like its first folder.

    Several folders are one class where their names are the same text but for its Unicode form.

    Raises:
        InputError: the class has none, or a folder cannot be read.
    """
    name, found, skipped = composed(folders[0].name), [], []
    for folder in folders:
        listing = list_pictures(folder)
        found += [(folder, path.relative_to(folder).as_posix(), path) for path in listing.pictures]
        skipped += listing.skipped
    if not found:
        reason = f" that are read here: {skipped[0]} Add" if skipped else "; add"
        raise InputError(f"Class folder {folders[0]} has no pictures{reason} some or remove the folder.")
    times = Counter(composed(below) for _, below, _ in found)
    # The same name in both forms, of two files: as they are.
    identities = [
        f"{name}/{composed(below)}" if times[composed(below)] == 1 else f"{folder.name}/{below}"
        for folder, below, _ in found
    ]
    return Listing([Picture(name, id_, path) for id_, (_, _, path) in zip(identities, found, strict=True)], skipped)


def pictures_of(folder: Path) -> list[Picture]:
    """Returns the pictures of `list_class` alone."""
    return list_class(folder).pictures


def subfolders(folder: str | os.PathLike) -> list[Path]:
    """Returns the folders in `folder`, sorted, but for hidden ones and those that systems put there.

    Raises:
        InputError: it cannot be opened.
    """
    return [entry for entry in _entries(folder) if entry.is_dir() and not is_system(entry.name)]


def loose_pictures(folder: str | os.PathLike) -> list[Path]:
    """Returns the picture files in `folder` itself, sorted: where sub-folders are the classes, they are of none."""
    files = (entry for entry in _entries(folder) if entry.is_file() and not is_system(entry.name))
    return [path for path in files if is_picture(path)]


def is_system(name: str) -> bool:
    """Whether the system, not the user, put a file or folder of that name there: hidden ones are such."""
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES or bool(_CHECKED_DISK.fullmatch(name.lower()))


def listing_digest(files: Iterable[tuple[str, Path]], *context: str) -> str:
    """SHA-256 over (name, path) pairs and `context`: it changes when a file is added, removed, renamed or written.

    Contents are not read: each file counts by its name here, its size and its time of modification.
    """
    digest = hashlib.sha256(repr(context).encode())
    for name, path in sorted(files):
        digest.update(f"{name!r} {_size_and_time(path)}\n".encode())
    return digest.hexdigest()


def _unread(path: Path) -> str:
    kind = "raw files of cameras" if path.suffix.lower() in RAW_SUFFIXES else f"{path.suffix.lower()} files"
    return f"{path} is left out: {kind} are not read; save it as JPEG or PNG."


def _no_pictures(folder: str | os.PathLike, others: list[Path]) -> list[str]:
    """One sentence for all of them: programs write a file beside every picture."""
    if not others:
        return []
    kinds = Counter(path.suffix.lower() or "without a suffix" for path in others)
    counts = ", ".join(f"{times} {kind}" for kind, times in sorted(kinds.items()))
    return [f"{folder} has {len(others)} files that are no pictures ({counts}), such as {ascii(others[0].name)}."]


def _start(path: Path) -> bytes:
    try:
        if path.is_file():
            with path.open("rb") as file:
                return file.read(START)
    except OSError:
        pass  # Who opens it says why.
    return b""


def _entries(folder: str | os.PathLike) -> list[Path]:
    try:
        return sorted(Path(folder).iterdir())
    except OSError as error:
        _raise_unreadable(error)


def _raise_unreadable(error: OSError) -> None:
    raise InputError(f"Folder {error.filename} cannot be opened ({error.strerror}); allow reading it, or name another.")


def _is_text(name: str) -> bool:
    # Python stands lone surrogates for the bytes of a file name that are not UTF-8; they cannot be stored.
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return -1, -1  # A link to nothing: reading it names it.
    return status.st_size, status.st_mtime_ns
