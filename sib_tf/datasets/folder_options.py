"""How the user's own folder is read. Importing this is cheap: flags take their choices and defaults from it."""

import dataclasses

from sib_tf.errors import require
from sib_tf.records import Record


@dataclasses.dataclass(frozen=True)
class FolderOptions(Record):
    """How a folder of pictures becomes a data set.

    Attributes:
        image_size: side in pixels of the stored pictures, at least 16; see `pixels.read_picture` for the resizing.
        on_broken: "refuse": a picture that cannot be read is an error that names it; "skip": such pictures are left
            out, and named in one warning when the folder is prepared.
        split_seed: seed of the split by class, 0 or more, for folders without split folders.
        validation_fraction, test_fraction: of the classes, each above 0, together below 1; for such folders too.
    """

    CHOICES = {"on_broken": ("refuse", "skip")}

    image_size: int = 32
    on_broken: str = "refuse"
    split_seed: int = 0
    validation_fraction: float = 0.2
    test_fraction: float = 0.2

    def __post_init__(self):
        super().__post_init__()
        require("image_size", self.image_size, self.image_size >= 16, "at least 16 pixels")
        require("split_seed", self.split_seed, self.split_seed >= 0, "0 or more")
        for name in ("validation_fraction", "test_fraction"):
            require(name, getattr(self, name), getattr(self, name) > 0, "above 0")
        total = self.validation_fraction + self.test_fraction
        require("validation_fraction + test_fraction", total, total < 1, "below 1")
