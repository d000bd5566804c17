"""Features: what a frozen backbone makes of pictures, and caches of them in memory-mapped files."""

import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from sib_tf.backbones.averaged_views import views_of
from sib_tf.datasets import META_SPLITS
from sib_tf.devices import Devices
from sib_tf.errors import InputError
from sib_tf.pictures.pixels import fit_stored
from sib_tf.storage import array_files, atomic, digests

MANIFEST = "manifest.json"
FORMAT = 1
FILES = tuple(f"{split}_{part}.npy" for split in META_SPLITS for part in ("features", "labels"))
_FIELDS = {"format", "dataset", "backbone", "views", "feature_dim", "files"}
_BATCH = 256
_WAY_OUT = "make the cache again with train.extract_features or train.import_features"


def embed(backbone: keras.Model, images: np.ndarray, larger: str = "crop") -> np.ndarray:
    """Embeds pictures with the backbone in inference mode.

    Args:
        backbone: from `sib_tf.backbones`.
        images: `[pictures, height, width, 3]` uint8, of any size.
        larger: what becomes of pictures larger than the backbone's, as `BackboneConfig.larger`.

    Returns:
        `[pictures, D]` float32.
    """
    size, embedder = backbone.input_shape[1], Embedder(backbone, Devices())
    starts = range(0, len(images), step := embedder.batch_size)
    batches = (fit_stored(images[start : start + step], size, larger) for start in starts)
    return np.concatenate(list(embedder(batches)))


def weights_fingerprint(model: keras.Model) -> str:
    """SHA-256 of a model's weights, names and shapes: equal fingerprints give equal features.

    So do the numbers that imported backbones scale pictures with, and the views that are averaged: no weights.
    """
    digest = hashlib.sha256()
    for weight in model.weights:
        value = np.ascontiguousarray(weight.numpy())
        digest.update(f"{weight.path} {value.shape} {value.dtype}".encode())
        digest.update(value)
    for layer in model._flatten_layers():
        if known := _beside_weights(layer):
            digest.update(json.dumps(known).encode())
    return digest.hexdigest()


def read_manifest(folder: Path) -> dict:
    """Reads what a cache was made from, without its features.

    Raises:
        InputError: there is none, or it is not whole.
    """
    if not (folder / MANIFEST).is_file():
        raise InputError(
            f"features_dir {folder} holds no feature cache; make one with train.extract_features, or "
            "train.import_features."
        )
    manifest = atomic.read_json(folder / MANIFEST, "Feature cache manifest")
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files", {}), dict):
        raise InputError(f"{folder / MANIFEST} is no manifest; {_WAY_OUT}.")
    if missing := sorted(_FIELDS - set(manifest)):
        raise InputError(f"{folder / MANIFEST} lacks {missing}; {_WAY_OUT}.")
    if manifest["format"] != FORMAT:
        raise InputError(f"{folder} has cache format {manifest['format']}; this version reads {FORMAT}.")
    return manifest


def _beside_weights(layer: keras.Layer) -> list | None:
    """What a layer does to pictures that no weight of it says, such as the numbers that it scales them by."""
    if isinstance(layer, keras.layers.Rescaling):
        return [np.asarray(numbers).tolist() for numbers in (layer.scale, layer.offset)]
    return getattr(layer, "beside_weights", None)


class SplitRows(NamedTuple):
    """What a cache is written from, of one meta-split.

    Attributes:
        labels: `[pictures]` int64.
        shape: views, pictures and D.
        blocks: `[rows, D]` float32 each, of all views in order, made as they are written.
    """

    labels: np.ndarray
    shape: tuple[int, int, int]
    blocks: Iterable[np.ndarray]


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
        manifest = read_manifest(folder)
        digests.check(folder, {name: manifest["files"].get(name) for name in FILES}, _WAY_OUT)
        cache = cls(folder, manifest)
        for split in META_SPLITS:
            cache._check_shapes(split)
        return cache

    @classmethod
    def holds(cls, folder: str | os.PathLike, identity: dict) -> bool:
        """Returns whether `folder` holds the whole cache of that `identity`.

        Raises an InputError if a cache must not take the folder's place.
        """
        folder = Path(folder)
        if folder.is_file():
            raise InputError(f"output_dir {folder} is a file; name a folder.")
        try:
            if cls.open(folder).identity == identity:
                return True
        except InputError:
            pass
        atomic.require_own(folder, (MANIFEST, *FILES), "output_dir")
        return False

    @staticmethod
    def write(folder: str | os.PathLike, identity: dict, splits: Mapping[str, "SplitRows"]) -> None:
        """Writes a cache whole or not at all, in place of one that is there; `splits` are all three meta-splits."""
        with atomic.new_folder(folder) as partial:
            for split in META_SPLITS:
                labels, shape, blocks = splits[split]
                np.save(partial / f"{split}_labels.npy", labels)
                array_files.write_npy(partial / f"{split}_features.npy", shape, blocks)
            atomic.write_json(partial / MANIFEST, {**identity, "files": digests.of_folder(partial)})

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


class Embedder:
    """A backbone in inference mode on the devices of this process, traced once however many batches come.

    Args:
        backbone: from `sib_tf.backbones`.
        devices: what to compute on; every replica here takes whole batches.

    Attributes:
        batch_size: pictures to embed at once: as many as have the pixels of 256 of mini-ImageNet's, in all views that
            are averaged; at most 256.
    """

    def __init__(self, backbone: keras.Model, devices: Devices):
        self.devices = devices
        views = views_of(backbone)
        self.batch_size = max(1, min(_BATCH, _BATCH * 84**2 // backbone.input_shape[1] ** 2) // views)

        def forward(pictures):
            return backbone(pictures, training=False)

        @tf.function(reduce_retracing=True, autograph=False)
        def forward_each(values):
            return devices.strategy.run(forward, (values,))

        signature = [tf.TensorSpec((None, *backbone.input_shape[1:]), tf.float32)]
        self._forward = tf.function(forward, input_signature=signature, autograph=False)
        self._forward_each = forward_each

    def __call__(self, batches: Iterable) -> Iterator[np.ndarray]:
        """Yields `[pictures, D]` float32 features of each batch of pictures."""
        floats = (tf.cast(batch, tf.float32) for batch in batches)
        if not self.devices.distributed:
            yield from (self._forward(batch).numpy() for batch in floats)
            return
        replicas = self.devices.local_replicas
        while group := list(itertools.islice(floats, replicas)):
            filled = group + group[:1] * (replicas - len(group))
            values = self.devices.strategy.experimental_distribute_values_from_function(
                lambda context, filled=filled: filled[context.replica_id_in_sync_group % replicas]
            )
            results = self.devices.strategy.experimental_local_results(self._forward_each(values))
            yield from (result.numpy() for result in results[: len(group)])
