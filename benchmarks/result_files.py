"""Files of what was measured on one list of episodes: figures as JSON, and every episode's accuracy beside them."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sib_tf.storage import array_files, atomic


def held(path: Path, header: dict, same: Sequence[str]) -> tuple[dict, dict]:
    """What earlier runs measured, by label; nothing if a field of `same` differs from `header`."""
    record = atomic.read_json(path, "Results") if path.is_file() else None
    if not isinstance(record, dict) or any(record.get(name) != header[name] for name in same):
        return {}, {}
    accuracies = array_files.read_npz(path.with_suffix(".npz"), f"remove {path} too")
    return {label: figures for label, figures in record["methods"].items() if label in accuracies}, accuracies


def save(path: Path, record: dict, accuracies: dict[str, np.ndarray]) -> None:
    """Writes the accuracies first: the JSON file names nothing that is not there."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **accuracies)
    with atomic.new_file(path.with_suffix(".npz")) as partial:
        partial.write_bytes(buffer.getvalue())
    atomic.write_json(path, record)
