"""The faces that letters are drawn with: fonts that ship inside matplotlib."""

import functools
from pathlib import Path

import matplotlib
from PIL import Image, ImageFont

# matplotlib's other fonts are left out: the cm* ones map letters to unrelated glyphs, and LastResortHE draws a box for
# every code point. Letters were compared in the first one.
FACES = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSans-BoldOblique",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-Italic",
    "DejaVuSerif-BoldItalic",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSansMono-Oblique",
    "DejaVuSansMono-BoldOblique",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralItalic",
    "STIXGeneralBolIta",
)
_PIXELS_PER_EM = 64


# The pictures of a letter are drawn one after the other, so a few entries serve all of them.
@functools.lru_cache(maxsize=4 * len(FACES))
def ink(face: str, code_point: int) -> Image.Image | None:
    """The letter at 64 pixels per em: grey coverage 0-255, cropped to its ink; None where there is no ink."""
    mask, _ = _font(face).getmask2(chr(code_point), mode="L")
    drawing = Image.frombytes("L", mask.size, bytes(mask)) if all(mask.size) else None
    box = drawing.getbbox() if drawing else None
    return drawing.crop(box) if box else None


@functools.cache
def _font(face: str) -> ImageFont.FreeTypeFont:
    # The basic layout engine is always there, and one letter needs no shaping.
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{face}.ttf")
    return ImageFont.truetype(str(path), _PIXELS_PER_EM, layout_engine=ImageFont.Layout.BASIC)
