"""Which letters are classes, in which faces, and the meta-split of each script: what `letters.tsv` lists; their ink.

They were chosen once, with matplotlib 3.11: letters and digits of 15 scripts, but for variants of others (what Unicode
decomposes), that the reference face and another one draw. Of two that look alike whatever their size, such as o and O
or a Latin A and a Greek one, the list has the first: scripts for testing and validation, which have fewer letters, come
before those for training. Alike are pairs whose drawings in the reference face, stretched to a square and blurred, have
a cosine distance below 0.06; by eye, those above differ by a dot at least.
"""

import csv
import dataclasses
import functools
import unicodedata
from pathlib import Path

import matplotlib
from PIL import Image, ImageFont

_DEJAVU_SANS = "DejaVuSans DejaVuSans-Bold DejaVuSans-Oblique DejaVuSans-BoldOblique"
_DEJAVU_SERIF = "DejaVuSerif DejaVuSerif-Bold DejaVuSerif-Italic DejaVuSerif-BoldItalic"
_DEJAVU_MONO = "DejaVuSansMono DejaVuSansMono-Bold DejaVuSansMono-Oblique DejaVuSansMono-BoldOblique"
_STIX = "STIXGeneral STIXGeneralBol STIXGeneralItalic STIXGeneralBolIta"
# Fonts that ship inside matplotlib. Its others are left out: the cm* ones map letters to unrelated glyphs, and
# LastResortHE draws a box for every code point. Letters were compared in the first one.
FACES = tuple(" ".join((_DEJAVU_SANS, _DEJAVU_SERIF, _DEJAVU_MONO, _STIX)).split())
_PIXELS_PER_EM = 64


@dataclasses.dataclass(frozen=True)
class Letter:
    """A class; all letters of a script are of one meta-split, and two or more of `FACES` have each."""

    code_point: int
    script: str
    split: str
    faces: tuple[str, ...]

    @property
    def class_name(self) -> str:
        """For example "Cyrillic/U+0416 CYRILLIC CAPITAL LETTER ZHE"."""
        return f"{self.script}/U+{self.code_point:04X} {unicodedata.name(chr(self.code_point))}"


@functools.cache
def letters() -> tuple[Letter, ...]:
    """All classes."""
    with Path(__file__).with_name("letters.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    # Faces are hexadecimal digits, their places in FACES.
    return tuple(
        Letter(ord(letter), row["script"], row["split"], tuple(FACES[int(digit, 16)] for digit in row["faces"]))
        for row in rows
        for letter in row["letters"]
    )


def letters_of(split: str) -> list[Letter]:
    """The classes of the meta-split "train", "validation" or "test"."""
    return [letter for letter in letters() if letter.split == split]


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
