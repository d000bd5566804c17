"""Names of classes, as their folders are called: what looks alike is one class, or refused."""

import unicodedata
from collections.abc import Iterable
from pathlib import Path

from sib_tf.errors import InputError


def composed(name: str) -> str:
    """Returns the name in Unicode's composed form (NFC): macOS writes accents decomposed, others composed."""
    return unicodedata.normalize("NFC", name)


def by_class(folders: Iterable[Path], known: Iterable[str] = ()) -> dict[str, list[Path]]:
    """Groups class folders by their composed names; folders whose names differ in that form alone are one class.

    `known` are names of classes that there are already; a folder of the same name is called as they are.

    Raises:
        InputError: two names look alike: but for case, blanks or characters that do not show they are the same.
    """
    classes: dict[str, list[Path]] = {}
    for folder in folders:
        classes.setdefault(composed(folder.name), []).append(folder)
    already = {composed(str(name)): str(name) for name in known}
    seen = {_look(name): (name, said) for name, said in already.items()}
    for name, (first, *_) in classes.items():
        if name in already:
            continue
        own, other = seen.setdefault(_look(name), (name, str(first)))
        if own != name:
            raise InputError(
                f"Class folders must have names that differ to the eye; {ascii(other)} and {ascii(str(first))} do "
                "not. Join them, or rename one."
            )
    return {already.get(name, name): folders for name, folders in classes.items()}


def _look(name: str) -> str:
    shown = "".join(character for character in composed(name) if unicodedata.category(character) != "Cf")
    return composed(" ".join(shown.split()).casefold())
