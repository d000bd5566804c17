"""Figures of a long run, kept as JSON in `fuzz/recorded/` and shown in docs/robustness.md."""

import datetime
import importlib.metadata
import json
import os
import platform
from pathlib import Path

from benchmarks import pages
from sib_tf.storage import atomic

RECORDED = Path(__file__).parent / "recorded"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "robustness.md"
_PACKAGES = ("tensorflow", "keras", "numpy", "ai-edge-litert", "hypothesis")
_HEAD = """# Robustness

Written by `make fuzz` and `make soak`; [fuzz/README.md](../fuzz/README.md) says what they check.
"""


def write(name: str, figures: list[dict], recorded: Path = RECORDED, page: Path = PAGE) -> None:
    """Writes the figures of a run and the page of all runs.

    Args:
        name: "fuzz" or "soak".
        figures: one dictionary for each row of its table, all with the same keys.
        recorded: folder of the JSON files.
        page: the page.
    """
    record = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "python": platform.python_version(),
        "versions": {package: importlib.metadata.version(package) for package in _PACKAGES},
        "cores": os.cpu_count(),
        "figures": figures,
    }
    atomic.write_json(recorded / f"{name}.json", record)
    atomic.write_text(page, _page(recorded))


def read(name: str, recorded: Path = RECORDED) -> list[dict]:
    """Returns the figures on record, as `write` takes them; none where there are none yet."""
    path = recorded / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))["figures"] if path.exists() else []


def _page(recorded: Path) -> str:
    parts = [_HEAD]
    for name, title in (("fuzz", "Generated episodes"), ("soak", "Memory over long runs")):
        if (recorded / f"{name}.json").exists():
            parts.append(_section(title, json.loads((recorded / f"{name}.json").read_text(encoding="utf-8"))))
    return "\n".join(parts)


def _section(title: str, record: dict) -> str:
    figures = record["figures"]
    versions = ", ".join(f"{package} {version}" for package, version in record["versions"].items())
    text = f"## {title}\n\n{record['date']}, Python {record['python']}, {versions}, {record['cores']} cores.\n\n"
    if "cases" in figures[0]:
        cases, failures = (sum(row[key] for row in figures) for key in ("cases", "failures"))
        text += f"{cases:,} cases, {failures} failures, {sum(row['seconds'] for row in figures):.0f} s.\n\n"
    rows = ([f"{v:,}" if isinstance(v, int) else str(v) for v in row.values()] for row in figures)
    return f"{text}{pages.table(rows, *figures[0])}\n"
