"""Augmentation: what each step does to known pictures, and that a seed says it all."""

import numpy as np
import pytest
import tensorflow as tf

from sib_tf import augmentation
from sib_tf.config import PretrainConfig
from sib_tf.pictures.pixels import fit_stored

GREY = np.array([0.299, 0.587, 0.114])
PLAIN = PretrainConfig(color_jitter=0.0, mirror=False)


def pictures(count: int, size: int = 32, low: int = 1, high: int = 256) -> np.ndarray:
    return np.random.RandomState(0).randint(low, high, (count, size, size, 3)).astype(np.uint8)


def seed(number: int) -> tf.Tensor:
    return tf.constant([0, number])


def test_a_seed_says_it_all():
    batch, config = pictures(8), PretrainConfig()
    first = augmentation.augment(batch, seed(1), 32, config)
    np.testing.assert_array_equal(augmentation.augment(batch, seed(1), 32, config), first)
    assert not np.array_equal(augmentation.augment(batch, seed(2), 32, config), first)
    compiled = tf.function(lambda x, s: augmentation.augment(x, s, 32, config))
    np.testing.assert_allclose(compiled(batch, seed(1)), first, atol=1e-3)


@pytest.mark.parametrize(("stored", "size"), [(32, 32), (84, 80), (40, 32)])
def test_results_are_float_pictures_of_the_size_asked_for(stored, size):
    result = augmentation.augment(pictures(4, stored), seed(0), size, PretrainConfig()).numpy()
    assert result.shape == (4, size, size, 3)
    assert result.dtype == np.float32
    assert 0 <= result.min() < result.max() <= 255


@pytest.mark.parametrize("larger", ["crop", "reduce"])
@pytest.mark.parametrize(("stored", "size"), [(32, 224), (105, 224), (227, 224), (224, 32), (1, 32), (40, 40)])
def test_pictures_are_fit_as_those_that_are_embedded(stored, size, larger):
    batch = pictures(3, stored)
    found = augmentation.plain(tf.constant(batch), size, larger)
    # Within a grey level: pictures that are embedded are rounded, after each axis.
    np.testing.assert_allclose(found, fit_stored(batch, size, larger), atol=1.001)
    assert augmentation.augment(tf.constant(batch), seed(0), size, PLAIN, larger).shape == found.shape


@pytest.mark.parametrize(("size", "padding"), [(32, 4), (80, 8)])
def test_crops_are_windows_of_the_padded_picture_at_every_place(size, padding):
    batch = np.repeat(pictures(400, size)[..., :1], 3, axis=-1)
    result = augmentation.augment(batch, seed(0), size, PLAIN).numpy()
    # Pictures have no black pixels: black rows and columns tell where the window lay.
    filled = result[..., 0] > 0
    tops, lefts = set(), set()
    for picture, crop, mask in zip(batch, result, filled, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        top = padding + (size - 1 - rows[-1]) if rows[-1] < size - 1 else padding - rows[0]
        left = padding + (size - 1 - columns[-1]) if columns[-1] < size - 1 else padding - columns[0]
        padded = np.pad(picture, ((padding, padding), (padding, padding), (0, 0)))
        np.testing.assert_array_equal(crop, padded[top : top + size, left : left + size])
        tops.add(int(top))
        lefts.add(int(left))
    assert tops == lefts == set(range(2 * padding + 1))


def test_about_half_the_pictures_are_mirrored():
    batch = pictures(200).astype(np.float32)
    result = augmentation.random_mirror(tf.constant(batch), seed(0)).numpy()
    mirrored = [np.array_equal(r, b[:, ::-1]) for r, b in zip(result, batch, strict=True)]
    same = [np.array_equal(r, b) for r, b in zip(result, batch, strict=True)]
    assert all(m != s for m, s in zip(mirrored, same, strict=True))
    assert 70 <= sum(mirrored) <= 130  # 4 standard deviations.


def test_colour_factors_by_hand():
    # Within 0-255 nothing is clipped, and then the three steps commute: one formula holds for every order.
    batch = pictures(16, 8, 100, 150).astype(np.float64)
    brightness, contrast, saturation = (
        tf.random.stateless_uniform([3, 16, 1, 1, 1], seed(1), 0.8, 1.2, alg="philox").numpy().astype(np.float64)
    )
    bright = batch * brightness
    grey = (bright @ GREY)[..., None]
    mean = grey.mean((1, 2), keepdims=True)
    expected = mean + (grey + (bright - grey) * saturation - mean) * contrast
    for order in range(4):
        found = augmentation.color_jitter(tf.constant(batch, tf.float32), 0.2, seed(1), seed(order))
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_all_orders_of_the_colour_steps_occur():
    # Where values are clipped, the order shows.
    harsh = tf.constant(np.random.RandomState(0).choice([0.0, 255.0], (32, 4, 4, 3)).astype(np.float32))
    results = {augmentation.color_jitter(harsh, 0.9, seed(1), seed(n)).numpy().tobytes() for n in range(60)}
    assert len(results) == 6
