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
    probe = Image.fromarray(_probe(mode), mode)
    moved = np.abs(np.asarray(ImageCms.applyTransform(probe, transform), int) - np.asarray(probe.convert("RGB")))
    return transform if moved.max() > _TOLERANCE else None


def _probe(mode: str) -> np.ndarray:
    """Colours of the whole range, uint8 `[1, colours, channels]`, or `[1, 256]` for grey."""
    if mode == "L":
        return np.arange(256, dtype=np.uint8)[None]
    steps = np.linspace(0, 255, 9 if mode == "RGB" else 5).astype(np.uint8)
    return np.stack(np.meshgrid(*[steps] * len(mode), indexing="ij"), -1).reshape(1, -1, len(mode))
