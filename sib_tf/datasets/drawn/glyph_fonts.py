"""The faces that letters are drawn with: fonts that ship inside matplotlib."""

import functools
from pathlib import Path

import matplotlib
from fontTools.ttLib import TTFont
from PIL import Image, ImageFont

# matplotlib's other fonts are left out: the cm* ones map letters to unrelated glyphs, and LastResortHE draws a box for
# every code point. The first face is the reference: letters are compared in it.
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
REFERENCE_FACE = FACES[0]
_PIXELS_PER_EM = 64
# A noncharacter, which no font maps.
_MISSING = 0xFFFF


@functools.cache
def coverage() -> dict[int, tuple[str, ...]]:
    """The faces that map each code point, in the order of `FACES`; some may still draw nothing or a box there."""
    faces: dict[int, tuple[str, ...]] = {}
    for face in FACES:
        with TTFont(_path(face), lazy=True) as font:
            for code_point in font.getBestCmap():
                faces[code_point] = (*faces.get(code_point, ()), face)
    return faces


def draws(face: str, code_point: int) -> bool:
    """Whether the drawing has ink and is not the face's box for missing glyphs."""
    drawing = ink(face, code_point)
    return drawing is not None and drawing != missing(face)


@functools.cache
def missing(face: str) -> Image.Image | None:
    """What the face draws where it has no glyph: a box, or nothing (None)."""
    return ink(face, _MISSING)


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
    return ImageFont.truetype(str(_path(face)), _PIXELS_PER_EM, layout_engine=ImageFont.Layout.BASIC)


def _path(face: str) -> Path:
    return Path(matplotlib.get_data_path(), "fonts", "ttf", f"{face}.ttf")
