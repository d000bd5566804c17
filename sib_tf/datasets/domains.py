"""Data sets of several domains that share their classes: the same things as photographs, paintings, sketches, ...

Not few-shot data sets: the classes are the same everywhere, and what is held out is a domain. The domains are the
splits of their builders. Their modules give `SIZE`, in pixels, and `builder_config(data_dir, size)`.
"""

import dataclasses
import importlib

from sib_tf.datasets import DOMAIN_DATASETS, loading
from sib_tf.datasets.loading import Split
from sib_tf.errors import require_choice


@dataclasses.dataclass(frozen=True, eq=False)
class DomainDataset:
    """All pictures by domain, all with the same `class_names`; `digest` changes when the pictures do."""

    name: str
    digest: str
    domains: dict[str, Split]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of every domain."""
        return next(iter(self.domains.values())).class_names


def names(name: str) -> tuple[str, ...]:
    """The domains of a data set, which need not be read for that."""
    return _module(name).Builder.SPLITS


def load(name: str, data_dir: str | None = None, cache_dir: str | None = None, size: int | None = None):
    """Loads a `DomainDataset` into memory; all but `size` as for `loading.load`.

    Args:
        name: one of `DOMAIN_DATASETS`.
        data_dir: the user's folder of pictures; None for a data set that is drawn.
        size: side in pixels of the stored pictures, >= 16; None: the data set's own.

    Raises:
        InputError: unknown name, missing or broken pictures.
    """
    module = _module(name)
    config = module.builder_config(data_dir, size or module.SIZE)
    builder, splits = loading.read(module.Builder, data_dir, cache_dir, config)
    return DomainDataset(name, config.digest, {domain: splits[domain] for domain in builder.SPLITS})


def _module(name: str):
    require_choice("dataset", name, DOMAIN_DATASETS)
    return importlib.import_module(f"sib_tf.datasets.{name}")
