"""Histories of training: the rows of a `history.csv`."""

import csv
import io
import os
from pathlib import Path

from sib_tf.errors import InputError
from sib_tf.storage import atomic


def read(path: str | os.PathLike) -> list[dict]:
    """Returns the rows of a `history.csv`; an empty list where there is none.

    Raises:
        InputError: it is no table.
    """
    path = Path(path)
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no table ({error}); remove it.") from error
    if any(None in row or None in row.values() for row in rows):
        raise InputError(f"{path} has a row with more or fewer values than its first line names; remove it.")
    return rows


def add(path: str | os.PathLike, row: dict) -> None:
    """Adds a row in one move; rows of this and later steps, which a broken-off run took already, are dropped.

    Args:
        path: of a `history.csv`; made where there is none.
        row: its values by column; the first one counts the steps.

    Raises:
        InputError: a row has no number there.
    """
    counter, rows = next(iter(row)), read(path)
    rows = [old for old, step in zip(rows, column(rows, counter), strict=True) if step < row[counter]] + [row]
    text = io.StringIO()
    table = csv.DictWriter(text, list(row), extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    atomic.write_text(path, text.getvalue())


def column(rows: list[dict], name: str) -> list[float]:
    """Returns one column as numbers.

    Raises:
        InputError: a row has none there.
    """
    try:
        return [float(row[name]) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"history.csv has a row without a number for {name}; remove the row or the file.") from error
