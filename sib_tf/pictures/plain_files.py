"""Files of pictures for readers that know less: no EXIF, no profiles, no transparency, as TensorFlow's decoders."""

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

from sib_tf.errors import InputError
from sib_tf.pictures.colours import moves_colours
from sib_tf.pictures.decoders import open_picture
from sib_tf.pictures.pixels import turn_of

# What such readers show as `read_picture` does. BMP is left out: its kinds are many, and PNG is smaller.
_PLAIN = {"JPEG": ("L", "RGB"), "PNG": ("L", "P", "RGB"), "GIF": ("L", "P", "RGB"), "WEBP": ("RGB",)}


def plain_file(path: str | os.PathLike, pixels: np.ndarray) -> bytes:
    """Returns the bytes of a picture file; or its pixels as PNG, where they are fewer or a simple reader sees others.

    Args:
        path: the file.
        pixels: `[size, size, 3]` uint8, what `read_picture` makes of it.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); restore it, and start again.") from error
    return content if len(content) <= pixels.nbytes and _is_plain(content) else as_png(pixels)


def as_png(pixels: np.ndarray) -> bytes:
    """Returns `[height, width, 3]` uint8 as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _is_plain(content: bytes) -> bool:
    """Whether the decoded pixels are all that the file shows."""
    with open_picture(io.BytesIO(content)) as image:
        mode = "RGB" if image.mode == "P" else image.mode
        whole = image.format != "GIF" or image.tile[0][1] == (0, 0, *image.size)
        return (
            image.mode in _PLAIN.get(image.format, ())
            and whole
            and not getattr(image, "is_animated", False)
            and not image.has_transparency_data
            and turn_of(image) is None
            and not moves_colours(image.info.get("icc_profile"), mode)
        )
