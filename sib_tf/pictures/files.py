"""Picture files: which ones a folder holds, whether they have changed, and their pixels."""

import contextlib
import hashlib
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from sib_tf.errors import InputError, require

SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"])
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
_BACKGROUND = (255, 255, 255, 255)


def read_picture(path: str | os.PathLike, size: int | None = None) -> np.ndarray:
    """Decodes a JPEG, PNG, WebP, BMP or GIF file (told by its content, not by its name) to RGB.

    EXIF orientation is applied, transparent parts show white, 16-bit grey is scaled to 8 bits, of an animation the
    first frame counts, colour profiles are ignored.

    Args:
        path: the file.
        size: side in pixels of the square wanted: the shorter side is scaled to it (bilinear, antialiased when
            shrinking) and the longer one cropped to its middle. None: the picture as it is.

    Returns:
        uint8 `[height, width, 3]`, RGB; `[size, size, 3]` if `size` is given.

    Raises:
        InputError: the file is missing, broken, in another format, or above Pillow's `Image.MAX_IMAGE_PIXELS`.
    """
    require("size", size, size is None or size >= 1, "at least 1 pixel")
    try:
        with open_picture(path) as image:
            return fit_picture(image, size)
    except Exception as error:  # Pillow's decoders raise whatever the broken bytes lead them to.
        raise InputError(f"{path} cannot be read as a picture ({_reason(error)}); replace or remove it.") from error


@contextlib.contextmanager
def open_picture(file: str | os.PathLike | BinaryIO, formats: Sequence[str] = _FORMATS) -> Iterator[Image.Image]:
    """Opens a picture whose size is in bounds; only the header is decoded yet.

    Of the formats, PNG alone has checksums; Pillow does not compare them by itself. Broken bytes inside the pixels of
    the others are often another picture.

    Raises:
        Exception: what Pillow raises for broken bytes, here and from the block.
    """
    with warnings.catch_warnings():
        # Pillow only warns between the limit and twice the limit.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(file, formats=formats) as header:
            if header.format == "PNG":
                header.verify()
        # What was verified cannot be decoded any more.
        with Image.open(file, formats=formats) as image:
            yield image


def fit_picture(image: Image.Image, size: int | None = None) -> np.ndarray:
    """Turns an open picture into pixels, as `read_picture` does."""
    rgb = _to_rgb(ImageOps.exif_transpose(image))
    if size is not None:
        # fit crops before it scales: the same picture, and a very long one never grows in memory.
        rgb = ImageOps.fit(rgb, (size, size), Image.Resampling.BILINEAR)
    return np.array(rgb)


def is_picture(name: str | os.PathLike) -> bool:
    """Whether a file is called like a picture; hidden files, such as macOS's `._cat.jpg`, are not."""
    path = Path(name)
    return path.suffix.lower() in SUFFIXES and not is_hidden(path.name)


def is_hidden(name: str) -> bool:
    """Whether a file or folder name is one that the system, not the user, put there."""
    return name.startswith(".") or name == "__MACOSX"


def find_pictures(folder: str | os.PathLike) -> list[Path]:
    """Returns the picture files under `folder` at any depth, sorted; hidden files and folders are passed over.

    Links are followed. A folder that is reached twice, as by a link to one above it, is entered once only.

    Raises:
        InputError: a folder cannot be opened, or a name is not valid UTF-8.
    """
    found, entered = [], set()
    for parent, folders, files in os.walk(folder, onerror=_raise_unreadable, followlinks=True):
        real = os.path.realpath(parent)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        found += [Path(parent, name) for name in files if is_picture(name)]
    if unreadable := [path for path in found if not _is_text(str(path))]:
        raise InputError(f"{ascii(str(unreadable[0]))} has a name that is not valid UTF-8; rename it.")
    return sorted(found)


def listing_digest(files: Iterable[tuple[str, Path]], *context: str) -> str:
    """SHA-256 over (name, path) pairs and `context`: it changes when a file is added, removed, renamed or written.

    Contents are not read: each file counts by its name here, its size and its time of modification.
    """
    digest = hashlib.sha256(repr(context).encode())
    for name, path in sorted(files):
        digest.update(f"{name!r} {_size_and_time(path)}\n".encode())
    return digest.hexdigest()


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Pillow's own conversion cuts everything above 255 to white.
        grey = (np.asarray(image).astype(np.uint32) + 128) // 257
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, _BACKGROUND), image).convert("RGB")
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not a whole JPEG, PNG, WebP, BMP or GIF file"
    if isinstance(error, Image.DecompressionBombWarning | Image.DecompressionBombError):
        return f"it has more than the {Image.MAX_IMAGE_PIXELS:,} pixels allowed"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _is_text(name: str) -> bool:
    # Python stands lone surrogates for the bytes of a file name that are not UTF-8; they cannot be stored.
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return -1, -1  # A link to nothing: reading it names it.
    return status.st_size, status.st_mtime_ns


def _raise_unreadable(error: OSError) -> None:
    raise InputError(f"Folder {error.filename} cannot be opened ({error.strerror}); allow reading it or remove it.")
