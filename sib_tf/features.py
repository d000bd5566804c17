"""Pictures to features: every picture is embedded once by the frozen backbone and kept in memory-mapped files."""

import dataclasses
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from sib_tf import array_files, atomic, augmentation, digests
from sib_tf.config import PretrainConfig
from sib_tf.datasets import META_SPLITS, MetaDataset, Split
from sib_tf.errors import InputError

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
    return np.concatenate(list(_embedded(backbone, centre_crop(images, backbone.input_shape[1]), batch_size)))


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

    Returns:
        False if `folder` already held this very cache, and nothing was done.
    """
    if views < 1:
        raise InputError(f"views must be at least 1; got {views}.")
    augmentation_config = augmentation_config or PretrainConfig()
    identity = _identity(data, backbone, views, augmentation_config)
    folder = Path(folder)
    if _holds(folder, identity):
        return False
    stored, wanted = data.train.images.shape[1], backbone.input_shape[1]
    if stored < wanted:
        raise InputError(f"The backbone takes pictures of {wanted} pixels; those of {data.name} have only {stored}.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).exists():
        raise InputError(f"output_dir {folder} holds other files; name a new folder.")
    with atomic.new_folder(folder) as partial:
        for name in META_SPLITS:
            split = data.split(name)
            np.save(partial / f"{name}_labels.npy", split.labels)
            _write_features(partial / f"{name}_features.npy", name, split, backbone, views, augmentation_config)
        atomic.write_json(partial / MANIFEST, {**identity, "files": digests.of_folder(partial)})
    return True


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


def _write_features(path: Path, name: str, split: Split, backbone, views: int, config: PretrainConfig) -> None:
    views = views if name == "train" else 1
    count, size = len(split.images), backbone.input_shape[1]
    features = np.lib.format.open_memmap(path, "w+", np.float32, (views, count, backbone.output_shape[-1]))
    with tqdm(total=views * count, unit="picture", desc=f"embed {name}") as progress:
        for view in range(views):
            pictures = centre_crop(split.images, size) if view == 0 else split.images
            batches = pictures if view == 0 else _Augmented(pictures, view, size, config)
            row = 0
            for batch in _embedded(backbone, batches, _BATCH):
                features[view, row : row + len(batch)] = batch
                row += len(batch)
                progress.update(len(batch))
    features.flush()


class _Augmented:
    """A view of pictures that augments each slice taken from it, by a seed of (seed, view, row)."""

    def __init__(self, images: np.ndarray, view: int, size: int, config: PretrainConfig):
        self.images, self.view, self.size, self.config = images, view, size, config

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice) -> tf.Tensor:
        seed = [self.config.seed, self.view * len(self.images) + rows.start]
        return augmentation.augment(self.images[rows], tf.constant(seed), self.size, self.config)


def _embedded(backbone: keras.Model, images, batch_size: int) -> Iterator[np.ndarray]:
    @tf.function(reduce_retracing=True)
    def forward(batch):
        return backbone(tf.cast(batch, tf.float32), training=False)

    for start in range(0, len(images), batch_size):
        yield forward(images[start : start + batch_size]).numpy()
