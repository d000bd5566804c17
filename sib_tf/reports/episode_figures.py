"""Pictures of single episodes: how the classifier moves through the features, and what it gets wrong."""

import os
import string

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sib_tf.episodes import EpisodeRows
from sib_tf.reports import figures
from sib_tf.sib import SIB
from sib_tf.storage import atomic

_COLORS = matplotlib.colormaps["tab10"].colors
_RIGHT, _WRONG = (11, 110, 79), (200, 30, 30)
# Of contact sheets, in pixels.
_TILE, _FRAME, _GAP, _NAME = 64, 3, 2, 130
_MOST_PICTURES = 24


def path_figure(model: SIB, rows: EpisodeRows, index: int, table: np.ndarray, path: str | os.PathLike) -> None:
    """Draws theta^0 .. theta^K and the queries of episode `index` of a list, before and after the steps.

    Everything is of length 1 and seen in the plane of the two directions along which the classes' theta^K differ most.
    `table` is `[pictures, D]` float32 features of the episodes' split.
    """
    episode = rows.part(index, index + 1)
    support, query = (_unit(table[numbers[0]]) for numbers in (episode.support, episode.query))
    way, kept = int(episode.support_labels.max()) + 1, episode.query_mask[0]
    arguments = (support[None], episode.support_labels, query[None], episode.support_mask, episode.query_mask, way)
    thetas = model.adapt(*arguments)[0]
    query = model.seen(thetas[-1], query[None])[1].rows[0].numpy()
    steps = _unit(np.stack([model.mean_weights(theta)[0].numpy() for theta in thetas]))  # [K + 1, way, D]
    predicted = (query[kept] @ steps.swapaxes(1, 2)).argmax(-1)  # [K + 1, queries]
    centre = steps[-1].mean(axis=0)
    plane = np.linalg.svd(steps[-1] - centre)[2][:2].T
    places, path_places = (query[kept] - centre) @ plane, (steps - centre) @ plane
    with figures.panels(path, 1, 2, figsize=(9, 4.4), sharex=True, sharey=True) as axes:
        for axis, step in zip(axes, (0, len(steps) - 1), strict=True):
            right = predicted[step] == episode.query_labels[0][kept]
            for c in range(way):
                color = [_COLORS[c % 10]]
                for mask, marker in ((right, "o"), (~right, "x")):
                    chosen = mask & (predicted[step] == c)
                    axis.scatter(*places[chosen].T, c=color * chosen.sum(), marker=marker, s=16, alpha=0.7)
                axis.plot(*path_places[: step + 1, c].T, "-", color="black", lw=1)
                axis.scatter(*path_places[step, c], c=color, marker="*", s=220, edgecolors="black", zorder=3)
            axis.set(title=f"k = {step}: {100 * right.mean():.0f} % right", xticks=[], yticks=[])
        axes[0].figure.supxlabel("stars: the classifier; colours: predicted class; crosses: wrong", fontsize=9)


def contact_sheet(
    rows: EpisodeRows,
    index: int,
    predicted: np.ndarray,
    images: np.ndarray,
    names: list[str],
    path: str | os.PathLike,
) -> None:
    """Draws the pictures of episode `index` of a list by predicted class, wrong ones with the letter of their own.

    `predicted` is `[queries]` in `[0, way)`, `names` are those of the classes, `images` uint8 RGB, all of the split.
    """
    support, support_labels, support_mask, query, labels, mask = (field[index] for field in rows)
    pitch = _TILE + 2 * _FRAME + _GAP
    lines = []
    for c in range(len(names)):
        shown = [(images[i], None, "") for i in support[support_mask & (support_labels == c)][:5]]
        # The wrong ones first: they are what one looks for.
        given = sorted(np.flatnonzero(mask & (predicted == c)), key=lambda i, c=c: labels[i] == c)
        answers = [(images[query[i]], labels[i] == c, _letter(labels[i])) for i in given]
        lines.append((shown, answers[:_MOST_PICTURES], len(answers) - _MOST_PICTURES))
    left = _NAME + pitch * max(len(shown) for shown, _, _ in lines) + 3 * _GAP
    width = left + pitch * max(1, *(len(answers) for _, answers, _ in lines)) + 60
    sheet = Image.new("RGB", (width, pitch * len(names) + _GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for c, (shown, answers, more) in enumerate(lines):
        top = _GAP + c * pitch
        draw.text((4, top + _TILE // 2 - 6), f"{_letter(c)}  {names[c]}"[:20], "black", font)
        for start, tiles in ((_NAME, shown), (left, answers)):
            for place, tile in enumerate(tiles):
                _paste(sheet, draw, (start + place * pitch, top), *tile, font)
        if more > 0:
            draw.text((left + len(answers) * pitch + 4, top + _TILE // 2 - 6), f"+{more}", "black", font)
    with atomic.new_file(path) as partial:
        sheet.save(partial, format="PNG")


def _paste(sheet, draw, place, picture, right, letter, font) -> None:
    x, y = place
    side = _TILE + 2 * _FRAME
    if right is not None:
        draw.rectangle((x, y, x + side - 1, y + side - 1), fill=_RIGHT if right else _WRONG)
    image = Image.fromarray(picture).resize((_TILE, _TILE), Image.Resampling.BICUBIC)
    sheet.paste(image, (x + _FRAME, y + _FRAME))
    if letter and not right:
        draw.rectangle((x + side - 16, y, x + side - 1, y + 17), fill=_WRONG)
        draw.text((x + side - 13, y + 1), letter, "white", font)


def _letter(number: int) -> str:
    return string.ascii_uppercase[number] if number < 26 else str(number)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
