"""Which letters are classes: those of each script that can be told apart, and the meta-split of each script."""

import dataclasses
import functools
import unicodedata
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageFilter

from sib_tf.datasets.drawn import glyph_fonts

# How the Unicode names of a script's letters begin -> (the script's name in ours, its meta-split). Python has no script
# property. Where two letters look the same, the one whose script stands first here stays: test and validation, which
# have fewer letters, before training.
SCRIPTS = {
    "GREEK": ("Greek", "test"),
    "ARMENIAN": ("Armenian", "test"),
    "TIFINAGH": ("Tifinagh", "test"),
    "NKO": ("NKo", "test"),
    "COPTIC": ("Coptic", "test"),
    "CYRILLIC": ("Cyrillic", "validation"),
    "HEBREW": ("Hebrew", "validation"),
    "OLD ITALIC": ("Old_Italic", "validation"),
    "OGHAM": ("Ogham", "train"),
    "LAO": ("Lao", "train"),
    "LISU": ("Lisu", "train"),
    "GEORGIAN": ("Georgian", "train"),
    "ARABIC": ("Arabic", "train"),
    "LATIN": ("Latin", "train"),
    "CANADIAN SYLLABICS": ("Canadian_Aboriginal", "train"),
}
# Cosine distance between two letters' `appearance`, in [0, 1]. By eye, pairs below it are mostly one shape in two
# sizes, or with and without a serif or a short tail (o O, T and T with a hook); those above differ by a dot at least.
MIN_DISTANCE = 0.06
_BOX = 20
_MARGIN = 2
# Upper case, lower case, letters without case, digits. Left out: modifier letters, marks, titlecase digraphs.
_CATEGORIES = frozenset(["Lu", "Ll", "Lo", "Nd"])


@dataclasses.dataclass(frozen=True)
class Letter:
    """A class.

    Attributes:
        code_point: in Unicode.
        script: one of the names in `SCRIPTS`.
        faces: the fonts of `glyph_fonts.FACES` that have it, two or more.
    """

    code_point: int
    script: str
    faces: tuple[str, ...]

    @property
    def class_name(self) -> str:
        """For example "Cyrillic/U+0416 CYRILLIC CAPITAL LETTER ZHE"."""
        return f"{self.script}/U+{self.code_point:04X} {unicodedata.name(chr(self.code_point))}"


@functools.cache
def letters() -> tuple[Letter, ...]:
    """All classes, by script in the order of `SCRIPTS`, then by code point; no two closer than `MIN_DISTANCE`."""
    candidates = list(_candidates())
    vectors = np.stack([appearance(letter.code_point) for letter in candidates])
    alike = vectors @ vectors.T > 1 - MIN_DISTANCE
    kept: list[int] = []
    for i in range(len(candidates)):
        if not alike[i, kept].any():
            kept.append(i)
    return tuple(candidates[i] for i in kept)


def letters_of(split: str) -> tuple[Letter, ...]:
    """The classes of the meta-split "train", "validation" or "test"."""
    scripts = {script for script, of_split in SCRIPTS.values() if of_split == split}
    return tuple(letter for letter in letters() if letter.script in scripts)


def appearance(code_point: int) -> np.ndarray:
    """What a letter looks like whatever its size: a unit vector `[576]` of non-negative numbers.

    The reference face's drawing is stretched to a square, as size and aspect vary from picture to picture, and
    slightly blurred, so that strokes a pixel apart still overlap.
    """
    square = glyph_fonts.ink(glyph_fonts.REFERENCE_FACE, code_point).resize((_BOX, _BOX), Image.Resampling.BOX)
    padded = Image.new("L", (_BOX + 2 * _MARGIN, _BOX + 2 * _MARGIN))
    padded.paste(square, (_MARGIN, _MARGIN))
    vector = np.asarray(padded.filter(ImageFilter.GaussianBlur(1)), np.float64).ravel()
    return vector / np.linalg.norm(vector)


def _candidates() -> Iterator[Letter]:
    """The letters of every script that two faces have, one of them the reference, by script and code point."""
    covered = sorted(glyph_fonts.coverage().items())
    for prefix, (script, _) in SCRIPTS.items():
        for code_point, mapped in covered:
            if not _is_base_letter(chr(code_point), prefix):
                continue
            faces = tuple(face for face in mapped if glyph_fonts.draws(face, code_point))
            if len(faces) >= 2 and glyph_fonts.REFERENCE_FACE in faces:
                yield Letter(code_point, script, faces)


def _is_base_letter(character: str, prefix: str) -> bool:
    # A decomposition marks another letter's variant: with an accent, positional, a ligature, in a mathematical face.
    return (
        unicodedata.name(character, "").startswith(f"{prefix} ")
        and unicodedata.category(character) in _CATEGORIES
        and not unicodedata.decomposition(character)
    )
