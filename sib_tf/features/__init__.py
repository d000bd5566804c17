"""Pictures to features: every picture is embedded once by the frozen backbone and kept in memory-mapped files."""

import dataclasses
import functools
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from sib_tf import augmentation
from sib_tf.config import PretrainConfig
from sib_tf.datasets import META_SPLITS, MetaDataset
from sib_tf.devices import Devices
from sib_tf.errors import InputError, require
from sib_tf.storage import array_files, atomic, digests, run_lock

MANIFEST = "manifest.json"
_FORMAT = 1
_FILES = tuple(f"{split}_{part}.npy" for split in META_SPLITS for part in ("features", "labels"))
_FIELDS = {"format", "dataset", "backbone", "views", "feature_dim", "files"}
_BATCH = 256
_WAY_OUT = "make the cache again with train.extract_features"


def centre_crop(images: np.ndarray, size: int) -> np.ndarray:
    """Cuts the middle `size` x `size` pixels out of `[pictures, height, width, 3]`; nothing to do where it fits."""
    top, left = ((side - size) // 2 for side in images.shape[1:3])
    return images[:, top : top + size, left : left + size]


def embed(backbone: keras.Model, images: np.ndarray) -> np.ndarray:
    """Embeds pictures with the backbone in inference mode.

    Args:
        backbone: from `sib_tf.backbones`.
        images: `[pictures, height, width, 3]` uint8, at least as large as the backbone wants; the middle is taken.

    Returns:
        `[pictures, D]` float32.
    """
    pictures = centre_crop(images, backbone.input_shape[1])
    batches = (pictures[start : start + _BATCH] for start in range(0, len(pictures), _BATCH))
    return np.concatenate(list(_embedded(backbone, batches, Devices())))


def weights_fingerprint(model: keras.Model) -> str:
    """SHA-256 of a model's weights, names and shapes: equal fingerprints give equal features."""
    digest = hashlib.sha256()
    for weight in model.weights:
        value = np.ascontiguousarray(weight.numpy())
        digest.update(f"{weight.path} {value.shape} {value.dtype}".encode())
        digest.update(value)
    return digest.hexdigest()


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureCache:
    """Cached features of all three meta-splits, checked when opened.

    Attributes:
        folder: where the files lie.
        manifest: what the features were made from (data set and version, backbone, views), as in `manifest.json`.
    """

    folder: Path
    manifest: dict

    @classmethod
    def open(cls, folder: str | os.PathLike) -> "FeatureCache":
        """Opens a cache that `extract` wrote.

        Raises:
            InputError: there is none, or a file is missing or not the one that was written.
        """
        folder = Path(folder)
        if not (folder / MANIFEST).is_file():
            raise InputError(f"features_dir {folder} holds no feature cache; make one with train.extract_features.")
        manifest = atomic.read_json(folder / MANIFEST, "Feature cache manifest")
        if not isinstance(manifest, dict) or not isinstance(manifest.get("files", {}), dict):
            raise InputError(f"{folder / MANIFEST} is no manifest; {_WAY_OUT}.")
        if missing := sorted(_FIELDS - set(manifest)):
            raise InputError(f"{folder / MANIFEST} lacks {missing}; {_WAY_OUT}.")
        if manifest["format"] != _FORMAT:
            raise InputError(f"{folder} has cache format {manifest['format']}; this version reads {_FORMAT}.")
        digests.check(folder, {name: manifest["files"].get(name) for name in _FILES}, _WAY_OUT)
        cache = cls(folder, manifest)
        for split in META_SPLITS:
            cache._check_shapes(split)
        return cache

    def table(self, split: str) -> np.ndarray:
        """Returns `[views * pictures, D]` float32, memory-mapped: view v of picture i is row `v * pictures + i`."""
        features = self._array(split, "features")
        return features.reshape(-1, features.shape[-1])

    def labels(self, split: str) -> np.ndarray:
        """Returns `[pictures]` int64 labels in `[0, classes)`."""
        return np.array(self._array(split, "labels"))

    def _check_shapes(self, split: str) -> None:
        features, labels = (self._array(split, part) for part in ("features", "labels"))
        expected = (self.views if split == "train" else 1, len(labels), self.feature_dim)
        if features.shape != expected or features.dtype != np.float32 or labels.dtype != np.int64:
            raise InputError(
                f"{self.folder / MANIFEST} says that the features of {split} are float32 {expected}; they are "
                f"{features.dtype} {features.shape}. {_WAY_OUT.capitalize()}."
            )

    def _array(self, split: str, part: str) -> np.ndarray:
        return array_files.open_npy(self.folder / f"{split}_{part}.npy", _WAY_OUT)

    @property
    def views(self) -> int:
        """Views of every meta-training picture; validation and test pictures have one."""
        return self.manifest["views"]

    @property
    def feature_dim(self) -> int:
        """D, the length of a feature."""
        return self.manifest["feature_dim"]

    @property
    def identity(self) -> dict:
        """What the features were made from, without the list of files."""
        return {name: value for name, value in self.manifest.items() if name != "files"}


def extract(
    data: MetaDataset,
    backbone: keras.Model,
    folder: str | os.PathLike,
    views: int = 1,
    augmentation_config: PretrainConfig | None = None,
    devices: Devices | None = None,
) -> bool:
    """Embeds every picture of `data` once, and `views - 1` augmented views of the training pictures, into `folder`.

    View 0 is the plain picture. The cache appears in one move, whole; one that was made from something else, or is
    damaged, is replaced.

    Args:
        data, backbone, folder: what is embedded, by what frozen backbone, and where the cache goes.
        views: R >= 1, views of each training picture.
        augmentation_config: how views are augmented (and their seed); None: the released code's.
        devices: what to compute on; None: one device. Batches are the same ones, and so is the cache. Every worker
            embeds a run of them, and the chief puts these together.

    Returns:
        False if `folder` already held this very cache, and nothing was done.
    """
    require("views", views, views >= 1, "at least 1")
    folder, devices = Path(folder), devices or Devices()
    work = _Extraction(data, backbone, views, augmentation_config or PretrainConfig(), devices)
    devices.agree("pictures, backbone and views", work.identity)
    if devices.any(_holds(folder, work.identity)):
        return False
    stored, wanted = data.train.images.shape[1], backbone.input_shape[1]
    if stored < wanted:
        raise InputError(f"The backbone takes pictures of {wanted} pixels; those of {data.name} have only {stored}.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).exists():
        raise InputError(f"output_dir {folder} holds other files; name a new folder.")
    if devices.workers == 1:
        _write(folder, work, work.features)
    else:
        _write_together(folder, work)
    return True


def _holds(folder: Path, identity: dict) -> bool:
    try:
        return FeatureCache.open(folder).identity == identity
    except InputError:
        return False


@dataclasses.dataclass(frozen=True, eq=False)
class _Extraction:
    """What is embedded, and by what; the fields are arguments of `extract`."""

    data: MetaDataset
    backbone: keras.Model
    views: int
    augmentation: PretrainConfig
    devices: Devices

    @functools.cached_property
    def identity(self) -> dict:
        """What the features are made from, as the manifest says it."""
        fingerprints = {name: self.data.split(name).fingerprint for name in META_SPLITS}
        return {
            "format": _FORMAT,
            "dataset": {"name": self.data.name, "version": self.data.version, "fingerprints": fingerprints},
            "backbone": {"name": self.backbone.name, "weights": weights_fingerprint(self.backbone)},
            "image_size": self.backbone.input_shape[1],
            "feature_dim": self.backbone.output_shape[-1],
            "views": self.views,
            # Views of one picture need no augmentation, so its settings make no difference then.
            "augmentation": dataclasses.asdict(self.augmentation) if self.views > 1 else None,
        }

    def shape(self, split: str) -> tuple[int, int, int]:
        """Views, pictures and D of a split."""
        views = self.views if split == "train" else 1
        return views, len(self.data.split(split).labels), self.backbone.output_shape[-1]

    def own_batches(self, split: str) -> list[tuple[int, slice]]:
        """The batches that this worker embeds: views, and rows of the split."""
        views, count, _ = self.shape(split)
        starts = [(view, start) for view in range(views) for start in range(0, count, _BATCH)]
        own = np.array_split(np.arange(len(starts)), self.devices.workers)[self.devices.worker]
        return [(view, slice(start, min(start + _BATCH, count))) for view, start in (starts[i] for i in own)]

    def features(self, split: str) -> Iterator[np.ndarray]:
        """Yields `[rows, D]` float32 features of this worker's batches."""
        batches = self.own_batches(split)
        rows = sum(part.stop - part.start for _, part in batches)
        with tqdm(total=rows, unit="picture", desc=f"embed {split}", disable=not self.devices.chief) as progress:
            pictures = (self._pictures(split, view, part) for view, part in batches)
            for block in _embedded(self.backbone, pictures, self.devices):
                yield block
                progress.update(len(block))

    def _pictures(self, split: str, view: int, part: slice):
        images, size = self.data.split(split).images, self.backbone.input_shape[1]
        if view == 0:
            return centre_crop(images[part], size)
        seed = tf.constant([self.augmentation.seed, view * len(images) + part.start])
        return augmentation.augment(images[part], seed, size, self.augmentation)


def _write(folder: Path, work: _Extraction, features: Callable[[str], Iterable[np.ndarray]]) -> None:
    """Writes the cache; `features(split)` gives its rows, view by view, in blocks `[rows, D]`."""
    with run_lock.held(folder, beside=True), atomic.new_folder(folder) as partial:
        for split in META_SPLITS:
            np.save(partial / f"{split}_labels.npy", work.data.split(split).labels)
            array_files.write_npy(partial / f"{split}_features.npy", work.shape(split), features(split))
        atomic.write_json(partial / MANIFEST, {**work.identity, "files": digests.of_folder(partial)})


def _write_together(folder: Path, work: _Extraction) -> None:
    """Every worker writes its shards beside `folder`; the chief makes the cache of them. Shards that are there stay."""
    devices = work.devices
    key = hashlib.sha256(json.dumps([work.identity, devices.workers]).encode()).hexdigest()[:12]
    shards = folder.parent / f".shards-{folder.name}-{key}"

    def shard(split: str, worker: int) -> Path:
        return shards / f"{split}_features-{worker}.npy"

    def merged(split: str) -> list[np.ndarray]:
        way_out = f"name an output_dir in a folder that all workers share, or remove {shards}"
        return [array_files.open_npy(shard(split, worker), way_out) for worker in range(devices.workers)]

    for split in META_SPLITS:
        if not shard(split, devices.worker).is_file():
            rows = sum(part.stop - part.start for _, part in work.own_batches(split))
            with atomic.new_file(shard(split, devices.worker)) as partial:
                array_files.write_npy(partial, (rows, work.shape(split)[-1]), work.features(split))
    devices.any(False)  # All shards are there.
    if devices.chief:
        _write(folder, work, merged)
        shutil.rmtree(shards)
    devices.any(False)  # The cache is there.


def _embedded(backbone: keras.Model, batches: Iterable, devices: Devices) -> Iterator[np.ndarray]:
    """Yields `[pictures, D]` float32 features of each batch; every replica of this worker takes whole batches."""

    @tf.function(reduce_retracing=True, autograph=False)
    def forward(batch):
        return backbone(tf.cast(batch, tf.float32), training=False)

    @tf.function(reduce_retracing=True, autograph=False)
    def forward_each(values):
        return devices.strategy.run(forward, (values,))

    if not devices.distributed:
        yield from (forward(batch).numpy() for batch in batches)
        return
    batches, replicas = iter(batches), devices.local_replicas
    while group := list(itertools.islice(batches, replicas)):
        filled = group + group[:1] * (replicas - len(group))
        values = devices.strategy.experimental_distribute_values_from_function(
            lambda context, filled=filled: tf.constant(filled[context.replica_id_in_sync_group % replicas])
        )
        results = devices.strategy.experimental_local_results(forward_each(values))
        yield from (result.numpy() for result in results[: len(group)])
