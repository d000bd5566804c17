"""Opening pictures: the decoder that the content asks for, whatever the name, and the bounds on memory."""

import contextlib
import importlib
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from PIL import BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from sib_tf.errors import InputError
from sib_tf.pictures.formats import RAW_SUFFIXES, READ, START, format_of
from sib_tf.pictures.png_chunks import split_png

# Pillow's, of broken metadata: they keep no picture from being read.
warnings.filterwarnings(
    "ignore",
    "Corrupt EXIF data|Possibly corrupt EXIF data|Metadata Warning|Tag data larger than file|Truncated File Read",
    UserWarning,
    r"PIL\.TiffImagePlugin",
)

# JPEG decoders scale by 1/2, 1/4 and 1/8 at next to no cost. Twice the side that is wanted is left to the filter behind
# them: in photographs of 12 megapixels no pixel is then more than three grey levels off, and the mean is 0.3 (at once
# the side: 11 and 0.7; at four times: 2 and 0.2, for a quarter of the time more).
_MARGIN = 2
# Key of `info`: width and height of what a reduced picture shows, in its pixels; the last of them may be shown in part.
EXTENT = "extent"
# Of a JPEG that is decoded at reduced size; its sides have 16 bits.
_MOST_SCALED_PIXELS = 1_000_000_000
# Pillow's classes themselves, not Image.open: that warns of large pictures, and reads all of the metadata.
_DECODERS = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
}
_OPTIONAL = {
    "AVIF": ("PIL.AvifImagePlugin", "AvifImageFile", "Pillow of 11.3 or later has it"),
    "HEIF": ("pillow_heif.as_plugin", "HeifImageFile", "pip install pillow-heif brings it"),
}
# The tag of a digital negative, whatever the file is called.
_DNG_VERSION = 50706


class UnreadablePicture(InputError):
    """Why a picture is not read; the message has no name of a file."""


@contextlib.contextmanager
def open_picture(
    file: str | os.PathLike | BinaryIO, formats: Sequence[str] = READ, size: int | None = None
) -> Iterator[Image.Image]:
    """Opens a picture whose size is in bounds; only the header is decoded yet.

    Of the formats, PNG alone has checksums, which are compared. Broken bytes inside the pixels of the others are often
    another picture. Metadata, broken or large, keep no picture from being read.

    Bounds: `Image.MAX_IMAGE_PIXELS` (89 million), which are 0.8 GB at most while they are decoded and laid on white.
    With `size` a JPEG may have more, up to 10^9 pixels, as long as it is not progressive and what its decoder scales it
    to is within the bound: 12,000 x 9,000 pixels for 224 are 1.7 million.

    Args:
        file: path, or the file itself, open for reading bytes.
        formats: those of `sib_tf.pictures.formats.READ` that are taken.
        size: side in pixels of the square that is wanted of it: a JPEG may be opened at reduced size.

    Raises:
        UnreadablePicture: another format, no decoder for it, or too many pixels.
        Exception: what Pillow raises for broken bytes, here and from the block.
    """
    raw = False
    with contextlib.ExitStack() as stack:
        if isinstance(file, str | os.PathLike):
            raw = Path(file).suffix.lower() in RAW_SUFFIXES
            file = stack.enter_context(Path(file).open("rb"))
        image = stack.enter_context(_open(file, formats))
        if image.format == "TIFF" and (raw or _DNG_VERSION in image.tag_v2):
            raise UnreadablePicture("a raw file of a camera, which is not read; export it as JPEG")
        _reduce(image, size)
        if math.prod(image.size) > Image.MAX_IMAGE_PIXELS:
            raise UnreadablePicture(_too_large(image, size))
        yield image


def _open(file: BinaryIO, formats: Sequence[str]) -> Image.Image:
    start = file.read(START)
    file.seek(0)
    name = format_of(start)
    if name not in formats:
        raise UnreadablePicture(f"not a whole {' or '.join(filter(None, [', '.join(formats[:-1]), formats[-1]]))} file")
    decoder = _decoder(name)
    if name != "PNG":
        image = decoder(file)
        # Pillow would turn pictures by what it says, and browsers do not.
        image.info.pop("xmp", None)
        return image
    parts = split_png(file)
    image = decoder(parts.pixels)
    if parts.exif:
        image.info["exif"] = parts.exif
    if parts.profile:
        image.info["icc_profile"] = parts.profile
    return image


def _decoder(name: str) -> type[Image.Image]:
    if name in _DECODERS:
        return _DECODERS[name]
    module, class_name, remedy = _OPTIONAL[name]
    try:
        return getattr(importlib.import_module(module), class_name)
    except ImportError as error:
        raise UnreadablePicture(f"{name}, and no decoder of it is installed: {remedy}") from error


def _reduce(image: Image.Image, size: int | None) -> None:
    if size is None or image.format != "JPEG" or math.prod(image.size) > _MOST_SCALED_PIXELS:
        return
    # A progressive one lies in memory whole, at whatever size it is decoded.
    if not image.info.get("progressive") or math.prod(image.size) <= Image.MAX_IMAGE_PIXELS:
        before = image.size
        drafted = image.draft(None, (_MARGIN * size, _MARGIN * size))
        if image.size != before:
            image.info[EXTENT] = drafted[1][2:]


def _too_large(image: Image.Image, size: int | None) -> str:
    why = f"it has more than the {Image.MAX_IMAGE_PIXELS:,} pixels allowed"
    if image.format != "JPEG" or size is None:
        return why
    return f"{why}, and cannot be decoded at reduced size" + ", being progressive" * bool(image.info.get("progressive"))
