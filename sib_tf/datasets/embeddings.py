"""Anyone's embeddings, of text, sound or pictures, out of .npz, .npy, .csv and .parquet; none is executed."""

import array
import contextlib
import csv
import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from sib_tf.datasets import META_SPLITS
from sib_tf.datasets.class_splits import SPLIT_NAMES, split_classes
from sib_tf.datasets.embedding_options import EmbeddingOptions
from sib_tf.errors import InputError, first_line
from sib_tf.storage import array_files

# Features, labels, and splits where there are some.
_Parts = tuple[np.ndarray, list[str], list[str] | None]
_ARRAYS = "save numbers and text alone (labels as y.astype(str)), more than 1 GiB as .npy"


@dataclasses.dataclass(frozen=True, eq=False)
class Embeddings:
    """Features of anyone's, the class of every row, and the meta-split of every class.

    Attributes:
        path: the file that the features are of.
        features: `[rows, D]`, D >= 2, real numbers or booleans of any type, not all finite perhaps; memory-mapped
            where the file is a .npy.
        labels: `[rows]` int64, into the sorted names of all classes.
        classes: sorted class names of each meta-split, disjoint; a split may have none.
    """

    path: Path
    features: np.ndarray
    labels: np.ndarray
    classes: dict[str, tuple[str, ...]]

    def members(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns the row numbers of a meta-split, ascending, and their labels in `[0, classes)`; `[n]` int64 both."""
        names = sorted(name for of_split in self.classes.values() for name in of_split)
        place = {name: number for number, name in enumerate(self.classes[split])}
        found = np.array([place.get(name, -1) for name in names], np.int64)[self.labels]
        rows = np.flatnonzero(found >= 0)
        return rows, found[rows]


def read(path: str | os.PathLike, options: EmbeddingOptions | None = None) -> Embeddings:
    """Reads features, labels and splits; of a .npy's features only the header.

    Raises:
        InputError: a file is missing, damaged, of another kind, or too large for its kind; rows are of unequal length
            or without a label, labels are of another number, a class is in two splits, or there are too few classes.
    """
    path, options = Path(path), options or EmbeddingOptions()
    readers = {".npz": _npz, ".npy": _npy, ".csv": _csv, ".parquet": _parquet}
    if (kind := path.suffix.lower()) not in readers:
        raise InputError(f"features must end in .npz, .npy, .csv or .parquet; got {path}.")
    if options.labels and kind != ".npy":
        raise InputError(f"labels={options.labels} is for a .npy; {path} has its own. Leave it out.")
    if not path.is_file():
        raise InputError(f"features must be an existing file; {path} is not.")
    features, labels, splits = readers[kind](path, options)
    if features.ndim != 2 or features.dtype.kind not in "biuf":
        raise InputError(
            f"features of {path} must be numbers [rows, D]; they are {features.dtype} {features.shape}. Name "
            "others, or save them so."
        )
    if not len(features) or features.shape[1] < 2:
        raise InputError(f"features of {path} must have a row, of 2 numbers at least; they are {features.shape}.")
    if len(labels) != len(features):
        raise InputError(f"{path} has {len(features)} rows but {len(labels)} labels; every row needs one.")
    classes = _classes(path, labels, splits, options)
    number = {name: i for i, name in enumerate(sorted(name for names in classes.values() for name in names))}
    return Embeddings(path, features, np.fromiter((number[name] for name in labels), np.int64, len(labels)), classes)


def at_row(path: Path, row: int) -> str:
    """Names a row of a file as errors do."""
    return f"Row {row} (counted from 0) of {path}"


def _classes(path: Path, labels: list[str], splits: list[str] | None, options: EmbeddingOptions) -> dict:
    for row, name in enumerate(labels):
        if name in ("", "-1"):
            what = "has no label" if name == "" else "is labelled -1, which marks unlabelled rows"
            raise InputError(f"{at_row(path, row)} {what}; leave such rows out.")
    names = sorted(set(labels))
    least = 3 if splits is None and not options.all_for else 2
    if len(names) < least:
        way_out = "add classes" if least == 2 else "add classes, or put all into one split with all_for=test"
        raise InputError(f"{path} has {len(names)} classes {names}; at least {least} are needed: {way_out}.")
    if options.all_for:
        classes = {options.all_for: names}
    elif splits is None:
        classes = split_classes(names, options)
    else:
        classes = _given_classes(path, labels, splits)
    return {split: tuple(sorted(classes.get(split, ()))) for split in META_SPLITS}


def _given_classes(path: Path, labels: list[str], splits: list[str]) -> dict[str, list[str]]:
    if len(splits) != len(labels):
        raise InputError(f"{path} has {len(labels)} labels but {len(splits)} splits; every row needs one.")
    split_of: dict[str, str] = {}
    for row, (name, text) in enumerate(zip(labels, splits, strict=True)):
        if (split := SPLIT_NAMES.get(text.lower())) is None:
            raise InputError(f"{at_row(path, row)} is of split {text!r}; splits are train, validation and test.")
        if split_of.setdefault(name, split) != split:
            raise InputError(
                f"{at_row(path, row)} puts class {name!r} into {split}, an earlier row into {split_of[name]}; "
                "meta-splits have disjoint classes: put each class into one."
            )
    return {split: [name for name in split_of if split_of[name] == split] for split in META_SPLITS}


def _npz(path: Path, options: EmbeddingOptions) -> _Parts:
    arrays = array_files.read_npz(path, _ARRAYS)

    def of(flag: str, name: str) -> np.ndarray:
        if name not in arrays:
            raise InputError(f"{path} has no array {name!r}, but {sorted(arrays)[:9]}; name one with {flag}.")
        return arrays[name]

    features, labels = of("x_key", options.x_key), _texts(path, of("y_key", options.y_key))
    name = options.split_column or ("split" if "split" in arrays else None)
    return features, labels, None if name is None else _texts(path, of("split_column", name))


def _npy(path: Path, options: EmbeddingOptions) -> _Parts:
    features = array_files.open_npy(path, _ARRAYS)
    if not options.labels:
        raise InputError(f"labels is required for {path}: name a file with a label a row, .npy, .txt or .csv.")
    file = Path(options.labels)
    if options.split_column and file.suffix != ".csv":
        raise InputError(f"split_column needs labels in a .csv, with that column; got {file}.")
    if file.suffix == ".csv":
        return features, *_csv(file, options, with_features=False)[1:]
    if file.suffix == ".npy":
        return features, _texts(file, array_files.open_npy(file, _ARRAYS)), None
    if file.suffix == ".txt":
        with _reading(file):
            return features, file.read_text(encoding="utf-8-sig").splitlines(), None
    raise InputError(f"labels must end in .npy, .txt or .csv; got {file}.")


def _csv(path: Path, options: EmbeddingOptions, with_features: bool = True) -> _Parts:
    """Reads a table with a header; the features are float32."""
    rows = _csv_rows(path)
    header = next(rows, [])
    label, split = _places(path, header, options)
    others = [i for i in range(len(header)) if i not in (label, split)] if with_features else []
    # Not a list: that takes eight times the room.
    numbers, labels, splits = array.array("f"), [], []
    for row, cells in enumerate(rows):
        if len(cells) != len(header):
            raise InputError(f"{at_row(path, row)} has {len(cells)} cells, its header {len(header)}; mend that row.")
        try:
            numbers.extend([float(cells[i]) for i in others])
        except ValueError as error:
            raise _no_number(path, row, header, cells, others) from error
        labels.append(cells[label])
        if split is not None:
            splits.append(cells[split])
    features = np.asarray(numbers).reshape(len(labels), len(others))
    return features, labels, None if split is None else splits


def _csv_rows(path: Path) -> Iterator[list[str]]:
    """Yields the cells of every line that has any."""
    with _reading(path), path.open(encoding="utf-8-sig", newline="") as file:
        yield from filter(None, csv.reader(file, strict=True))


def _no_number(path: Path, row: int, header: list[str], cells: list[str], others: list[int]) -> InputError:
    for i in others:
        try:
            float(cells[i])
        except ValueError:
            break
    return InputError(
        f"{at_row(path, row)} has {cells[i][:40]!r} in column {header[i]!r}; columns but label_column and split_column "
        "must be numbers. Leave such columns out."
    )


def _places(path: Path, header: Sequence[str], options: EmbeddingOptions) -> tuple[int, int | None]:
    """Returns where the columns of labels and splits are; None: there are no splits."""
    header = list(header)
    for flag in ("label_column", "split_column"):
        if (name := getattr(options, flag)) is not None and name not in header:
            raise InputError(f"{path} has no column {name!r}, but {header[:9]}; name one with {flag}.")
    return header.index(options.label_column), options.split_column and header.index(options.split_column)


@np.errstate(over="ignore")  # An infinity is told of later, with its row.
def _parquet(path: Path, options: EmbeddingOptions) -> _Parts:
    try:
        import pandas
        from pyarrow import parquet
    except ImportError as error:
        raise InputError(
            f"{path} is read by pandas and pyarrow, of which one is not installed: pip install pandas pyarrow, or save "
            "it as .npz or .csv."
        ) from error
    with _reading(path):
        _check_size(parquet.read_metadata(path))
        frame = pandas.read_parquet(path, engine="pyarrow")
    places = _places(path, list(map(str, frame.columns)), options)
    labels, splits = (None if i is None else _column_texts(path, frame.iloc[:, i]) for i in places)
    rest = frame.iloc[:, [i for i in range(frame.shape[1]) if i not in places]]
    if rest.shape[1] == 1 and rest.dtypes.iloc[0].kind == "O":
        return _stacked(path, rest.iloc[:, 0]), labels, splits
    for name, kind in rest.dtypes.items():
        if not pandas.api.types.is_numeric_dtype(kind):
            raise InputError(
                f"Column {name!r} of {path} holds {kind}; columns but label_column and split_column must be numbers, "
                "or one column lists of numbers. Leave such columns out."
            )
    return rest.to_numpy(np.float32, na_value=np.nan), labels, splits


def _check_size(metadata) -> None:
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    values = sum(group.column(i).num_values for group in groups for i in range(metadata.num_columns))
    if 4 * values > array_files.MOST_BYTES:
        raise ValueError(f"it unpacks to {values:,} values; at most 1 GiB is read, larger ones as .npy")


def _stacked(path: Path, lists) -> np.ndarray:
    """Puts a column of lists of numbers together, `[rows, D]` float32."""
    rows = []
    for row, values in enumerate(lists):
        try:
            rows.append(np.asarray(values, np.float32))
        except (TypeError, ValueError) as error:
            raise InputError(f"{at_row(path, row)} holds {str(values)[:40]!r}, no list of numbers.") from error
        if rows[-1].shape != rows[0].shape or rows[-1].ndim != 1:
            raise InputError(
                f"{at_row(path, row)} is of shape {rows[-1].shape}, row 0 of {rows[0].shape}; mend that row."
            )
    return np.stack(rows) if rows else np.zeros((0, 0), np.float32)


def _column_texts(path: Path, column) -> list[str]:
    values = column.to_numpy()
    if values.dtype != object:
        return _texts(path, values)
    return ["" if missing else str(value) for value, missing in zip(values, column.isna(), strict=True)]


def _texts(path: Path, values: np.ndarray) -> list[str]:
    """Text or whole numbers, `[rows]`, as text."""
    if values.ndim != 1:
        raise InputError(f"Labels and splits in {path} must be one a row; they are of shape {values.shape}.")
    if values.dtype.kind == "f":
        whole = (np.floor(values) == values) & (np.abs(values) < 2**53)  # Not NaN, nor infinities.
        if not whole.all():
            row = int(whole.argmin())
            raise InputError(f"{at_row(path, row)} is labelled {values[row]}; labels are text or whole numbers.")
        values = values.astype(np.int64)
    with _reading(path):
        return [value.decode() if isinstance(value, bytes) else str(value) for value in values.tolist()]


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Names the file that Python, csv or pyarrow has given up on."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or first_line(error)}).") from error
    except Exception as error:  # Broken bytes lead pyarrow to whatever it raises.
        raise InputError(f"{path} cannot be read ({first_line(error)}); mend it, or save it anew.") from error
