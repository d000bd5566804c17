"""Pages of Markdown from templates/ and what was measured."""

import os
from collections.abc import Callable, Iterable

from sib_tf import templates
from sib_tf.storage import atomic


def write(path: str | os.PathLike, template: str, filters: dict[str, Callable], **values) -> None:
    """Writes the page that `template` makes of `values`, with filters of its own besides `table`."""
    atomic.write_text(
        path, templates.render(f"templates/{template}", "benchmarks", {"table": table, **filters}, **values)
    )


def table(rows: Iterable[Iterable[str]], *header: str) -> str:
    """Rows of cells as a Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))
