"""Pictures to features: every picture is embedded once by the frozen backbone and kept in memory-mapped files."""

import dataclasses
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from sib_tf import augmentation
from sib_tf.config import PretrainConfig
from sib_tf.datasets import META_SPLITS, MetaDataset, Split
from sib_tf.devices import Devices
from sib_tf.errors import InputError
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


def embed(backbone: keras.Model, images: np.ndarray, batch_size: int = _BATCH) -> np.ndarray:
    """Embeds pictures with the backbone in inference mode.

    Args:
        backbone: from `sib_tf.backbones`.
        images: `[pictures, height, width, 3]` uint8, at least as large as the backbone wants; the middle is taken.
        batch_size: pictures per call; only speed and memory depend on it.

    Returns:
        `[pictures, D]` float32.
    """
    pictures = centre_crop(images, backbone.input_shape[1])
    batches = (pictures[start : start + batch_size] for start in range(0, len(pictures), batch_size))
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
            raise InputError(f"{folder / MANIFEST} is no manifest; make the cache again with train.extract_features.")
        if missing := sorted(_FIELDS - set(manifest)):
            raise InputError(f"{folder / MANIFEST} lacks {missing}; make the cache again with train.extract_features.")
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
        data: the data set.
        backbone: the frozen backbone.
        folder: where the cache goes.
        views: R >= 1, views of each training picture.
        augmentation_config: how views are augmented (and their seed); None: the released code's.
        devices: what to compute on; None: one device. Batches are the same ones, and so is the cache. Every worker
            embeds a run of them, and the chief puts these together.

    Returns:
        False if `folder` already held this very cache, and nothing was done.
    """
    if views < 1:
        raise InputError(f"views must be at least 1; got {views}.")
    augmentation_config = augmentation_config or PretrainConfig()
    identity = _identity(data, backbone, views, augmentation_config)
    folder, devices = Path(folder), devices or Devices()
    devices.agree("pictures, backbone and views", identity)
    if devices.any(_holds(folder, identity)):
        return False
    stored, wanted = data.train.images.shape[1], backbone.input_shape[1]
    if stored < wanted:
        raise InputError(f"The backbone takes pictures of {wanted} pixels; those of {data.name} have only {stored}.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).exists():
        raise InputError(f"output_dir {folder} holds other files; name a new folder.")
    embedder = Embedder(backbone, views, augmentation_config, devices)
    if devices.workers == 1:
        _write(folder, identity, data, embedder.write)
    else:
        _write_together(folder, identity, data, embedder)
    return True


def _write(folder: Path, identity: dict, data: MetaDataset, write_features) -> None:
    """Writes the cache; `write_features(path, split, name)` writes one file of features."""
    with run_lock.held(folder, beside=True), atomic.new_folder(folder) as partial:
        for name in META_SPLITS:
            split = data.split(name)
            np.save(partial / f"{name}_labels.npy", split.labels)
            write_features(partial / f"{name}_features.npy", split, name)
        atomic.write_json(partial / MANIFEST, {**identity, "files": digests.of_folder(partial)})


def _write_together(folder: Path, identity: dict, data: MetaDataset, embedder: "Embedder") -> None:
    """Every worker writes its shards beside `folder`; the chief makes the cache of them. Shards that are there stay."""
    devices = embedder.devices
    key = hashlib.sha256(json.dumps([identity, devices.workers]).encode()).hexdigest()[:12]
    shards = folder.parent / f".shards-{folder.name}-{key}"
    for name in META_SPLITS:
        path = _shard(shards, name, devices.worker)
        if not path.is_file():
            with atomic.new_file(path) as partial:
                embedder.write(partial, data.split(name), name)
    devices.any(False)  # All shards are there.

    def merge(path: Path, split: Split, name: str) -> None:
        paths = [_shard(shards, name, worker) for worker in range(devices.workers)]
        if missing := [str(p) for p in paths if not p.is_file()]:
            raise InputError(
                f"output_dir {folder} must lie in a folder that all workers share; {missing[0]} is not here."
            )
        shape = (embedder.views_of(name), len(split.images), embedder.feature_dim)
        features = np.lib.format.open_memmap(path, "w+", np.float32, shape)
        parts = [array_files.open_npy(p, f"remove {shards}") for p in paths]
        np.concatenate(parts, out=features.reshape(-1, shape[-1]))
        features.flush()

    if devices.chief:
        _write(folder, identity, data, merge)
        shutil.rmtree(shards)
    devices.any(False)  # The cache is there.


def _shard(folder: Path, name: str, worker: int) -> Path:
    return folder / f"{name}_features-{worker}.npy"


def _identity(data: MetaDataset, backbone: keras.Model, views: int, config: PretrainConfig) -> dict:
    return {
        "format": _FORMAT,
        "dataset": {
            "name": data.name,
            "version": data.version,
            "fingerprints": {name: data.split(name).fingerprint for name in META_SPLITS},
        },
        "backbone": {"name": backbone.name, "weights": weights_fingerprint(backbone)},
        "image_size": backbone.input_shape[1],
        "feature_dim": backbone.output_shape[-1],
        "views": views,
        # Views of one picture need no augmentation, so its settings make no difference then.
        "augmentation": dataclasses.asdict(config) if views > 1 else None,
    }


def _holds(folder: Path, identity: dict) -> bool:
    try:
        return FeatureCache.open(folder).identity == identity
    except InputError:
        return False


class Embedder:
    """Embeds the views of a split, batch by batch, each replica whole batches.

    Args:
        backbone: the frozen backbone, loaded in the scope of `devices.strategy`.
        views: of each training picture; others have one.
        config: how views are augmented.
        devices: what to compute on.
    """

    def __init__(self, backbone: keras.Model, views: int, config: PretrainConfig, devices: Devices):
        self.views, self.config, self.devices = views, config, devices
        self.backbone, self.feature_dim = backbone, backbone.output_shape[-1]

    def views_of(self, name: str) -> int:
        """Returns the number of views that pictures of split `name` have."""
        return self.views if name == "train" else 1

    def write(self, path: Path, split: Split, name: str) -> None:
        """Writes this worker's rows of a split as `.npy`: `[views, pictures, D]`, or of several workers `[rows, D]`."""
        views, count = self.views_of(name), len(split.images)
        batches = [(view, start) for view in range(views) for start in range(0, count, _BATCH)]
        own = [batches[i] for i in np.array_split(np.arange(len(batches)), self.devices.workers)[self.devices.worker]]
        rows = sum(min(_BATCH, count - start) for _, start in own)
        shape = (views, count) if self.devices.workers == 1 else (rows,)
        bar = tqdm(total=rows, unit="picture", desc=f"embed {name}", disable=not self.devices.chief)
        # Written, not memory-mapped: on a full disk a write is refused, where a map would kill the process.
        with path.open("wb") as file, bar as progress:
            header = {"descr": "<f4", "fortran_order": False, "shape": (*shape, self.feature_dim)}
            np.lib.format.write_array_header_1_0(file, header)
            for batch in _embedded(self.backbone, self._pictures(split.images, own), self.devices):
                file.write(np.ascontiguousarray(batch, "<f4"))
                progress.update(len(batch))

    def _pictures(self, images: np.ndarray, batches: list[tuple[int, int]]) -> Iterator:
        size = self.backbone.input_shape[1]
        for view, start in batches:
            pictures = _Augmented(images, view, size, self.config) if view else centre_crop(images, size)
            yield pictures[start : start + _BATCH]


class _Augmented:
    """A view of pictures that augments each slice taken from it, by a seed of (seed, view, row)."""

    def __init__(self, images: np.ndarray, view: int, size: int, config: PretrainConfig):
        self.images, self.view, self.size, self.config = images, view, size, config

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice) -> tf.Tensor:
        seed = [self.config.seed, self.view * len(self.images) + rows.start]
        return augmentation.augment(self.images[rows], tf.constant(seed), self.size, self.config)


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
