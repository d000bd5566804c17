"""One picture of a letter: face, pose, stroke, colours, textured ground, something in front of it, and noise."""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from sib_tf.datasets.drawn import glyph_letters

# Each picture draws its difficulty from [0, 1], which scales the strengths below: easy pictures let a backbone learn
# within minutes, hard ones leave the unlabelled queries something to add. Set such that nearest prototypes of a conv4
# are right about two times out of three (5-way 1-shot, validation scripts), while most pictures stay legible.
_MAX_SIZE = 0.85  # Longer side of the letter, as a fraction of the picture.
_MAX_SHRINKING = 0.45  # Of that side, likewise.
_MAX_ROTATION = math.radians(40)
_MAX_SHEAR = 0.45
_MAX_STRETCH = 1.5
_MAX_SHIFT = 1.0  # As a fraction of the room that the letter leaves on each side.
_MAX_STROKE = 1.0  # 1: a stroke grows, or loses, half a pixel on both sides.
_MAX_OCCLUDERS = 3
_MAX_OCCLUSION = 0.7  # Probability of each occluder.
_MAX_BLUR = 1.0
_MAX_NOISE = 45.0
_MIN_CONTRAST = 60.0  # By which the ground is lighter than the ink, in luma, 0-255.
_TEXTURE_COLOR_RANGE = 50.0
_LUMA = np.array([0.299, 0.587, 0.114])
# Shapes are drawn twice as large as the picture and then averaged.
_SUPERSAMPLING = 2


def draw(letter: glyph_letters.Letter, index: int, size: int, seed: int) -> np.ndarray:
    """Draws picture number `index` of `letter`, `[size, size, 3]` uint8, RGB.

    It depends on the arguments alone, not on what was drawn before: NumPy promises the stream of `RandomState` for all
    its versions. Pixels may still differ slightly between versions of FreeType, Pillow and matplotlib (its fonts).
    """
    # The key names the class, the counter's highest word the picture: streams of 2**192 numbers that never overlap.
    random = np.random.RandomState(np.random.Philox(key=[seed, letter.code_point], counter=[0, 0, 0, index]))
    face = letter.faces[random.randint(len(letter.faces))]
    difficulty = random.uniform()
    coverage = _stroke(pose(glyph_letters.ink(face, letter.code_point), size, difficulty, random), random)
    ink, ground, second = _colors(random)
    weave = texture(size, random)[..., None]
    picture = ground + weave * (second - ground)
    picture += shrink(coverage)[..., None] * (ink - picture)
    picture = _blur(_occlude(picture, difficulty, random), difficulty, random)
    picture += random.normal(0.0, random.uniform(0.0, difficulty * _MAX_NOISE), picture.shape)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def pose(ink: Image.Image, size: int, difficulty: float, random: np.random.RandomState) -> Image.Image:
    """Turns, scales, shears and shifts the letter; returns its coverage 0-255, supersampled."""
    canvas = size * _SUPERSAMPLING
    angle, shear, stretch, *shift = random.uniform(-difficulty, difficulty, 5)
    angle *= _MAX_ROTATION
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    scale = canvas * (_MAX_SIZE - random.uniform(0.0, difficulty) * _MAX_SHRINKING) / max(ink.size)
    aspect = _MAX_STRETCH**stretch
    forward = scale * turn @ np.array([[aspect, shear * _MAX_SHEAR], [0.0, 1 / aspect]])
    # What room the letter leaves is where it may lie; a letter larger than the picture stays in the middle.
    extent = np.abs(forward) @ ink.size
    room = np.maximum(canvas - extent, 0.0) / 2
    centre = canvas / 2 + np.array(shift) * _MAX_SHIFT * room
    # Pillow asks for the way back, from the picture's pixels to the drawing's.
    back = np.linalg.inv(forward)
    offset = np.array(ink.size) / 2 - back @ centre
    coefficients = (*back[0], offset[0], *back[1], offset[1])
    return ink.transform((canvas, canvas), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)


