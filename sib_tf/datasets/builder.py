"""What all builders share: the features of an example, and how pictures become examples."""

import abc
import dataclasses
import io
import sys
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from sib_tf.datasets import META_SPLITS
from sib_tf.pictures.files import Picture
from sib_tf.pictures.pixels import read_picture
from sib_tf.records import Record


class FewShotBuilder(tfds.core.GeneratorBasedBuilder):
    """A tensorflow-datasets builder whose splits `train`, `validation` and `test` have disjoint classes.

    An example is `image` (uint8 RGB `[height, width, 3]`), `class_name` (text) and `id` (text, unique in the split; it
    orders the pictures of a class, so it must not depend on where or in which order the source files lie).

    Subclasses give `VERSION`, `IMAGE_SIZE` (pixels, both sides) and `_pictures`, and may give the others below. A
    module whose builder is configured by the user's folder has a function `builder_config(data_dir, **options)` too.
    """

    SPLITS: tuple[str, ...] = META_SPLITS
    IMAGE_SIZE: int | None = None
    # Side in pixels that backbones take; None: all of the picture.
    CROP_SIZE: int | None = None
    # The published (mean, std) per channel on the 0-255 scale.
    NORMALIZATION: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    OPTIONS: type[Record] | None = None
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

    def _log_download_bytes(self) -> None:
        # The base class speaks of downloading, of what is on this machine too, and of unknown sizes.
        print(f"Preparing the pictures of data set {self.name} once, in {self.data_dir}.", file=sys.stderr)

    def _log_download_done(self) -> None:
        pass

    @abc.abstractmethod
    def _pictures(self, dl_manager, split: str) -> Iterable[tuple[str, str, np.ndarray | Image.Image]]:
        """Returns (class name, id, picture) of each picture of a split; files are fetched before it returns."""

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(self._pictures(dl_manager, split)) for split in self.SPLITS}

    def _generate_examples(self, pictures) -> Iterator[tuple[str, dict]]:
        for class_name, identity, picture in pictures:
            yield identity, {"image": png_bytes(picture), "class_name": class_name, "id": identity}


@dataclasses.dataclass(eq=False, kw_only=True)
class PictureListConfig(tfds.core.BuilderConfig):
    """Picture files by split, listed once so that the name, which has their digest, and the content agree.

    Attributes:
        image_size: side of the stored pictures in pixels.
        digest: changes when the pictures, or how they are read, do.
        pictures: by split; none where pictures are drawn.
        on_broken: as in `FolderOptions`, which `folder` alone has.
        name: "": size and digest.
    """

    image_size: int
    digest: str
    pictures: dict[str, list[Picture]] = dataclasses.field(default_factory=dict, repr=False)
    on_broken: str = "refuse"
    name: str = ""

    def __post_init__(self):
        self.name = self.name or f"{self.image_size}px-{self.digest[:16]}"


class PictureListBuilder(FewShotBuilder):
    """Pictures of the user's, scaled and cropped to `image_size`, from the files that a `PictureListConfig` lists."""

    @property
    def image_size(self) -> int:
        """Side of the stored pictures in pixels."""
        return self.builder_config.image_size

    def _pictures(self, dl_manager, split):
        for picture in self.builder_config.pictures[split]:
            yield picture.class_name, picture.id, read_picture(picture.path, self.image_size)


def png_bytes(image: np.ndarray | Image.Image) -> io.BytesIO:
    """Encodes a uint8 array `[height, width, 3]` or a Pillow image as PNG, in memory."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    # Level 1: small pictures gain nothing from more, and preparing is several times faster.
    image.save(buffer, format="PNG", compress_level=1)
    buffer.seek(0)
    return buffer
