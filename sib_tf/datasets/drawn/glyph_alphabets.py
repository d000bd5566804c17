"""Which letters are classes, in which faces, and the meta-split of each script: what `letters.tsv` lists.

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

from sib_tf.datasets.drawn.glyph_fonts import FACES


@dataclasses.dataclass(frozen=True)
class Letter:
    """A class.

    Attributes:
        code_point: in Unicode.
        script: for example "Cyrillic".
        split: "train", "validation" or "test", the same for all of a script.
        faces: the fonts of `glyph_fonts.FACES` that have it, two or more.
    """

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