def _stroke(coverage: Image.Image, random: np.random.RandomState) -> Image.Image:
    """Makes strokes bolder or thinner."""
    change = random.uniform(-_MAX_STROKE, _MAX_STROKE)
    extremum = np.maximum if change > 0 else np.minimum
    # Three by three neighbours, along one axis and then the other: faster than Pillow's rank filters.
    extreme = np.pad(np.asarray(coverage), 1)
    extreme = extremum(extremum(extreme[:-2], extreme[1:-1]), extreme[2:])
    extreme = extremum(extremum(extreme[:, :-2], extreme[:, 1:-1]), extreme[:, 2:])
    return Image.blend(coverage, Image.fromarray(extreme), abs(change))


def _colors(random: np.random.RandomState) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws the colours of the ink, the ground and the ground's pattern, the first legible on the other two."""
    while True:
        ink, ground = sorted(random.uniform(0.0, 255.0, (2, 3)), key=_LUMA.dot)
        second = np.clip(ground + random.uniform(-1, 1, 3) * _TEXTURE_COLOR_RANGE, 0, 255)
        if min(_LUMA @ ground, _LUMA @ second) - _LUMA @ ink > _MIN_CONTRAST:
            return ink, ground, second


def texture(size: int, random: np.random.RandomState) -> np.ndarray:
    """A pattern `[size, size]` in [0, 1]: a slope, stripes, or smooth noise."""
    kind = random.randint(3)
    if kind == 2:
        cells = random.randint(3, 9)
        noise = Image.fromarray(random.uniform(0, 1, (cells, cells)).astype(np.float32))
        return np.clip(np.asarray(noise.resize((size, size), Image.Resampling.BICUBIC)), 0, 1)
    angle = random.uniform(0, 2 * math.pi)
    waves = random.uniform(2, 6) if kind else 0.5
    along = (np.arange(size) + 0.5) / size - 0.5
    ramp = math.cos(angle) * along + math.sin(angle) * along[:, None]
    return 0.5 + 0.5 * np.sin(2 * math.pi * waves * ramp + random.uniform(0, 2 * math.pi) * (kind > 0))


def _occlude(picture: np.ndarray, difficulty: float, random: np.random.RandomState) -> np.ndarray:
    """Lays bars and blobs of any one colour over the picture."""
    size = len(picture)
    shapes = Image.new("L", (size * _SUPERSAMPLING,) * 2)
    pen = ImageDraw.Draw(shapes)
    for _ in range(random.binomial(_MAX_OCCLUDERS, difficulty * _MAX_OCCLUSION)):
        (_bar if random.randint(2) else _blob)(pen, shapes.width, random)
    return picture + shrink(shapes)[..., None] * (random.uniform(0, 255, 3) - picture)


def _blur(picture: np.ndarray, difficulty: float, random: np.random.RandomState) -> np.ndarray:
    whole = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    blurred = whole.filter(ImageFilter.GaussianBlur(random.uniform(0, difficulty * _MAX_BLUR)))
    return np.asarray(blurred, np.float64)


def _bar(pen: ImageDraw.ImageDraw, canvas: int, random: np.random.RandomState) -> None:
    x, y = random.uniform(0.2, 0.8, 2) * canvas
    angle = random.uniform(0, math.pi)
    reach = np.array([math.cos(angle), math.sin(angle)]) * 2 * canvas
    width = int(canvas * random.uniform(0.05, 0.12))
    pen.line((x - reach[0], y - reach[1], x + reach[0], y + reach[1]), fill=255, width=width)


def _blob(pen: ImageDraw.ImageDraw, canvas: int, random: np.random.RandomState) -> None:
    x, y = random.uniform(0.15, 0.85, 2) * canvas
    across, down = random.uniform(0.07, 0.18, 2) * canvas
    pen.ellipse((x - across, y - down, x + across, y + down), fill=255)


def shrink(coverage: Image.Image) -> np.ndarray:
    """Averages down to the picture's size; coverage 0-255 becomes floats in [0, 1]."""
    return np.asarray(coverage.reduce(_SUPERSAMPLING), np.float64) / 255
