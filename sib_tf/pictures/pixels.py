"""Picture files to pixels: what a file shows, whatever its format, as RGB of the size that is wanted."""

import contextlib
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from sib_tf.errors import InputError, require

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


def fit_stored(images: np.ndarray, size: int, larger: str = "crop") -> np.ndarray:
    """Fits pictures of a data set, all of one size, to the square that a backbone takes.

    Args:
        images: `[pictures, height, width, 3]` uint8.
        size: side in pixels of the square. Smaller pictures are enlarged, as `read_picture` does.
        larger: larger ones are cropped to their middle ("crop") or scaled ("reduce"), as `BackboneConfig` says.

    Returns:
        `[pictures, size, size, 3]` uint8.
    """
    if larger == "crop":
        images = centre_crop(images, size)
    if images.shape[1:3] == (size, size) or not len(images):
        return images[:, :size, :size]
    return np.stack([fit_picture(Image.fromarray(image), size) for image in images])


def centre_crop(images: np.ndarray, size: int) -> np.ndarray:
    """Cuts the middle `size` x `size` pixels out of `[pictures, height, width, 3]`; nothing to do where it fits."""
    top, left = (max(side - size, 0) // 2 for side in images.shape[1:3])
    return images[:, top : top + size, left : left + size]


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
