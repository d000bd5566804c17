"""The embedded data set: letters of many scripts drawn on the spot, split by script. Nothing is downloaded."""

import tensorflow_datasets as tfds

from sib_tf.datasets.builder import FewShotBuilder
from sib_tf.datasets.drawn.glyph_drawing import draw
from sib_tf.datasets.drawn.glyph_letters import letters_of

PICTURES_PER_CLASS = 20
_SEED = 0


class Builder(FewShotBuilder):
    """Letters of 15 scripts, 20 pictures each, drawn with the DejaVu and STIX fonts that matplotlib ships.

    Meta-splits are disjoint by script. No two classes, of the same or of different splits, look the same but for size
    and aspect. Pictures differ in face, pose, stroke, colours, texture, occlusion, blur and noise.

    Drawing is deterministic. Another version of matplotlib (fonts), Pillow or FreeType may move a pixel.
    """

    name = "glyphs"
    VERSION = "1.0.0"
    RELEASE_NOTES = {"1.0.0": "First version; drawn with matplotlib 3.11, Pillow 13.0, FreeType 2.14."}
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="full", description="All letters, 20 pictures each.")]
    IMAGE_SIZE = 32
    HOMEPAGE = "https://dejavu-fonts.github.io/"

    def _pictures(self, dl_manager, split):
        for letter in letters_of(split):
            for index in range(PICTURES_PER_CLASS):
                picture = draw(letter, index, self.IMAGE_SIZE, _SEED)
                yield letter.class_name, f"{letter.class_name}/{index:02d}", picture
