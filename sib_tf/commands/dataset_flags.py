"""The flags that name a data set, shared by the entry points that read pictures."""

import dataclasses

from absl import flags

from sib_tf.commands import cli, record_flags
from sib_tf.config import BackboneConfig
from sib_tf.datasets import DATASETS
from sib_tf.datasets.folder_options import FolderOptions


def define(values: flags.FlagValues, dataset_help: str | None = None) -> None:
    """Defines --dataset, --data_dir, --cache_dir and the options of the user's own pictures on `values`.

    --dataset is required unless `dataset_help` says what its absence means.
    """
    required, text = dataset_help is None, dataset_help or "Data set."
    flags.DEFINE_enum("dataset", None, DATASETS, text, required=required, flag_values=values)
    text = "Folder with the archives or pictures; only read. Default: download."
    flags.DEFINE_string("data_dir", None, text, flag_values=values)
    text = "Folder for prepared data sets. Default: $TFDS_DATA_DIR, or else ~/tensorflow_datasets."
    flags.DEFINE_string("cache_dir", None, text, flag_values=values)
    folder = FolderOptions()
    texts = {name: f"folder only. {text}" for name, text in folder.help_texts().items()}
    size = f"{texts.pop('image_size')} Default: as an imported backbone takes them, or {folder.image_size}."
    flags.DEFINE_integer("stored_size", None, size, 16, flag_values=values)
    record_flags.define(values, folder, texts)


def folder_options(values: flags.FlagValues, backbone: BackboneConfig | None = None) -> dict:
    """Returns the fields of the folder data set's `FolderOptions`, checked, that the flags give.

    For a backbone that scales larger pictures, as imported ones do, they are stored by default as it takes them: of
    photographs at 32 pixels little would be left.
    """
    size = backbone.image_size if backbone and backbone.larger == "reduce" else FolderOptions().image_size
    given = record_flags.fields(values, FolderOptions) | {"image_size": values.stored_size or size}
    return dataclasses.asdict(FolderOptions(**given))


def load(values: flags.FlagValues, default: str | None = None, backbone: BackboneConfig | None = None):
    """Loads the data set that --dataset, or else `default`, names; returns a `sib_tf.datasets.MetaDataset`.

    `backbone` is the one that its pictures are for, where that is known.
    """
    name = values.dataset or default
    options = folder_options(values, backbone) if name == "folder" else None
    cli.load_tensorflow()
    from sib_tf import datasets

    return datasets.load(name, values.data_dir, values.cache_dir, options)
