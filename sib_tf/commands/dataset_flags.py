"""The flags that name a data set, shared by the entry points that read pictures."""

from absl import flags

from sib_tf.commands import cli, record_flags
from sib_tf.datasets import DATASETS
from sib_tf.datasets.folder_options import FolderOptions

_FOLDER = {
    "on_broken": "folder only: what a broken picture does.",
    "split_seed": "folder only: seed of the split by class.",
    "validation_fraction": "folder only: share of the classes for validation.",
    "test_fraction": "folder only: share of the classes for testing.",
}


def define(values: flags.FlagValues, dataset_help: str | None = None) -> None:
    """Defines --dataset, --data_dir, --cache_dir and the options of the user's own pictures on `values`.

    --dataset is required unless `dataset_help` says what its absence means.
    """
    flags.DEFINE_enum("dataset", None, DATASETS, dataset_help or "Data set.", flag_values=values)
    if dataset_help is None:
        flags.mark_flag_as_required("dataset", flag_values=values)
    flags.DEFINE_string(
        "data_dir", None, "Folder with the archives or pictures; only read. Default: download.", flag_values=values
    )
    flags.DEFINE_string(
        "cache_dir",
        None,
        "Folder for prepared data sets. Default: $TFDS_DATA_DIR, or else ~/tensorflow_datasets.",
        flag_values=values,
    )
    stored = "folder only: side in pixels that pictures are scaled to."
    flags.DEFINE_integer("stored_size", FolderOptions.image_size, stored, 16, flag_values=values)
    record_flags.define(values, FolderOptions(), _FOLDER)


def folder_options(values: flags.FlagValues) -> dict:
    """Returns the fields of the folder data set's `FolderOptions` that the flags give."""
    return {"image_size": values.stored_size} | record_flags.fields(values, FolderOptions)


def load(values: flags.FlagValues, default: str | None = None):
    """Loads the data set that --dataset, or else `default`, names; returns a `sib_tf.datasets.MetaDataset`."""
    cli.load_tensorflow()
    from sib_tf import datasets

    name = values.dataset or default
    options = folder_options(values) if name == "folder" else None
    return datasets.load(name, values.data_dir, values.cache_dir, options)
