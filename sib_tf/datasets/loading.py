"""Prepares a data set once, loads it into memory, and checks what all data sets promise."""

import collections
import contextlib
import dataclasses
import functools
import hashlib
import importlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from absl import logging

from sib_tf.datasets import DATASETS, META_SPLITS
from sib_tf.errors import InputError, require_choice
from sib_tf.storage import atomic, digests, disk_errors, run_lock

_READ_BATCH = 512


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """The pictures of one meta-split, sorted by class name and id.

    Attributes:
        images: `[pictures, height, width, 3]` uint8, RGB.
        labels: `[pictures]` int64 in `[0, len(class_names))`, ascending.
        class_names: the classes' names, sorted; `class_names[labels[i]]` is the class of picture i.
        ids: `[pictures]` text, unique in the split.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    ids: np.ndarray

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over pixels, labels and names: equal fingerprints are equal splits."""
        digest = hashlib.sha256(repr((self.images.shape, self.class_names)).encode())
        digest.update(np.ascontiguousarray(self.labels.astype("<i8")))
        digest.update(np.ascontiguousarray(self.images))
        return digest.hexdigest()


@dataclasses.dataclass(frozen=True, eq=False)
class MetaDataset:
    """Three splits with disjoint classes.

    Attributes:
        name: the data set's name as given to `load`.
        version: the builder's version (and configuration, where it has one).
        train, validation, test: the meta-splits.
        normalization: (mean, std), three numbers each, on the 0-255 scale: the published ones where there are some,
            otherwise those of the training pictures.
        picture_size: side in pixels of the pictures that backbones are meant to take, at most the stored side.
    """

    name: str
    version: str
    train: Split
    validation: Split
    test: Split
    normalization: tuple[tuple[float, ...], tuple[float, ...]]
    picture_size: int

    def __post_init__(self):
        names = collections.Counter(name for split in META_SPLITS for name in self.split(split).class_names)
        if shared := sorted(name for name, splits in names.items() if splits > 1):
            raise InputError(
                f"Meta-splits must have disjoint classes; data set '{self.name}' has {shared[:5]} in more than one. "
                "Remove them from all splits but one."
            )

    def split(self, name: str) -> Split:
        """Returns the meta-split called `name`: "train", "validation" or "test"."""
        require_choice("split", name, META_SPLITS)
        return getattr(self, name)


def load(
    name: str, data_dir: str | None = None, cache_dir: str | None = None, options: Mapping | None = None
) -> MetaDataset:
    """Loads a data set into memory, preparing it first if `cache_dir` does not hold it yet.

    Args:
        name: one of `sib_tf.datasets.DATASETS`.
        data_dir: folder with the source files (archives, or pictures); it is only read. None: download them where
            the data set can be downloaded.
        cache_dir: folder for prepared files. None: `TFDS_DATA_DIR`, or else `~/tensorflow_datasets`.
        options: fields of the data set's own options record (only `folder` has one).

    Raises:
        InputError: unknown name, missing or broken source files, or classes shared between splits.
    """
    require_choice("dataset", name, DATASETS)
    if data_dir is not None and not Path(data_dir).is_dir():
        raise InputError(f"data_dir must be an existing folder; {data_dir} is not.")
    module = importlib.import_module(f"sib_tf.datasets.{name}")
    if options and module.Builder.OPTIONS is None:
        raise InputError(f"Data set '{name}' takes no options; got {sorted(options)}.")
    config = module.builder_config(data_dir, **options or {}) if hasattr(module, "builder_config") else None
    builder, splits = read(module.Builder, data_dir, cache_dir, config)
    version = str(builder.version) if config is None else f"{config.name}-{builder.version}"
    normalization = builder.NORMALIZATION or channel_statistics(splits["train"].images)
    size = builder.CROP_SIZE or splits["train"].images.shape[1]
    return MetaDataset(name, version, **splits, normalization=normalization, picture_size=size)


