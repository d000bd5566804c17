"""How files of embeddings are read. Importing this is cheap: flags take their choices and defaults from it."""

import dataclasses

from sib_tf.datasets import META_SPLITS
from sib_tf.datasets.class_splits import SplitOptions
from sib_tf.errors import InputError
from sib_tf.records import setting


@dataclasses.dataclass(frozen=True)
class EmbeddingOptions(SplitOptions):
    """Where features, labels and splits lie in the user's files, and who splits the classes.

    In this order: `all_for`; the splits in the file; the seeded hash of the classes' names.
    """

    labels: str | None = setting(None, "Of a .npy: file with a label a row, .npy, .txt (one a line) or .csv.")
    x_key: str = setting("X", "Array of a .npz with the features, [rows, D].")
    y_key: str = setting("y", "Array of a .npz with the labels, text or whole numbers.")
    label_column: str = setting("label", "Column of a .csv or .parquet with the labels.")
    split_column: str | None = setting(
        None,
        "Column, or array of a .npz, that puts classes into train, validation or test. Default: the array 'split' of "
        "a .npz that has one; else classes are split by a hash.",
    )
    all_for: str | None = setting(None, "Puts all classes into one split; the others are empty.", META_SPLITS)

    def __post_init__(self):
        super().__post_init__()
        if self.all_for and self.split_column:
            raise InputError(
                f"all_for={self.all_for} and split_column={self.split_column} exclude each other; give one."
            )
