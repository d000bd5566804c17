"""Pages from jinja2 templates, which lie beside the modules that fill them."""

import jinja2


def render(package: str, name: str, **values) -> str:
    """Returns the text of the template file `name` of a package, filled with `values`; it may use no others."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package, ""),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name).render(values)
