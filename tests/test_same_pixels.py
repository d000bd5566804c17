"""Real and generated pictures of any size are the same pixels in Python, in data sets and in the browser."""

import contextlib
from pathlib import Path

import numpy as np
import PIL
import pytest
import tensorflow as tf
from colour_profiles import P3, matrix_profile
from conftest import real_data
from exported import load_run, write_run, write_tflite
from PIL import Image
from web_visitor import Visitor, launcher, served

from sib_tf import augmentation, datasets
from sib_tf.config import BackboneConfig
from sib_tf.pictures import picture_folders
from sib_tf.pictures.pixels import fit_picture, fit_stored, read_picture
from sib_tf.prediction.litert import LiteRTClassifier

SIZE = 224
# [width, height]: enlarged, reduced, one of each, turned, cropped by half a pixel.
SHAPES = ((20, 31), (227, 227), (1200, 800), (1, 1), (300, 100), (64, 500), (224, 225))
# Before 13, Pillow filtered tall pictures along the rows first, too.
EXACT = int(PIL.__version__.split(".")[0]) >= 13


@pytest.fixture(scope="module")
def photographs() -> list[Path]:
    """Files of all domains of PACS, 227 x 227, JPEG and PNG."""
    return sorted(real_data("pacs").glob("*/*/*"))[::150]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page with a model of 224 pixels, and the model's path."""
    with launcher() as launch:  # Where there is no browser, nothing is exported either.
        folder = tmp_path_factory.mktemp("page")
        run = load_run(write_run(folder / "run", BackboneConfig(width=4, image_size=SIZE), num_steps=1))
        model = write_tflite(run, folder / "model.tflite", 4, 8, 40)
        with served(model) as url, contextlib.closing(launch().new_page()) as page:
            yield Visitor(page, url).wait_for_model(), model


def read_by_page(visitor: Visitor, path: Path, size: int) -> np.ndarray:
    visitor.page.unroute_all()
    visitor.page.route("**/picture", lambda route: route.fulfill(path=path))
    pixels = visitor.page.evaluate(
        """async (size) => {
          const {readPicture} = await import('./picture.js');
          return [...await readPicture(await (await fetch('picture')).blob(), size)];
        }""",
        size,
    )
    return np.reshape(pixels, (size, size, 3))


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), SHAPES)
def test_the_browser_enlarges_and_reduces_as_pillow_does(page, width, height):
    picture = Image.fromarray(np.random.RandomState(0).randint(0, 256, (height, width, 3), np.uint8))
    picture.save("noise.png", compress_level=1)
    for size in (32, SIZE):
        differences = np.abs(read_by_page(page[0], Path("noise.png"), size) - fit_picture(picture, size).astype(int))
        assert differences.max() <= (0 if EXACT or height <= width else 1)


@pytest.mark.slow
@pytest.mark.parametrize(("form", "profile"), [("PNG", P3), ("JPEG", P3), ("WEBP", P3), ("JPEG", None)])
def test_the_browser_converts_colours_from_profiles_as_pillow_does(page, form, profile):
    noise = Image.fromarray(np.random.RandomState(0).randint(50, 206, (12, 16, 3), np.uint8))
    picture = noise.resize((600, 450), Image.Resampling.BICUBIC)
    options = {"PNG": {}, "JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}[form]
    if profile is None:
        options["xmp"] = b'<x tiff:Orientation="6"/>'  # Of EXIF alone is heard.
    else:
        options |= {"icc_profile": matrix_profile(profile), "exif": _turned()}
    picture.save("picture", form, **options)
    found, expected = read_by_page(page[0], Path("picture"), SIZE), read_picture("picture", SIZE).astype(int)
    differences = np.abs(found - expected)
    assert differences.max() <= 1
    assert differences.mean() < 0.06
    if profile is not None:
        assert np.abs(found - fit_picture(picture.transpose(Image.Transpose.ROTATE_270), SIZE)).mean() > 3


@pytest.mark.slow
@pytest.mark.parametrize(("form", "orientation"), [("PNG", 6), ("WEBP", 2), ("WEBP", 3), ("WEBP", 5), ("WEBP", 8)])
def test_the_browser_turns_pictures_as_pillow_does(page, form, orientation):
    picture = Image.fromarray(np.random.RandomState(0).randint(0, 256, (40, 30, 3), np.uint8))
    picture.save("picture", form, exif=_turned(orientation), lossless=True)
    found = read_by_page(page[0], Path("picture"), 32)
    np.testing.assert_allclose(found, read_picture("picture", 32), atol=0 if EXACT else 1)


def _turned(orientation: int = 6) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


@pytest.mark.slow
def test_the_browser_learns_from_photographs_as_the_runner_does(page, photographs):
    visitor, model = page
    # Decoders of JPEG may differ by a few grey levels; for 32 pixels Python's decodes at reduced size.
    for size, mean in ((32, 0.5), (SIZE, 0.1), (300, 0.1)):
        differences = np.abs(
            read_by_page(visitor, photographs[0], size) - read_picture(photographs[0], size).astype(int)
        )
        assert differences.max() <= 4
        assert differences.mean() < mean
    visitor.give_files(visitor.card(0), photographs[:1])
    visitor.give_files(visitor.card(1), photographs[-1:])
    visitor.give_files(visitor.pile(), photographs[1:-1])
    result = visitor.wait_for_pile(len(photographs) - 2)
    classifier = LiteRTClassifier(model).fit([photographs[0], photographs[-1]], [0, 1], photographs[1:-1])
    probabilities = [classifier.predict_proba(photographs[1:-1], step) for step in range(2)]
    np.testing.assert_allclose(result["probabilities"], probabilities, atol=1e-4)
    assert visitor.errors == []


@pytest.mark.slow
def test_the_example_has_as_many_pixels_as_the_model_takes(page):
    visitor, _ = page
    sides = visitor.page.evaluate(
        """async () => {
          const {drawExample} = await import('./example.js');
          const example = (size) => drawExample({way: 5, max_query: 9, image_size: size}, 'pictures');
          return [224, 32].flatMap((size) => example(size).classes.map(({example}) => example.width));
        }"""
    )
    assert sides == [SIZE] * 5 + [128] * 5


def test_a_data_set_of_photographs_has_the_pixels_of_prediction(photographs, tmp_path):
    for i, path in enumerate(photographs):
        folder = tmp_path / "pictures" / f"class {i % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}{path.suffix}").write_bytes(path.read_bytes())
    data = datasets.load("folder", str(tmp_path / "pictures"), str(tmp_path / "cache"), {"image_size": SIZE})
    stored = np.concatenate([data.split(name).images for name in ("train", "validation", "test")])
    support = picture_folders.read_support(tmp_path / "pictures", SIZE).pictures
    assert sorted(map(bytes, stored)) == sorted(map(bytes, support))
    # Stored larger than they are, they are reduced again: little is lost.
    twice = fit_stored(np.stack([read_picture(path, 2 * SIZE) for path in photographs]), SIZE, larger="reduce")
    once = np.stack([read_picture(path, SIZE) for path in photographs])
    assert np.abs(twice.astype(int) - once).mean() < 3


def test_photographs_in_training_are_those_that_are_embedded(photographs):
    whole = np.stack([read_picture(path) for path in photographs])
    for size in (96, SIZE, 260):
        found = augmentation.plain(tf.constant(whole), size, "reduce")
        np.testing.assert_allclose(found, fit_stored(whole, size, "reduce"), atol=1.001)
