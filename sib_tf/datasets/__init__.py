"""Data sets: one module each, all giving the same thing, uint8 RGB images and labels by meta-split.

Every module holds a `Builder`, which says what its pictures are; `load` prepares them once and returns a `MetaDataset`.
A new data set is a module and its name in `DATASETS`.
"""

import importlib

DATASETS = ("glyphs", "omniglot", "cifar_fs", "mini_imagenet", "folder")
# Not few-shot data sets: the same classes in several domains; see `sib_tf.datasets.domains`.
DOMAIN_DATASETS = ("pacs", "glyph_domains")
META_SPLITS = ("train", "validation", "test")
_LOADING = ("MetaDataset", "Split", "load")

__all__ = ["DATASETS", "DOMAIN_DATASETS", "META_SPLITS", *_LOADING]


def __getattr__(name: str):
    # Flags need the names alone, before NumPy is loaded.
    if name not in _LOADING:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("sib_tf.datasets.loading"), name)
