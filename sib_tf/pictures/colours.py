"""Colour profiles: what they call red is not what sRGB calls red, which is what models learned from."""

import functools
import io

import numpy as np
from PIL import Image, ImageCms

_SRGB = ImageCms.createProfile("sRGB")
# Grey levels up to which a profile is sRGB by another name; rounding moves some colours by one.
_TOLERANCE = 2
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Converts a picture, of mode L, RGB or CMYK, to RGB in sRGB.

    A profile that is broken, or for pictures of another kind, is ignored, as browsers do.
    """
    transform = _transform(profile, image.mode) if profile else None
    if transform is None and profile and image.mode == "L":
        # Grey levels in a profile for colours.
        image = image.convert("RGB")
        transform = _transform(profile, "RGB")
    return image.convert("RGB") if transform is None else ImageCms.applyTransform(image, transform)


def moves_colours(profile: bytes | None, mode: str) -> bool:
    """Returns whether `to_srgb` changes a picture of mode L, RGB or CMYK more than rounding does."""
    modes = (mode, "RGB") if mode == "L" else (mode,)
    return profile is not None and any(_transform(profile, each) is not None for each in modes)


@functools.lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """None: not for this mode, broken, or sRGB already."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if _MODES.get(source.profile.xcolor_space.strip()) != mode:
            return None
        transform = ImageCms.buildTransform(source, _SRGB, mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    probe = _probe(mode)
    moved = np.abs(np.asarray(ImageCms.applyTransform(probe, transform), int) - np.asarray(probe.convert("RGB")))
    return transform if moved.max() > _TOLERANCE else None


def _probe(mode: str) -> Image.Image:
    """One row of colours of the whole range."""
    steps = np.linspace(0, 255, {"L": 256, "RGB": 9, "CMYK": 5}[mode]).astype(np.uint8)
    colours = np.stack(np.meshgrid(*[steps] * len(Image.new(mode, (1, 1)).getbands()), indexing="ij"), -1)
    return Image.frombytes(mode, (colours.size // colours.shape[-1], 1), colours.tobytes())
