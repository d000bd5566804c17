"""Pictures to a feature cache: every picture is embedded once, in shards that a run which was stopped goes on from."""

import dataclasses
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from sib_tf import augmentation
from sib_tf.config import PretrainConfig
from sib_tf.datasets import META_SPLITS, MetaDataset
from sib_tf.devices import Devices
from sib_tf.errors import require
from sib_tf.features import FORMAT, Embedder, FeatureCache, SplitRows, weights_fingerprint
from sib_tf.pictures.pixels import fit_stored
from sib_tf.storage import array_files, atomic, run_lock

# Pictures of a shard, about: what a process that is killed has done for nothing, at most.
_SHARD = 4096


def extract(
    data: MetaDataset,
    backbone: keras.Model,
    folder: str | os.PathLike,
    views: int = 1,
    augmentation_config: PretrainConfig | None = None,
    devices: Devices | None = None,
    larger: str = "crop",
) -> bool:
    """Embeds every picture of `data` once, and `views - 1` augmented views of the training pictures, into `folder`.

    View 0 is the plain picture. The cache appears in one move, whole; one that was made from something else, or is
    damaged, is replaced. Stopped, the same call goes on from the last whole shard.

    Args:
        data, backbone, folder: what is embedded, by what frozen backbone, and where the cache goes.
        views: R >= 1, views of each training picture.
        augmentation_config: how views are augmented (and their seed); None: the released code's.
        devices: what to compute on; None: one device. Batches are the same ones, and so is the cache. Every worker
            embeds a run of them, and the chief puts these together.
        larger: what becomes of pictures larger than the backbone's, as `BackboneConfig.larger`.

    Returns:
        False if `folder` already held this very cache, and nothing was done.
    """
    require("views", views, views >= 1, "at least 1")
    folder, devices = Path(folder), devices or Devices()
    work = _Extraction(data, backbone, views, augmentation_config or PretrainConfig(), devices, larger)
    devices.agree("pictures, backbone and views", work.identity)
    if devices.any(FeatureCache.holds(folder, work.identity)):
        return False
    shards = _Shards(folder, work)
    if devices.workers == 1:
        with run_lock.held(folder, beside=True):
            shards.embed()
            shards.write_cache()
        return True
    shards.embed()
    devices.any(False)  # All shards are there.
    if devices.chief:
        with run_lock.held(folder, beside=True):
            shards.write_cache()
    devices.any(False)  # The cache is there.
    return True


@dataclasses.dataclass(frozen=True, eq=False)
class _Extraction:
    """What is embedded, and by what; the fields are arguments of `extract`."""

    data: MetaDataset
    backbone: keras.Model
    views: int
    augmentation: PretrainConfig
    devices: Devices
    larger: str

    @functools.cached_property
    def identity(self) -> dict:
        """What the features are made from, as the manifest says it."""
        fingerprints = {name: self.data.split(name).fingerprint for name in META_SPLITS}
        return {
            "format": FORMAT,
            "dataset": {"name": self.data.name, "version": self.data.version, "fingerprints": fingerprints},
            "backbone": {"name": self.backbone.name, "weights": weights_fingerprint(self.backbone)},
            "image_size": self.size,
            # Of pictures that are cropped or fit, as manifests of earlier versions are, nothing is said.
            **({"larger": self.larger} if self.larger != "crop" else {}),
            "feature_dim": self.backbone.output_shape[-1],
            "views": self.views,
            # Views of one picture need no augmentation, so its settings make no difference then.
            "augmentation": dataclasses.asdict(self.augmentation) if self.views > 1 else None,
        }

    @property
    def size(self) -> int:
        """Side in pixels of the pictures that the backbone takes."""
        return self.backbone.input_shape[1]

    def shape(self, split: str) -> tuple[int, int, int]:
        """Views, pictures and D of a split."""
        views = self.views if split == "train" else 1
        return views, len(self.data.split(split).labels), self.backbone.output_shape[-1]

    def shards(self, split: str, worker: int) -> list[list[tuple[int, slice]]]:
        """The batches that a worker embeds, by shard: views, and rows of the split."""
        views, count, _ = self.shape(split)
        step = self._embedder.batch_size
        batches = [(view, slice(at, min(at + step, count))) for view in range(views) for at in range(0, count, step)]
        first, last = (len(batches) * number // self.devices.workers for number in (worker, worker + 1))
        own, length = batches[first:last], max(1, _SHARD // step)
        return [own[at : at + length] for at in range(0, len(own), length)]

    def features(self, split: str, batches: list[tuple[int, slice]]) -> Iterator[np.ndarray]:
        """Yields `[rows, D]` float32 features of every batch."""
        return self._embedder(self._pictures(split, *batch) for batch in batches)

    @functools.cached_property
    def _embedder(self) -> Embedder:
        return Embedder(self.backbone, self.devices)

    def _pictures(self, split: str, view: int, part: slice):
        images = self.data.split(split).images
        if view == 0:
            return fit_stored(images[part], self.size, self.larger)
        seed = tf.constant([self.augmentation.seed, view * len(images) + part.start])
        return augmentation.augment(images[part], seed, self.size, self.augmentation, self.larger)


class _Shards:
    """The parts of a cache that is being made, in a hidden folder beside it; those that are there stay."""

    def __init__(self, folder: Path, work: _Extraction):
        self.cache, self.work = folder, work
        key = hashlib.sha256(json.dumps([work.identity, work.devices.workers]).encode()).hexdigest()[:12]
        self.folder = folder.parent / f".shards-{folder.name}-{key}"

    def embed(self) -> None:
        """Embeds this worker's shards that are not there yet."""
        for split in META_SPLITS:
            shards = self.work.shards(split, self.work.devices.worker)
            sizes = [sum(part.stop - part.start for _, part in batches) for batches in shards]
            bar = {"unit": "picture", "desc": f"embed {split}", "disable": not self.work.devices.chief}
            with tqdm(total=sum(sizes), **bar) as progress:
                for number, (batches, rows) in enumerate(zip(shards, sizes, strict=True)):
                    path = self._path(split, self.work.devices.worker, number)
                    if path.is_file():
                        progress.initial += rows  # They have taken no time.
                        progress.update(rows)
                        continue
                    blocks = _counted(self.work.features(split, batches), progress)
                    with atomic.new_file(path) as partial:
                        array_files.write_npy(partial, (rows, self.work.shape(split)[-1]), blocks)

    def write_cache(self) -> None:
        """Writes the cache of all workers' shards, and removes these."""
        parts = {name: (self.work.data.split(name).labels, self.work.shape(name)) for name in META_SPLITS}
        splits = {name: SplitRows(*part, self._merged(name)) for name, part in parts.items()}
        FeatureCache.write(self.cache, self.work.identity, splits)
        for left in self.folder.parent.glob(f".shards-{self.cache.name}-????????????"):
            shutil.rmtree(left)

    def _merged(self, split: str) -> Iterator[np.ndarray]:
        way_out = f"name an output_dir in a folder that all workers share, or remove {self.folder}"
        for worker in range(self.work.devices.workers):
            for number in range(len(self.work.shards(split, worker))):
                yield array_files.open_npy(self._path(split, worker, number), way_out)

    def _path(self, split: str, worker: int, number: int) -> Path:
        return self.folder / f"{split}_features-{worker}-{number}.npy"


def _counted(blocks: Iterator[np.ndarray], progress: tqdm) -> Iterator[np.ndarray]:
    for block in blocks:
        yield block
        progress.update(len(block))
