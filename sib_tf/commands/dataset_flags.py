"""The flags that name a data set, shared by the entry points that read pictures."""

import functools

from absl import flags

from sib_tf.commands import cli
from sib_tf.datasets import DATASETS
from sib_tf.datasets.folder_options import FolderOptions


def define(values: flags.FlagValues, dataset_help: str | None = None) -> None:
    """Defines --dataset, --data_dir, --cache_dir and the options of the user's own pictures on `values`.

    --dataset is required unless `dataset_help` says what its absence means.
    """
    enum, text, integer, number = (
        functools.partial(make, flag_values=values)
        for make in (flags.DEFINE_enum, flags.DEFINE_string, flags.DEFINE_integer, flags.DEFINE_float)
    )
    enum("dataset", None, DATASETS, dataset_help or "Data set.")
    if dataset_help is None:
        flags.mark_flag_as_required("dataset", flag_values=values)
    text("data_dir", None, "Folder with the archives or pictures; only read. Default: download.")
    text("cache_dir", None, "Folder for prepared data sets. Default: $TFDS_DATA_DIR, or else ~/tensorflow_datasets.")
    folder = FolderOptions()
    integer("stored_size", folder.image_size, "folder only: side in pixels that pictures are scaled to.", 16)
    enum("on_broken", folder.on_broken, folder.CHOICES["on_broken"], "folder only: what a broken picture does.")
    integer("split_seed", folder.split_seed, "folder only: seed of the split by class.", 0)
    number("validation_fraction", folder.validation_fraction, "folder only: share of the classes for validation.", 0, 1)
    number("test_fraction", folder.test_fraction, "folder only: share of the classes for testing.", 0, 1)


def folder_options(values: flags.FlagValues) -> dict:
    """Returns the fields of the folder data set's `FolderOptions` that the flags give."""
    names = ("on_broken", "split_seed", "validation_fraction", "test_fraction")
    return {"image_size": values.stored_size} | {name: values[name].value for name in names}


def load(values: flags.FlagValues, default: str | None = None):
    """Loads the data set that --dataset, or else `default`, names; returns a `sib_tf.datasets.MetaDataset`."""
    cli.load_tensorflow()
    from sib_tf import datasets

    name = values.dataset or default
    options = folder_options(values) if name == "folder" else None
    return datasets.load(name, values.data_dir, values.cache_dir, options)
