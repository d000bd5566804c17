"""Glyphs: the choice of letters, the drawings, and the builder on a few letters."""

import hashlib
import unicodedata

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from sib_tf import datasets
from sib_tf.datasets import glyphs
from sib_tf.datasets.drawn.glyph_drawing import draw
from sib_tf.datasets.drawn.glyph_letters import FACES, ink, letters, letters_of

ZHE, SHA = (next(letter for letter in letters() if letter.code_point == number) for number in (0x416, 0x428))


def test_examples_are_the_drawings(tmp_path, monkeypatch):
    few = {"train": letters_of("train")[:1], "validation": [ZHE], "test": letters_of("test")[:1]}
    monkeypatch.setattr(glyphs, "letters_of", few.get)
    data = datasets.load("glyphs", cache_dir=str(tmp_path))
    assert data.validation.class_names == (ZHE.class_name,)
    assert data.validation.ids.tolist() == [f"{ZHE.class_name}/{index:02d}" for index in range(20)]
    np.testing.assert_array_equal(data.validation.images, [draw(ZHE, index, 32, seed=0) for index in range(20)])


def test_splits_share_no_script_and_hold_every_class():
    rows = sorted((letter.split, letter.class_name, letter.faces) for letter in letters())
    # Pinned: classes, and which face a picture is drawn in, must be the same for ever.
    assert hashlib.sha256(repr(rows).encode()).hexdigest().startswith("8377852e496d39a6")
    by_split = [letters_of(split) for split in datasets.META_SPLITS]
    assert [len(found) for found in by_split] == [741, 155, 185]
    assert [len({letter.script for letter in found}) for found in by_split] == [7, 3, 5]
    assert len({letter.script for letter in letters()}) == 15
    assert len({letter.code_point for letter in letters()}) == len(letters()) == 741 + 155 + 185
    assert ZHE.class_name == "Cyrillic/U+0416 CYRILLIC CAPITAL LETTER ZHE"
    assert ZHE in letters_of("validation")
    # Variants of other letters are no classes.
    assert not any(unicodedata.decomposition(chr(letter.code_point)) for letter in letters())


def appearance(code_point: int) -> np.ndarray:
    """What a letter looks like whatever its size: a unit vector of the drawing stretched to a square and blurred."""
    square = ink(FACES[0], code_point).resize((20, 20), Image.Resampling.BOX)
    padded = np.asarray(ImageOps.expand(square, 2).filter(ImageFilter.GaussianBlur(1)), np.float64).ravel()
    return padded / np.linalg.norm(padded)


def test_no_two_classes_look_the_same():
    vectors = np.stack([appearance(letter.code_point) for letter in letters()])
    distance = 1 - vectors @ vectors.T
    np.fill_diagonal(distance, 1.0)
    assert distance.min() >= 0.06 - 1e-9


def test_classes_have_two_faces_with_a_drawing_that_is_not_the_missing_glyph():
    """Every fourth; all were when they were chosen."""
    missing = {face: ink(face, 0xFFFF) for face in FACES}  # A noncharacter: a box, or nothing.
    for letter in letters()[::4]:
        assert len(letter.faces) >= 2
        for face in letter.faces:
            drawing = ink(face, letter.code_point)
            assert drawing is not None and drawing.getextrema()[1] > 200
            assert drawing != missing[face]


def test_a_picture_is_uint8_rgb_of_its_size_and_varies_with_index_seed_and_letter_and_nothing_else():
    picture = draw(ZHE, 0, 32, seed=0)
    assert picture.dtype == np.uint8 and picture.shape == (32, 32, 3)
    assert draw(ZHE, 0, 48, seed=0).shape == (48, 48, 3)
    others = [draw(ZHE, 1, 32, seed=0), draw(ZHE, 0, 32, seed=1), draw(SHA, 0, 32, seed=0)]
    assert all(np.abs(picture.astype(int) - other).mean() > 5 for other in others)
    np.testing.assert_array_equal(draw(ZHE, 0, 32, seed=0), picture)
    np.testing.assert_array_equal(draw(ZHE, 1, 32, seed=0), others[0])
