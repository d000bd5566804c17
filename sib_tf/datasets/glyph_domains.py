"""The embedded stand-in for PACS: ten letters in four styles, drawn on the spot. Nothing is downloaded.

No letter looks like another, or like itself, when it is turned by 90 degrees once, twice or three times.
"""

import hashlib
import itertools
import math

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from sib_tf.datasets.builder import PictureListBuilder, PictureListConfig
from sib_tf.datasets.drawn import glyph_letters
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


class Builder(PictureListBuilder):
    """Ten letters in four styles, `PICTURES_PER_CLASS` pictures of each in each, drawn with matplotlib's fonts."""

    name = "glyph_domains"
    VERSION = "1.0.0"
    SPLITS = DOMAINS

    def _pictures(self, dl_manager, split):
        for letter, i in itertools.product(CLASSES, range(PICTURES_PER_CLASS)):
            yield letter, f"{letter}/{i:03d}", draw(split, letter, i, self.image_size, _SEED)


def builder_config(data_dir: str | None, size: int) -> PictureListConfig:
    """The digest covers what the pictures depend on, but for the versions of the fonts and of Pillow.

    Raises an InputError if a folder is named: these are drawn.
    """
    if data_dir is not None:
        raise InputError(f"data_dir must not be given for data set 'glyph_domains', which is drawn; got {data_dir}.")
    digest = hashlib.sha256(repr((_VERSION, _SEED, CLASSES, PICTURES_PER_CLASS, size)).encode()).hexdigest()
    return PictureListConfig(image_size=size, digest=digest)


def draw(domain: str, letter: str, index: int, size: int, seed: int) -> np.ndarray:
    """Draws picture number `index` of a letter in a domain's style, `[size, size, 3]` uint8, by the arguments alone."""
    stream = [0, 0, DOMAINS.index(domain), index]
    random = np.random.RandomState(np.random.Philox(key=[seed, ord(letter)], counter=stream))
    face = glyph_letters.FACES[random.randint(len(glyph_letters.FACES))]
    # Room for the outline around the ink.
    padded = Image.fromarray(np.pad(np.asarray(glyph_letters.ink(face, ord(letter))), 4))
    coverage = pose(padded, size, _DIFFICULTY[domain], random)
    style, most_noise = _STYLES[domain]
    picture = style(coverage, random)
    picture += random.normal(0, random.uniform(0, most_noise), picture.shape)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _print(coverage: Image.Image, random: np.random.RandomState) -> np.ndarray:
    """Dark on a light, plain ground."""
    ink, ground = random.uniform(0, 80, 3), random.uniform(175, 255, 3)
    return _mix(ground, ink, shrink(coverage))


def _outline(coverage: Image.Image, random: np.random.RandomState) -> np.ndarray:
    """A light line around nothing, on a dark ground."""
    line, ground = random.uniform(150, 255, 3), random.uniform(0, 110, 3)
    edge = ImageChops.subtract(coverage.filter(ImageFilter.MaxFilter(3)), coverage.filter(ImageFilter.MinFilter(3)))
    return _mix(ground, line, shrink(edge))


def _hand(coverage: Image.Image, random: np.random.RandomState) -> np.ndarray:
    """A trembling, uneven pen on paper."""
    side = coverage.width
    thin = Image.blend(coverage, coverage.filter(ImageFilter.MinFilter(3)), random.uniform(0, 0.6))
    rows, columns = np.mgrid[:side, :side]
    down, across = (_waves(side, random) * 0.08 * side for _ in range(2))
    places = [np.clip(np.rint(x), 0, side - 1).astype(int) for x in (rows + down, columns + across)]
    drawn = shrink(Image.fromarray(np.asarray(thin)[tuple(places)]))
    pressure = np.clip(0.75 + 0.5 * _waves(drawn.shape[0], random), 0.3, 1)
    ink = np.array([random.uniform(20, 90), random.uniform(20, 90), random.uniform(80, 190)])
    paper = np.array([235, 225, 195]) + random.uniform(-25, 15, 3)
    return _mix(paper, ink, drawn * pressure)


def _textured(coverage: Image.Image, random: np.random.RandomState) -> np.ndarray:
    """Any colours with a pattern, of letter and ground both; either may be the lighter one."""
    letter = shrink(coverage)
    while True:
        colors = random.uniform(0, 255, (2, 3))
        if abs(np.diff(colors.mean(axis=1))[0]) > 60:
            break
    seconds = np.clip(colors + random.uniform(-70, 70, (2, 3)), 0, 255)
    ground, ink = (
        _mix(color, second, texture(len(letter), random)) for color, second in zip(colors, seconds, strict=True)
    )
    return _mix(ground, ink, letter)


# With the most that their noise deviates.
_STYLES = {"print": (_print, 12), "outline": (_outline, 15), "hand": (_hand, 10), "textured": (_textured, 25)}


def _mix(low, high, share: np.ndarray) -> np.ndarray:
    """From `low` where `share` `[size, size]` is 0 to `high` where it is 1; colours or whole pictures."""
    return low + share[..., None] * (high - low)


def _waves(size: int, random: np.random.RandomState) -> np.ndarray:
    """Smooth noise `[size, size]` in [-1, 1]."""
    cells = Image.fromarray(random.uniform(-1, 1, (5, 5)).astype(np.float32))
    return np.clip(np.asarray(cells.resize((size, size), Image.Resampling.BICUBIC)), -1, 1) * math.sqrt(0.5)
