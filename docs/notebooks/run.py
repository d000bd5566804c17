"""Runs the notebooks beside it and writes their outputs anew: `make notebook`.

    python docs/notebooks/run.py

Notebooks keep their outputs, so that they can be read where nothing is run.
"""

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

_HERE = Path(__file__).parent
# Figures in the notebook, whatever the caller draws with; sums in one order, on any number of cores.
_ENVIRONMENT = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


def executed(path: Path, timeout: int = 120) -> nbformat.NotebookNode:
    """Returns the notebook with the outputs of a run in a fresh process, in the folder where it lies.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed, or took longer than `timeout` seconds.
        RuntimeError: a cell warned.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=timeout,
        record_timing=False,
        # A cell's text is one output, however long it took.
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute(env={**os.environ, **_ENVIRONMENT})
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = _without_notes(cell)
    # Versions of the Python that ran it would change the file and tell the reader nothing.
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def _without_notes(cell: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """A cell's outputs less what LiteRT notes when it starts; raises a RuntimeError where there is a warning."""
    errors = [output for output in cell.outputs if output.get("name") == "stderr"]
    lines = [line for output in errors for line in output.text.splitlines()]
    if warnings := [line for line in lines if line and not line.startswith("INFO")]:
        raise RuntimeError(f"Cell {cell.id} warned; mend it: {' '.join(warnings)}")
    return [output for output in cell.outputs if output not in errors]


def main() -> None:
    for path in sorted(_HERE.glob("*.ipynb")):
        nbformat.write(executed(path), path)
        print(f"{path}: {path.stat().st_size // 1000} kB", file=sys.stderr)


if __name__ == "__main__":
    main()
