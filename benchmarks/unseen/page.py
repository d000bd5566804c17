"""The page's section on unseen features (templates/unseen.md), from the files that `benchmarks.unseen` wrote."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.records import points
from benchmarks.unseen import aims, figure
from benchmarks.unseen.cells import WAYS
from benchmarks.unseen.names import in_words
from sib_tf import templates
from sib_tf.errors import InputError
from sib_tf.storage import atomic

COLUMNS = ("balanced", "Dirichlet(2)", "Dirichlet(0.5)", "5 of 20", "2 ways", "uneven", "gap")
_KEYS = {"cell", "data_set", "column", "ways", "shot", "distribution", "episodes", "seed", "methods", "hardware"}
_WORST = 10


def load(folder: str | os.PathLike) -> list[dict]:
    """Reads the records of all cells in `folder` that the head took part in; an InputError if there are none."""
    read = [atomic.read_json(path, "Results") for path in sorted(Path(folder).glob("*.json"))]
    found = [record for record in read if isinstance(record, dict) and set(record) >= _KEYS]
    found = [record for record in found if {"head", "prototypes"} <= set(record["methods"])]
    if not found:
        raise InputError(f"unseen_dir {folder} holds no results; make some with benchmarks.unseen.")
    return found


def write(folder: Path) -> Path:
    """Writes UNSEEN.md and its figure into `folder`; returns the page's path."""
    picture, records = folder / "unseen.png", load(folder)
    figure.draw(records, picture)
    path = folder / "UNSEEN.md"
    atomic.write_text(
        path, templates.render("templates/unseen.md", "benchmarks", unseen=section(records, picture.name))
    )
    return path


def section(records: Sequence[dict], picture: str) -> dict:
    """What the template has: all tables; `picture` is the figure's address as the page links it."""
    heads = dict.fromkeys((h["folder"], h["weights"]) for h in (r["methods"]["head"]["config"] for r in records))
    columns = [f"{column} ({len(_of(records, column))})" for column in COLUMNS if _of(records, column)]
    return {
        "figure": picture,
        "cells": len(records),
        "data_sets": len({record["data_set"] for record in records}),
        "episodes": sorted({record["episodes"] for record in records}),
        "seed": records[0]["seed"],
        "hardware": sorted({record["hardware"] for record in records}),
        "head": " or ".join(f"`{folder}` (`{weights[:12]}`)" for folder, weights in heads),
        "columns": columns,
        "headers": {
            "methods": ("method", *columns, "all", "the head over it", "ms an episode"),
            "by_data_set": ("data set", "cells", "K = 0", *columns, "calibration error"),
        },
        "methods": _methods(records),
        "by_data_set": _by_data_set(records),
        "by_shot": _by_shot(records),
        "worst": _worst(records),
        "aims": aims.counted(records),
    }


def _of(records: Sequence[dict], column: str) -> list[dict]:
    return [record for record in records if record["column"] == column]


def _methods(records: Sequence[dict]) -> list[tuple[str, ...]]:
    """A row for each method: its gain over K = 0 by column and over all cells, the head's lead, and its time."""
    labels = {label for record in records for label in record["methods"]}
    columns = [column for column in COLUMNS if _of(records, column)]
    rows = []
    for label in sorted(labels, key=lambda label: -aims.mean(records, label, "difference")):
        cells = [_mean(_of(records, column), label) for column in columns]
        milliseconds = 1e3 * float(
            np.median([r["methods"][label]["seconds_per_episode"] for r in _with(records, label)])
        )
        fields = ("difference",) if label == "head" else ("difference", "head_over")
        overall = [points(aims.mean(records, label, f), aims.half_width(records, label, f), "+") for f in fields]
        rows.append((in_words(label), *cells, *overall, *[""] * (2 - len(fields)), f"{milliseconds:.2g}"))
    return rows


def _mean(records: Sequence[dict], label: str) -> str:
    found = aims.mean(records, label, "difference")
    return "" if np.isnan(found) else f"{100 * found:+.2f}"


def _with(records: Sequence[dict], label: str) -> list[dict]:
    return [record for record in records if label in record["methods"]]


def _by_data_set(records: Sequence[dict]) -> list[tuple[str, ...]]:
    """For each data set K = 0, the head's gain by column, and its calibration error; its domain gaps are one row."""
    names = dict.fromkeys(_family(record) for record in records)
    columns, rows = [column for column in COLUMNS if _of(records, column)], []
    for name in names:
        own = [record for record in records if _family(record) == name]
        base = np.mean([record["methods"]["prototypes"]["accuracy"] for record in own])
        error = np.mean([record["methods"]["head"]["ece"] for record in own])
        cells = [_mean(_of(own, column), "head") for column in columns]
        rows.append((name, str(len(own)), f"{100 * base:.1f}", *cells, f"{100 * error:.1f}"))
    return rows


def _family(record: dict) -> str:
    name = record["data_set"]
    return f"{name.split(': ')[0]}: gaps" if record["column"] == "gap" else name


def _by_shot(records: Sequence[dict]) -> list[tuple[str, ...]]:
    """The head's gain by ways, shots and column."""
    columns, rows = [column for column in COLUMNS if _of(records, column)], []
    for ways, shot in dict.fromkeys((r["ways"], r["shot"]) for r in sorted(records, key=_place)):
        own = [record for record in records if (record["ways"], record["shot"]) == (ways, shot)]
        rows.append((ways, shot, *[_mean(_of(own, column), "head") for column in columns]))
    return rows


def _place(record: dict) -> tuple:
    return (
        list(WAYS).index(record["ways"]),
        "-" in record["shot"],
        len(record["shot"]),
        record["shot"],
    )


def _worst(records: Sequence[dict]) -> list[tuple[str, ...]]:
    """The cells in which the head gains least."""
    rows = []
    for record in sorted(records, key=lambda r: r["methods"]["head"]["difference"])[:_WORST]:
        head, base = (record["methods"][name] for name in ("head", "prototypes"))
        peers = {k: f for k, f in record["methods"].items() if f["name"] not in ("head", "balanced head")}
        label, best = max(peers.items(), key=lambda item: item[1]["difference"])
        rows.append((
            record["data_set"],
            f"{record['ways']}, {record['shot']} shot, {record['distribution']}",
            points(base["accuracy"], base["ci95"]),
            points(head["difference"], head["difference_ci95"], "+"),
            f"{in_words(label)} {points(best['difference'], best['difference_ci95'], '+')}",
        ))  # fmt: skip
    return rows
