"""Predictions as one HTML page that needs nothing beside it: the pictures, by class, with what the steps changed."""

import base64
import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from tqdm import tqdm

from sib_tf import templates
from sib_tf.errors import InputError
from sib_tf.pictures.pixels import read_picture
from sib_tf.prediction.predictions import Answer
from sib_tf.storage import atomic

_THUMBNAIL = 112
# Pictures of a class: shown at once, shown when asked for, and all of a page. A picture takes some 6 kB of it.
_AT_ONCE, _MOST_OF_CLASS, _MOST_OF_PAGE = 24, 120, 4000
_MOST_LABELLED = 12


class Learned(NamedTuple):
    """What the classes were learned from.

    Attributes:
        classes: their names, sorted.
        labelled: how many labelled pictures there were.
        examples: (class, file) of those that are at hand; none where they were learned earlier.
        num_steps: K.
        calibrated: whether probabilities are.
        skipped: what was left out, in sentences.
    """

    classes: list[str]
    labelled: int
    examples: list[tuple[str, Path]]
    num_steps: int
    calibrated: bool
    skipped: list[str]


class Section(NamedTuple):
    """A class on the page: how many pictures it has, the first of them, which are in doubt, and those below a fold."""

    name: str
    labelled: list
    pictures: int
    first: list
    folded: list


def save(
    path: str | os.PathLike,
    answers: Sequence[Answer],
    files: Sequence[Path],
    learned: Learned,
    label_next: Sequence[int] = (),
) -> None:
    """Writes the page: by class, the pictures in doubt first, at most some 100 of each, as small copies inside.

    Args:
        path: the page.
        answers, files: of the pictures, in the same order.
        learned: what the classes were learned from.
        label_next: places of the pictures that should be labelled next.
    """
    places, changed = _by_class(answers, learned.classes)
    most = max(_AT_ONCE // 4, min(_MOST_OF_CLASS, _MOST_OF_PAGE // len(places)))
    chosen = {name: _doubtful(answers, own, most, name is None) for name, own in places.items()}
    examples = {name: [] for name in learned.classes}
    for name, file in learned.examples:
        if len(examples[name]) < _MOST_LABELLED:
            examples[name].append(file)
    asked = list(label_next)[:_MOST_OF_CLASS]
    shown = [files[place] for own in (*chosen.values(), asked) for place in own]
    copies = _copies({*shown, *(file for own in examples.values() for file in own)})

    def cards(own: Sequence[int]) -> list[tuple[str, Answer]]:
        return [(copies[files[place]], answers[place]) for place in own]

    sections = [
        Section(
            "None of these" if name is None else name,
            [(copies[file], file.name) for file in examples.get(name, ())],
            len(own),
            cards(chosen[name][:_AT_ONCE]),
            cards(chosen[name][_AT_ONCE:]),
        )
        for name, own in places.items()
    ]
    values = {"pictures": len(answers), "changed": changed, "learned": learned, "label_next": cards(asked)}
    atomic.write_text(path, templates.render("page.html", __package__, sections=sections, **values))


def _by_class(answers: Sequence[Answer], classes: list[str]) -> tuple[dict[str | None, list[int]], int]:
    """Places of the answers by class, those of none last, under None, where there are some; and how many changed."""
    places, none, changed = {name: [] for name in classes}, [], 0
    for place, answer in enumerate(answers):
        (none if answer.none_of_these else places[answer.class_name]).append(place)
        changed += answer.changed
    return {**places, **({None: none} if none else {})}, changed


def _doubtful(answers: Sequence[Answer], own: list[int], most: int, none_of_these: bool) -> list[int]:
    """The first of a class's pictures: the least probable, and of none of the classes, the least known."""
    column = "known_probability" if none_of_these else "probability"
    return sorted(own, key=lambda place: getattr(answers[place], column))[:most]


def _copies(files: set[Path]) -> dict[Path, str]:
    ordered = sorted(files)
    # Decoders release the interpreter's lock.
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        made = tqdm(pool.map(_data_url, ordered), total=len(ordered), unit="picture", desc="page", delay=1, leave=False)
        return dict(zip(ordered, made, strict=True))


def _data_url(file: Path) -> str:
    """The middle square, which is what the model sees."""
    buffer = io.BytesIO()
    try:
        pixels = read_picture(file, _THUMBNAIL)
    except InputError:  # It went since it was answered, which may be hours ago.
        return "data:,"
    Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
