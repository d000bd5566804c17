"""Figures of a long run, kept as JSON in `fuzz/recorded/` and shown in docs/robustness.md."""

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path

from sib_tf import templates
from sib_tf.storage import atomic

RECORDED = Path(__file__).parent / "recorded"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "robustness.md"
_PACKAGES = ("tensorflow", "keras", "numpy", "ai-edge-litert", "hypothesis")


def write(name: str, figures: list[dict], recorded: Path = RECORDED, page: Path = PAGE) -> None:
    """Writes the figures of a run, "fuzz" or "soak", and the page of all runs.

    `figures` are the rows of its table, all with the same keys.
    """
    record = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "python": platform.python_version(),
        "versions": {package: importlib.metadata.version(package) for package in _PACKAGES},
        "cores": os.cpu_count(),
        "figures": figures,
    }
    atomic.write_json(recorded / f"{name}.json", record)
    runs = {run: read(run, recorded) for run in ("fuzz", "soak")}
    atomic.write_text(page, templates.render("robustness.md", "fuzz", {"rows": _rows}, runs=runs))


def read(name: str, recorded: Path = RECORDED) -> dict | None:
    """Returns what is on record of a run, with its `figures`; None where there is nothing yet."""
    path = recorded / f"{name}.json"
    return atomic.read_json(path, "Record") if path.exists() else None


def _rows(figures: list[dict]) -> list[list[str]]:
    return [[f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()] for row in figures]
