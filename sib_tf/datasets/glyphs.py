"""The embedded data set: letters of many scripts drawn on the spot, split by script. Nothing is downloaded."""

import dataclasses
from collections.abc import Iterator

import tensorflow_datasets as tfds

from sib_tf.datasets.builder import FewShotBuilder, png_bytes
from sib_tf.datasets.drawn.glyph_alphabets import Letter, letters_of
from sib_tf.datasets.drawn.glyph_drawing import draw

_SEED = 0


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(tfds.core.BuilderConfig):
    """How much is drawn.

    Attributes:
        pictures_per_class: 1 or more.
        classes_per_script: at most so many of each script, those of the lowest code points; None: all.
    """

    pictures_per_class: int = 20
    classes_per_script: int | None = None


class Builder(FewShotBuilder):
    """Letters of 15 scripts, 20 pictures each, drawn with the DejaVu and STIX fonts that matplotlib ships.

    Meta-splits are disjoint by script. No two classes, of the same or of different splits, look the same but for size
    and aspect. Pictures differ in face, pose, stroke, colours, texture, occlusion, blur and noise.

    Drawing is deterministic. Another version of matplotlib (fonts), Pillow or FreeType may draw slightly differently,
    and so move a pixel or a letter that is only just distinct.
    """

    name = "glyphs"
    VERSION = "1.0.0"
    RELEASE_NOTES = {"1.0.0": "First version; drawn with matplotlib 3.11, Pillow 13.0, FreeType 2.14."}
    BUILDER_CONFIGS = [Config(name="full", description="All letters, 20 pictures each.")]
    IMAGE_SIZE = 32
    HOMEPAGE = "https://dejavu-fonts.github.io/"

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in ("train", "validation", "test")}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict]]:
        for letter in _first(letters_of(split), self.builder_config.classes_per_script):
            for index in range(self.builder_config.pictures_per_class):
                identity = f"{letter.class_name}/{index:02d}"
                image = png_bytes(draw(letter, index, self.IMAGE_SIZE, _SEED))
                yield identity, {"image": image, "class_name": letter.class_name, "id": identity}


def _first(letters: tuple[Letter, ...], per_script: int | None) -> Iterator[Letter]:
    """The first `per_script` letters of each script."""
    seen: dict[str, int] = {}
    for letter in letters:
        seen[letter.script] = seen.get(letter.script, 0) + 1
        if per_script is None or seen[letter.script] <= per_script:
            yield letter
