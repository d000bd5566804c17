"""Predictions as one HTML page that needs nothing beside it: the pictures, by class, with what the steps changed."""

import base64
import io
import os
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from sib_tf import templates
from sib_tf.pictures.picture_folders import Query, Support
from sib_tf.pictures.pixels import read_picture
from sib_tf.prediction.predictions import Answer
from sib_tf.storage import atomic

_THUMBNAIL = 112


def save(path: str | os.PathLike, answers: list[Answer], support: Support, query: Query, description: dict) -> None:
    """Writes the page, with a small copy of every picture inside; `answers` are in the order of `query`."""
    labelled, cards = ({name: [] for name in sorted(set(support.labels))} for _ in range(2))
    none_of_these = []
    for label, file in zip(support.labels, support.paths, strict=True):
        labelled[label].append((_data_url(file), file.name))
    most_certain_first = sorted(zip(answers, query.paths, strict=True), key=lambda pair: -pair[0].probability)
    for answer, file in tqdm(most_certain_first, unit="picture", desc="page", delay=1, leave=False):
        (none_of_these if answer.none_of_these else cards[answer.class_name]).append((_data_url(file), answer))
    page = templates.render(
        "page.html",
        __package__,
        pictures=len(answers),
        changed=sum(answer.changed for answer in answers),
        labelled=len(support.labels),
        classes=[(name, labelled[name], cards[name]) for name in labelled],
        none_of_these=none_of_these,
        skipped=[*support.skipped, *query.skipped],
        num_steps=description["num_steps"],
        calibrated=description.get("calibrated"),
    )
    atomic.write_text(path, page)


def _data_url(file: Path) -> str:
    """The middle square, which is what the model sees."""
    buffer = io.BytesIO()
    Image.fromarray(read_picture(file, _THUMBNAIL)).save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