def read(builder_class: type, data_dir: str | None, cache_dir: str | None, config=None):
    """Prepares a builder's data set where needed, and reads all its splits.

    Args:
        builder_class: the builder.
        data_dir, cache_dir: as for `load`.
        config: the builder's configuration; None: its own.

    Returns:
        The builder, and the `Split`s by name.
    """
    import tensorflow_datasets as tfds

    _stay_off_the_network()
    with _naming_damage(Path(cache_dir or "~/tensorflow_datasets") / builder_class.name), _no_warnings():
        builder = builder_class(data_dir=cache_dir, config=config)
    folder = Path(builder.data_dir)
    with _alone(folder):
        _check_digests(folder)
        # manual_dir must exist for tensorflow-datasets, so the configuration has it only where the user named one.
        download_config = tfds.download.DownloadConfig(manual_dir=data_dir, try_download_gcs=False)
        builder.download_and_prepare(download_config=download_config)
    with _naming_damage(folder):
        splits = {split: _read(builder, split) for split in builder.info.splits}
    _record_digests(folder)
    return builder, splits


def channel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, 0-255 scale, of uint8 images `[pictures, height, width, 3]`.

    A channel that never varies gets 1.0 as its deviation, so that dividing by it stays finite.
    """
    flat = images.reshape(-1, images.shape[-1])
    # Histograms give exact sums without a float copy of all pixels.
    counts = np.stack([np.bincount(flat[:, c], minlength=256) for c in range(flat.shape[1])])
    values = np.arange(256)
    mean = counts @ values / len(flat)
    variance = counts @ values**2 / len(flat) - mean**2
    std = np.sqrt(np.maximum(variance, 0))
    return tuple(map(float, mean.round(3))), tuple(float(s) if s > 0 else 1.0 for s in std.round(3))


@contextlib.contextmanager
def _alone(prepared: Path) -> Iterator[None]:
    """Lets one process prepare a data set while others wait; removes what processes that were killed left of it."""
    if prepared.is_dir():
        yield
        return
    with run_lock.held(prepared, beside=True, wait=True), disk_errors.named(prepared):
        for left in prepared.parent.glob(f"incomplete.*_{prepared.name}"):  # tensorflow-datasets' name for it.
            shutil.rmtree(left)
        yield


def _check_digests(folder: Path) -> None:
    if (folder / digests.FILE).is_file():
        recorded = atomic.read_json(folder / digests.FILE, "List of files")
        digests.check(folder, recorded, f"remove {folder} to prepare the data set again")


def _record_digests(folder: Path) -> None:
    """Of files that were read well. Those of an earlier version, or of a process killed before this, have none yet."""
    if not (folder / digests.FILE).is_file():
        with contextlib.suppress(InputError):  # A folder that may only be read goes without.
            atomic.write_json(folder / digests.FILE, digests.of_folder(folder))


@contextlib.contextmanager
def _naming_damage(folder: Path) -> Iterator[None]:
    """tensorflow-datasets and TensorFlow raise many kinds for damaged files, most without their names."""
    try:
        yield
    except (InputError, OSError):
        raise
    except Exception as error:
        raise InputError(
            f"The prepared data set in {folder} is damaged ({type(error).__name__}); remove it to prepare the data set "
            "again."
        ) from error


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    """tensorflow-datasets warns of every configuration of a builder's that is made for the user's folder."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _read(builder, split: str) -> Split:
    dataset = builder.as_dataset(split=split, batch_size=_READ_BATCH, shuffle_files=False)
    batches = list(dataset.as_numpy_iterator())
    images, names, ids = (np.concatenate([b[key] for b in batches]) for key in ("image", "class_name", "id"))
    # Not astype("T"): up to NumPy 2.2 that makes "b'name'" of bytes.
    names, ids = (np.array([value.decode() for value in values], dtype="T") for values in (names, ids))
    order = np.lexsort((ids.astype(object), names.astype(object)))
    class_names, labels = np.unique(names, return_inverse=True)
    return Split(images[order], labels[order].astype(np.int64), tuple(map(str, class_names)), ids[order])


def _stay_off_the_network() -> None:
    """Stops tensorflow-datasets from asking its bucket for prepared files: our data sets are not there."""
    from tensorflow_datasets.core.utils import gcs_utils

    gcs_utils._is_gcs_disabled = True
