"""The embedded stand-in for PACS: ten letters in four styles, drawn on the spot. Nothing is downloaded.

No letter looks like another, or like itself, when it is turned by 90 degrees once, twice or three times.
"""

import hashlib
import math
from collections.abc import Iterator

import numpy as np
from PIL import Image

from sib_tf.datasets.domains import Pictures
from sib_tf.datasets.drawn import glyph_fonts
from sib_tf.datasets.drawn.glyph_drawing import pose, shrink, texture
from sib_tf.errors import InputError

DOMAINS = ("print", "outline", "hand", "textured")
CLASSES = tuple("ABEFGJKLPR")
SIZE = 32
PICTURES_PER_CLASS = 150
_SEED = 0
# Of the pose, as in `glyph_drawing`, 0-1: by difficulty a letter turns by up to 40 degrees, shrinks, leans and moves.
_DIFFICULTY = {"print": 0.5, "outline": 0.6, "hand": 0.7, "textured": 0.6}
_VERSION = 1


def digest(data_dir: str | None, size: int) -> str:
    """SHA-256 over what the pictures depend on, but for the versions of the fonts and of Pillow.

    Raises:
        InputError: a folder was named.
    """
    if data_dir is not None:
        raise InputError(f"data_dir must not be given for data set 'glyph_domains', which is drawn; got {data_dir}.")
    return hashlib.sha256(repr((_VERSION, _SEED, CLASSES, PICTURES_PER_CLASS, size)).encode()).hexdigest()


def read(data_dir: str | None, size: int) -> Iterator[tuple[str, Pictures]]:
    """Yields (domain, pictures), `PICTURES_PER_CLASS` of every class."""
    labels = np.repeat(np.arange(len(CLASSES)), PICTURES_PER_CLASS)
    for domain in DOMAINS:
        images = [draw(domain, letter, i, size, _SEED) for letter in CLASSES for i in range(PICTURES_PER_CLASS)]
        yield domain, Pictures(np.stack(images), labels)


def draw(domain: str, letter: str, index: int, size: int, seed: int) -> np.ndarray:
    """Draws picture number `index` of a letter in a domain's style; it depends on the arguments alone.

    Returns:
        `[size, size, 3]` uint8, RGB.
    """
    stream = [0, 0, DOMAINS.index(domain), index]
    random = np.random.RandomState(np.random.Philox(key=[seed, ord(letter)], counter=stream))
    face = glyph_fonts.FACES[random.randint(len(glyph_fonts.FACES))]
    # Room for the outline around the ink.
    ink = np.pad(np.asarray(glyph_fonts.ink(face, ord(letter))), 4)
    coverage = pose(Image.fromarray(ink), size, _DIFFICULTY[domain], random)
    picture = _STYLES[domain](coverage, random)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _print(coverage: Image.Image, random: np.random.RandomState) -> np.ndarray:
    """Dark on a light, plain ground."""
    ink, ground = random.uniform(0, 80, 3), random.uniform(175, 255, 3)
    return _mix(ground, ink, shrink(coverage)) + _noise(coverage, 12, random)


def _outline(coverage: Image.Image, random: np.random.RandomState) -> np.ndarray:
    """A light line around nothing, on a dark ground."""
    line, ground = random.uniform(150, 255, 3), random.uniform(0, 110, 3)
    inner = np.asarray(coverage)
    outer = _spread(inner, 1)
    edge = Image.fromarray(outer - np.minimum(outer, 255 - _spread(255 - inner, 1)))
    return _mix(ground, line, shrink(edge)) + _noise(coverage, 15, random)


def _hand(coverage: Image.Image, random: np.random.RandomState) -> np.ndarray:
    """A trembling, uneven pen on paper."""
    side = coverage.width
    thinner = Image.fromarray(255 - _spread(255 - np.asarray(coverage), 1))
    thin = Image.blend(coverage, thinner, random.uniform(0, 0.6))
    rows, columns = np.mgrid[:side, :side]
    down, across = (_waves(side, random) * 0.08 * side for _ in range(2))
    places = [np.clip(np.rint(x), 0, side - 1).astype(int) for x in (rows + down, columns + across)]
    drawn = shrink(Image.fromarray(np.asarray(thin)[tuple(places)]))
    pressure = np.clip(0.75 + 0.5 * _waves(drawn.shape[0], random), 0.3, 1)
    ink = np.array([random.uniform(20, 90), random.uniform(20, 90), random.uniform(80, 190)])
    paper = np.array([235, 225, 195]) + random.uniform(-25, 15, 3)
    return _mix(paper, ink, drawn * pressure) + _noise(coverage, 10, random)


def _textured(coverage: Image.Image, random: np.random.RandomState) -> np.ndarray:
    """Any colours with a pattern, of letter and ground both; either may be the lighter one."""
    size = shrink(coverage).shape[0]
    while True:
        colors = random.uniform(0, 255, (2, 3))
        if abs(np.diff(colors.mean(axis=1))[0]) > 60:
            break
    seconds = np.clip(colors + random.uniform(-70, 70, (2, 3)), 0, 255)
    ground, ink = (_mix(color, second, texture(size, random)) for color, second in zip(colors, seconds, strict=True))
    return _mix(ground, ink, shrink(coverage)) + _noise(coverage, 25, random)


_STYLES = {"print": _print, "outline": _outline, "hand": _hand, "textured": _textured}


def _mix(low, high, share: np.ndarray) -> np.ndarray:
    """From `low` where `share` `[size, size]` is 0 to `high` where it is 1; colours or whole pictures."""
    return low + share[..., None] * (high - low)


def _noise(coverage: Image.Image, most: float, random: np.random.RandomState) -> np.ndarray:
    size = shrink(coverage).shape[0]
    return random.normal(0, random.uniform(0, most), (size, size, 3))


def _spread(values: np.ndarray, pixels: int) -> np.ndarray:
    """The largest value within so many pixels along both axes."""
    for _ in range(pixels):
        padded = np.pad(values, 1, "edge")
        values = np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:])
        values = np.maximum(np.maximum(values[:, :-2], values[:, 1:-1]), values[:, 2:])
    return values


def _waves(size: int, random: np.random.RandomState) -> np.ndarray:
    """Smooth noise `[size, size]` in [-1, 1]."""
    cells = Image.fromarray(random.uniform(-1, 1, (5, 5)).astype(np.float32))
    return np.clip(np.asarray(cells.resize((size, size), Image.Resampling.BICUBIC)), -1, 1) * math.sqrt(0.5)
