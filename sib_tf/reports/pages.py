"""Pages of Markdown, from the templates beside this module."""

import os
from pathlib import Path

import jinja2

from sib_tf.storage import atomic

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_TEMPLATES.filters["percent"] = lambda share, sign="": f"{100 * share:{sign}.2f}"


def write(path: str | os.PathLike, template: str, **values) -> None:
    """Writes the page that `template` makes of `values` to `path`, in one move; `percent` is a filter for shares."""
    atomic.write_text(path, _TEMPLATES.get_template(template).render(values))
