"""Pages of Markdown from templates/ and what was measured."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import jinja2

from sib_tf.storage import atomic


def write(path: str | os.PathLike, template: str, filters: dict[str, Callable], **values) -> None:
    """Writes the page that `template` makes of `values`, with filters of its own besides `table`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"table": table, **filters}
    atomic.write_text(path, environment.get_template(template).render(values))


def table(rows: Iterable[Iterable[str]], *header: str) -> str:
    """Rows of cells as a Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))
