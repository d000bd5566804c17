"""How the user's own folder is read. Importing this is cheap: flags take their choices and defaults from it."""

import dataclasses

from sib_tf.datasets.class_splits import SplitOptions
from sib_tf.records import at_least, setting


@dataclasses.dataclass(frozen=True)
class FolderOptions(SplitOptions):
    """How a folder of pictures becomes a data set; see `pixels.read_picture` for the scaling.

    A picture that cannot be read is an error that names it ("refuse"), or is left out, and named in one warning when
    the folder is prepared ("skip"). The seed and the shares of the split count for folders without split folders.
    """

    image_size: int = setting(32, "Side in pixels that pictures are scaled to.", at_least(16, "pixels"))
    on_broken: str = setting("refuse", "What a broken picture does.", ("refuse", "skip"))
