"""Data sets: one module each, all giving the same thing, uint8 RGB images and labels by meta-split.

Every module holds a tensorflow-datasets builder class named `Builder`. `load` prepares it once under `cache_dir`
and returns a `MetaDataset`.
"""

from sib_tf.datasets.loading import META_SPLITS, MetaDataset, Split, load

__all__ = ["META_SPLITS", "MetaDataset", "Split", "load"]
