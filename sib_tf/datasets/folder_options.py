"""How the user's own folder is read. Importing this is cheap: flags take their choices and defaults from it."""

import dataclasses

from sib_tf.errors import require
from sib_tf.records import FROM_0, Bound, Record, at_least, setting

_SHARE = Bound(lambda share: share > 0, "above 0")


@dataclasses.dataclass(frozen=True)
class FolderOptions(Record):
    """How a folder of pictures becomes a data set; see `pixels.read_picture` for the scaling.

    A picture that cannot be read is an error that names it ("refuse"), or is left out, and named in one warning when
    the folder is prepared ("skip"). The seed and the shares of the split count for folders without split folders.
    """

    image_size: int = setting(32, "folder only: side in pixels that pictures are scaled to.", at_least(16, "pixels"))
    on_broken: str = setting("refuse", "folder only: what a broken picture does.", ("refuse", "skip"))
    split_seed: int = setting(0, "folder only: seed of the split by class.", FROM_0)
    validation_fraction: float = setting(0.2, "folder only: share of the classes for validation.", _SHARE)
    test_fraction: float = setting(0.2, "folder only: share of the classes for testing.", _SHARE)

    def __post_init__(self):
        super().__post_init__()
        total = self.validation_fraction + self.test_fraction
        require("validation_fraction + test_fraction", total, total < 1, "below 1")
