"""The data sets of the comparison, out of feature caches, .npz files and what is made here."""

import dataclasses
import hashlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.unseen import embeddings
from sib_tf.errors import InputError
from sib_tf.features import FeatureCache
from sib_tf.storage import array_files, atomic

GENERATED = {
    "digits, pixels": embeddings.digits,
    "docstrings, TF-IDF and SVD": embeddings.docstrings_reduced,
    "docstrings, hashed": embeddings.docstrings_hashed,
}


@dataclasses.dataclass(frozen=True, eq=False)
class DataSet:
    """Rows that episodes are drawn from.

    Attributes:
        name: as the page has it; of a domain gap "DATA SET: DOMAIN -> DOMAIN".
        rows: `[rows, D]` float32.
        labels: `[rows]` int64, the class of every row; -1 where a row is neither labelled nor a query.
        query_labels: `[rows]` int64, the same of the unlabelled rows and queries; None: any row may be either.
        base_mean: `[D]` float32, the mean feature of the backbone's training pictures; zeros where it is not known.
    """

    name: str
    rows: np.ndarray
    labels: np.ndarray
    base_mean: np.ndarray
    query_labels: np.ndarray | None = None

    @property
    def is_gap(self) -> bool:
        """Whether labelled rows and queries come from two domains."""
        return self.query_labels is not None

    @property
    def digest(self) -> str:
        """SHA-256 of rows and labels."""
        found = hashlib.sha256(np.ascontiguousarray(self.rows, np.float32))
        for labels in (self.labels, self.labels if self.query_labels is None else self.query_labels):
            found.update(np.ascontiguousarray(labels, "<i8"))
        return found.hexdigest()


def load(path: str | os.PathLike | None, only: list[str] | None = None) -> Iterator[DataSet]:
    """Yields the data sets that the JSON file at `path` names, and then those that are made here, one at a time.

    The file holds an object: a name, and the folder of a feature cache (whose test split it is), or a .npz file with X
    `[rows, D]` and y `[rows]` and perhaps domain `[rows]`, or an object of domains and such files. Paths are relative
    to the file. Data sets that are not there are passed over, and named. `only` names some of them.
    """
    named = {**(_named(path) if path else {}), **GENERATED}
    if unknown := [name for name in only or () if name not in named]:
        raise InputError(f"only must be among {'; '.join(named)}; got {'; '.join(unknown)}.")
    for name, source in named.items():
        if only and name not in only:
            continue
        if callable(source):
            rows, labels = source()
            yield _whole(name, rows, labels)
            continue
        files = source.values() if isinstance(source, dict) else [source]
        if missing := [str(file) for file in files if not file.exists()]:
            print(f"{name}: left out, there is no {missing[0]}.", flush=True)
            continue
        yield from _domains(name, source)


def _named(path: str | os.PathLike) -> dict:
    """The sources of a JSON file, as paths or objects of paths."""
    given, folder = atomic.read_json(path, "data_sets"), Path(path).parent
    if not isinstance(given, dict):
        raise InputError(f"data_sets {path} must hold an object of names and paths; got a {type(given).__name__}.")
    found = {}
    for name, source in given.items():
        paths = source if isinstance(source, dict) else {"": source}
        if not paths or not all(isinstance(each, str) for each in paths.values()):
            raise InputError(
                f"data_sets {path}: {name} must be a path or an object of domains and paths; got {source}."
            )
        inside = {domain: folder / each for domain, each in paths.items()}
        found[name] = inside if isinstance(source, dict) else inside[""]
    return found


def _domains(name: str, source: Path | dict[str, Path]) -> Iterator[DataSet]:
    """A data set, or each of its domains by itself and then every pair of two."""
    if not isinstance(source, dict) and source.is_dir():
        yield _cached(name, source)
        return
    parts = _parts(source)
    if len(parts) == 1:
        yield _whole(name, *next(iter(parts.values())))
        return
    for domain, (rows, labels) in parts.items():
        yield _whole(f"{name}: {domain}", rows, labels)
    for one, other in itertools.permutations(parts, 2):
        yield _gap(f"{name}: {one} -> {other}", *parts[one], *parts[other])


def _parts(source: Path | dict[str, Path]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Rows and labels by domain; of a file without domains, one of any name."""
    if isinstance(source, dict):
        return {domain: _arrays(path)[:2] for domain, path in source.items()}
    rows, labels, domains = _arrays(source)
    if domains is None:
        return {"": (rows, labels)}
    return {str(domain): (rows[domains == domain], labels[domains == domain]) for domain in np.unique(domains)}


def _arrays(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    arrays = array_files.read_npz(path, "write it with X [rows, D] and y [rows]")
    rows, labels, domains = (arrays.get(name) for name in ("X", "y", "domain"))
    if (
        rows is None
        or labels is None
        or rows.ndim != 2
        or any(each is not None and each.shape != rows.shape[:1] for each in (labels, domains))
    ):
        shapes = {name: array.shape for name, array in arrays.items()}
        raise InputError(f"{path} must hold X [rows, D], y [rows] and perhaps domain [rows]; got {shapes}.")
    return rows.astype(np.float32), labels.astype(np.int64), domains


def _cached(name: str, folder: Path) -> DataSet:
    cache = FeatureCache.open(folder)
    table = cache.table("train")
    mean = table.mean(axis=0, dtype=np.float64) if len(table) else np.zeros(cache.feature_dim)
    return DataSet(name, cache.table("test"), cache.labels("test"), mean.astype(np.float32))


def _whole(name: str, rows: np.ndarray, labels: np.ndarray) -> DataSet:
    return DataSet(name, rows, labels, np.zeros(rows.shape[1], np.float32))


def _gap(name: str, rows, labels, other_rows, other_labels) -> DataSet:
    nobody = [np.full(len(each), -1, np.int64) for each in (labels, other_labels)]
    return DataSet(
        name,
        np.concatenate([rows, other_rows]),
        np.concatenate([labels, nobody[1]]),
        np.zeros(rows.shape[1], np.float32),
        np.concatenate([nobody[0], other_labels]),
    )
