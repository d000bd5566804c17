"""Sections of a report, which other commands add to it."""

import os
from pathlib import Path

from sib_tf.errors import InputError
from sib_tf.storage import atomic


def set_section(path: str | os.PathLike, title: str, text: str) -> None:
    """Puts `text` (Markdown) under the heading `title` into the page at `path`, in place of what stood there."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no report {path}; train.evaluate --report=FOLDER writes one.")
    heading = f"## {title}"
    try:
        text_there = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"Report {path} is no text ({error}); write it again with train.evaluate.") from error
    before, _, rest = text_there.partition(f"{heading}\n")
    _, *after = rest.split("\n## ", 1)
    sections = [before.rstrip(), f"{heading}\n\n{text.strip()}", *(f"## {other}".rstrip() for other in after)]
    atomic.write_text(path, "\n\n".join(sections) + "\n")
