"""Picture files to pixels: what a file shows, whatever its format, as RGB of the size that is wanted."""

import contextlib
import io
import os

import numpy as np
from PIL import Image, ImageOps

from sib_tf.errors import InputError, require
from sib_tf.pictures.colours import to_srgb
from sib_tf.pictures.decoders import EXTENT, UnreadablePicture, open_picture

_BACKGROUND = (255, 255, 255, 255)
_STRIP_PIXELS = 1 << 20
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_picture(path: str | os.PathLike, size: int | None = None, content: bytes | None = None) -> np.ndarray:
    """Decodes a JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF or HEIF file (told by its content, not by its name) to RGB.

    EXIF orientation is applied, transparent parts show white, 16-bit grey is scaled to 8 bits, of an animation the
    first frame counts, colours are converted from the file's profile to sRGB. A JPEG of at least four times `size` is
    decoded at reduced size, to the same pixels but for three grey levels at most, before colours are converted: from a
    wide profile that is steep where they are dark and strong. AVIF needs Pillow 11.3, HEIF pillow-heif.

    Args:
        path: the file.
        size: side in pixels of the square wanted: the shorter side is scaled to it (bilinear, antialiased when
            shrinking) and the longer one cropped to its middle. None: the picture as it is.
        content: the file's bytes, where they lie in memory; `path` is for errors only then.

    Returns:
        uint8 `[height, width, 3]`, RGB; `[size, size, 3]` if `size` is given.

    Raises:
        InputError: the file is missing, broken, in another format or one without a decoder here, or larger than
            `open_picture` takes.
    """
    require("size", size, size is None or size >= 1, "at least 1 pixel")
    try:
        with open_picture(path if content is None else io.BytesIO(content), size=size) as image:
            return fit_picture(image, size)
    except Exception as error:  # Pillow's decoders raise whatever the broken bytes lead them to.
        raise InputError(f"{path} cannot be read as a picture ({_reason(error)}); replace or remove it.") from error


def fit_picture(image: Image.Image, size: int | None = None) -> np.ndarray:
    """Turns an open picture into pixels, as `read_picture` does."""
    profile = image.info.get("icc_profile")
    flat = _flatten(_upright(_scaled(_without_empty_alpha(image), size)))
    if flat.mode not in ("RGB", "L", "CMYK") or (flat.mode != "RGB" and not profile):
        flat = flat.convert("RGB")
    if size is not None:
        # fit crops before it scales: the same picture, and a very long one never grows in memory.
        flat = ImageOps.fit(flat, (size, size), Image.Resampling.BILINEAR)
    # Colours last: there are fewer pixels then.
    return np.array(to_srgb(flat, profile))


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


def _without_empty_alpha(image: Image.Image) -> Image.Image:
    """A BMP of 32 bits whose fourth bytes are all 0 has none: every viewer shows its colours."""
    if image.format == "BMP" and image.mode == "RGBA" and image.getchannel("A").getextrema()[1] == 0:
        return image.convert("RGB")
    return image


def _scaled(image: Image.Image, size: int | None) -> Image.Image:
    """The middle square of a picture that was decoded at reduced size; another one is scaled once it is upright."""
    if size is None or EXTENT not in image.info:
        return image
    width, height = image.info[EXTENT]
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return image.resize((size, size), Image.Resampling.BILINEAR, (left, top, left + side, top + side))


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """Returns how EXIF turns an open picture; broken EXIF says nothing. XMP does not count: browsers do not read it."""
    exif = Image.Exif()
    with contextlib.suppress(Exception):
        exif.load(image.info.get("exif"))
    return _TURNS.get(exif.get(0x0112))


def _upright(image: Image.Image) -> Image.Image:
    turn = turn_of(image)
    return image if turn is None else image.transpose(turn)


def _flatten(image: Image.Image) -> Image.Image:
    """On white, in 8 bits."""
    if image.mode.startswith("I"):
        return _grey_of_16_bits(image)
    if image.mode == "F":
        raise UnreadablePicture("its grey levels are fractions, and nothing says which is white; save it with 8 bits")
    return _on_white(image) if image.has_transparency_data else image


def _on_white(image: Image.Image) -> Image.Image:
    """In strips: at once it would take four times the memory of the picture."""
    flat = Image.new("RGB", image.size)
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height))).convert("RGBA")
        white = Image.new("RGBA", strip.size, _BACKGROUND)
        flat.paste(Image.alpha_composite(white, strip).convert("RGB"), (0, top))
    return flat


def _grey_of_16_bits(image: Image.Image) -> Image.Image:
    levels = np.asarray(image)
    if levels.min() < 0 or levels.max() > 65535:
        raise UnreadablePicture("its grey levels have 32 bits, and nothing says which is white; save it with 8 bits")
    # Pillow's own conversion cuts everything above 255 to white.
    grey = ((levels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey[levels == clear] = 255
    return Image.fromarray(grey)


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than the {Image.MAX_IMAGE_PIXELS:,} pixels allowed"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
