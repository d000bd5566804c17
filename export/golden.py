"""A small episode inside an exported file, with its logits: whatever runs the file can check itself by it."""

import json
import os

import numpy as np

from sib_tf.prediction.litert import LiteRTModel

GOLDEN = "sib_tf_golden.json"
# Few, as they are embedded each time the file is checked.
_QUERIES, _CELLS = 4, 8


def picture(number: int, size: int) -> np.ndarray:
    """Draws the picture of a number, from 0: `[size, size, 3]` uint8, alike wherever whole numbers are.

    8 x 8 cells, row by row and channel by channel, of the upper 8 bits of s <- (1664525 s + 1013904223) mod 2^32, whose
    first s is made of s = number + 1.
    """
    state, levels = number + 1, []
    for _ in range(_CELLS * _CELLS * 3):
        state = (1664525 * state + 1013904223) % 2**32
        levels.append(state >> 24)
    cells = np.arange(size) * _CELLS // size
    return np.reshape(levels, (_CELLS, _CELLS, 3)).astype(np.uint8)[cells][:, cells]


def text(path: str | os.PathLike) -> str:
    """Runs a file that embeds, and returns what `GOLDEN` in it says.

    JSON of `classes`: pictures 0 to classes - 1 are the labelled ones, one a class; `queries`: as many pictures after
    them have no label; `logits`: `[queries, classes]` after all steps.

    Args:
        path: a file of `export.tflite`, with its description.
    """
    model = LiteRTModel(path)
    classes = model.description["fixed_way"] or 2
    pictures = np.stack([picture(number, model.image_size) for number in range(classes + _QUERIES)])
    features = model.embed(pictures)
    support, query = features[:classes], features[classes:]
    logits, _ = model.classify(query, model.adapt(support, np.arange(classes), query)[-1])
    return json.dumps({"classes": classes, "queries": _QUERIES, "logits": logits.astype(float).round(5).tolist()})
