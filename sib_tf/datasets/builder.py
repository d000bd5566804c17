"""What all builders share: the features of an example, and PNG bytes from arrays."""

import io

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image


class FewShotBuilder(tfds.core.GeneratorBasedBuilder):
    """A tensorflow-datasets builder whose splits `train`, `validation` and `test` have disjoint classes.

    An example is `image` (uint8 RGB `[height, width, 3]`), `class_name` (text) and `id` (text, unique in the split; it
    orders the pictures of a class, so it must not depend on where or in which order the source files lie).

    Subclasses give `VERSION`, `IMAGE_SIZE` (pixels, both sides) and `_split_generators`, and may give
    `NORMALIZATION`: the published (mean, std) per channel on the 0-255 scale.
    """

    IMAGE_SIZE: int | None = None
    NORMALIZATION: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    HOMEPAGE = ""
    CITATION = ""

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.image_size
        return self.dataset_info_from_configs(
            description=type(self).__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(size, size, 3), encoding_format="png"),
                    "class_name": tfds.features.Text(),
                    "id": tfds.features.Text(),
                }
            ),
            homepage=self.HOMEPAGE,
            citation=self.CITATION,
        )

    @property
    def image_size(self) -> int:
        """Side of the stored pictures in pixels."""
        return self.IMAGE_SIZE


def png_bytes(image: np.ndarray | Image.Image) -> io.BytesIO:
    """Encodes a uint8 array `[height, width, 3]` or a Pillow image as PNG, in memory."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    # Level 1: small pictures gain nothing from more, and preparing is several times faster.
    image.save(buffer, format="PNG", compress_level=1)
    buffer.seek(0)
    return buffer
