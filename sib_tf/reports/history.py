"""Histories of training: the rows of a `history.csv`."""

import csv
import os
from pathlib import Path

from sib_tf.errors import InputError
from sib_tf.storage import atomic


def read(path: str | os.PathLike, *needed: str) -> list[dict[str, int | float]]:
    """Returns the rows of a `history.csv`, numbers by column; an empty list where there is none.

    Raises an InputError if it is no table of numbers, or one that lacks a column of `needed`.
    """
    path = Path(path)
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{name: _number(text) for name, text in row.items()} for row in csv.DictReader(file, strict=True)]
    except (csv.Error, TypeError, ValueError) as error:  # A row with too few values has None, one with too many a list.
        raise InputError(f"{path} must have a number for every column in every row ({error}); remove it.") from error
    if missing := [name for name in needed if rows and name not in rows[0]]:
        raise InputError(f"{path} has no column {missing[0]}; remove it.")
    return rows


def add(path: str | os.PathLike, row: dict) -> None:
    """Adds a row in one move, values by column, of which the first one counts the steps.

    Rows of this and later steps, which a broken-off run took already, are dropped.
    """
    counter = next(iter(row))
    rows = [old for old in read(path, counter) if old[counter] < row[counter]] + [row]
    lines = [row, *([old.get(name, "") for name in row] for old in rows)]
    atomic.write_text(path, "".join(f"{','.join(map(str, line))}\n" for line in lines))


def _number(text: str) -> int | float:
    value = float(text)
    return int(text) if text.isdecimal() else value
