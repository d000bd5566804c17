"""Pages from jinja2 templates, which lie beside the modules that fill them."""

from collections.abc import Callable, Iterable

import jinja2


def render(template: str, package: str, filters: dict[str, Callable] | None = None, **values) -> str:
    """Returns the text of a template file below a package's folder, filled with `values`; it may use no others.

    They are escaped in .html. `filters` are the template's own, by name, besides `table`.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package, ""),
        autoescape=jinja2.select_autoescape(),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"table": table, **(filters or {})}
    return environment.get_template(template).render(values)


def table(rows: Iterable[Iterable[str]], *header: str) -> str:
    """Rows of cells as a Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))
