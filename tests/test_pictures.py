"""Decoding picture files: every kind, broken ones, and what is found in a folder."""

import os

import numpy as np
import pytest
from PIL import Image

from sib_tf.errors import InputError
from sib_tf.pictures import pixels
from sib_tf.pictures.files import find_pictures, listing_digest
from sib_tf.pictures.pixels import fit_stored, read_picture

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def stripes(*colors, width=4, height=6) -> np.ndarray:
    """Vertical stripes, uint8 `[height, width * len(colors), 3]`."""
    return np.repeat(np.array([colors], np.uint8), width, axis=1).repeat(height, axis=0)


def save(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".bmp", ".gif", ".webp"])
def test_lossless_formats_are_exact(tmp_path, suffix):
    pixels = stripes(RED, GREEN, BLUE)
    options = {"lossless": True} if suffix == ".webp" else {}
    picture = read_picture(save(tmp_path / f"a{suffix}", pixels, **options))
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, pixels)


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG"])
def test_jpeg_is_close(tmp_path, suffix):
    pixels = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    np.testing.assert_allclose(read_picture(save(tmp_path / f"a{suffix}", pixels)), pixels, atol=2)


def test_the_content_tells_the_format_not_the_name(tmp_path):
    path = save(tmp_path / "a.jpg", stripes(RED, BLUE), format="PNG")
    np.testing.assert_array_equal(read_picture(path), stripes(RED, BLUE))


def test_of_an_animation_the_first_frame_counts(tmp_path):
    first, second = (Image.fromarray(stripes(color)) for color in (RED, BLUE))
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    np.testing.assert_array_equal(read_picture(tmp_path / "a.gif"), stripes(RED))


def test_grey_becomes_three_equal_channels(tmp_path):
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    np.testing.assert_array_equal(read_picture(save(tmp_path / "a.png", grey)), np.stack([grey] * 3, -1))


def test_16_bit_grey_is_scaled_not_cut(tmp_path):
    # 65535 / 257 = 255: each 8-bit grey g is the 16-bit grey 257 g.
    path = save(tmp_path / "a.png", np.array([[0, 257, 257 * 128, 65535, 128, 129]], np.uint16))
    assert read_picture(path)[0, :, 0].tolist() == [0, 1, 128, 255, 0, 1]


def test_one_bit_pictures_are_black_and_white(tmp_path):
    Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1").save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png")[0].tolist() == [[0, 0, 0], [255, 255, 255]]


def test_palettes_are_looked_up_and_their_transparent_entry_is_white(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putdata([0, 1])
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "b.png", transparency=0)
    assert read_picture(tmp_path / "a.png")[0].tolist() == [list(RED), list(BLUE)]
    assert read_picture(tmp_path / "b.png")[0].tolist() == [list(WHITE), list(BLUE)]


def test_alpha_is_laid_on_white(tmp_path):
    # Half transparent black on white: 255 * (1 - 128 / 255) = 127.
    rgba = np.array([[(0, 0, 0, 0), (0, 0, 0, 128), (10, 20, 30, 255)]], np.uint8)
    expected = [[255] * 3, [127] * 3, [10, 20, 30]]
    assert read_picture(save(tmp_path / "a.png", rgba))[0].tolist() == expected
    Image.fromarray(rgba).convert("LA").save(tmp_path / "b.png")
    assert read_picture(tmp_path / "b.png")[0, :2].tolist() == expected[:2]
    assert read_picture(save(tmp_path / "c.webp", rgba, lossless=True))[0].tolist() == expected


def test_alpha_is_laid_on_white_in_strips_as_at_once(tmp_path, monkeypatch):
    rgba = np.random.default_rng(0).integers(0, 256, (13, 7, 4), np.uint8)
    path = save(tmp_path / "a.png", rgba)
    whole = read_picture(path)
    monkeypatch.setattr(pixels, "_STRIP_PIXELS", 15)  # Two rows.
    np.testing.assert_array_equal(read_picture(path), whole)


def test_cmyk_jpeg_becomes_rgb(tmp_path):
    Image.new("CMYK", (16, 16), (255, 0, 0, 0)).save(tmp_path / "a.jpg")
    np.testing.assert_allclose(read_picture(tmp_path / "a.jpg"), np.full((16, 16, 3), (0, 255, 255)), atol=3)


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # Shown turned a quarter clockwise.
    path = save(tmp_path / "a.png", stripes(RED, BLUE), exif=exif)
    np.testing.assert_array_equal(read_picture(path), np.rot90(stripes(RED, BLUE), -1))


def test_resizing_keeps_the_middle_of_the_longer_side(tmp_path):
    wide = stripes(RED, GREEN, BLUE, width=20, height=20)
    np.testing.assert_array_equal(
        read_picture(save(tmp_path / "wide.png", wide), 20), stripes(GREEN, width=20, height=20)
    )
    tall = np.ascontiguousarray(wide.transpose(1, 0, 2))
    scaled = np.asarray(Image.fromarray(tall).resize((10, 30), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(read_picture(save(tmp_path / "tall.png", tall), 10), scaled[10:20])


def test_the_size_asked_for_leaves_pixels_alone(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    np.testing.assert_array_equal(read_picture(save(tmp_path / "a.png", pixels), 20), pixels)


def test_shrinking_is_antialiased(tmp_path):
    checkers = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    assert np.ptp(read_picture(save(tmp_path / "a.png", checkers), 16)) <= 2


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 5000), (5000, 1), (3, 7), (200, 90)])
def test_any_size_gives_a_square(tmp_path, width, height):
    path = save(tmp_path / "a.png", np.full((height, width, 3), 7, np.uint8))
    np.testing.assert_array_equal(read_picture(path, 32), np.full((32, 32, 3), 7))


@pytest.mark.parametrize(("width", "height"), [(20, 31), (1, 1), (32, 32), (227, 227), (224, 225), (300, 100)])
@pytest.mark.parametrize("size", [32, 224])
def test_smaller_pictures_are_enlarged_and_larger_ones_reduced(tmp_path, width, height, size):
    pixels = np.random.RandomState(0).randint(0, 256, (height, width, 3), np.uint8)
    found = read_picture(save(tmp_path / "a.png", pixels), size)
    # In floating point, without the roundings to whole grey levels on the way.
    expected = scaled(scaled(pixels.astype(float), size, width, height, 1), size, height, width, 0)
    assert np.abs(found - expected).max() <= 1
    np.testing.assert_array_equal(fit_stored(pixels[None], size, larger="reduce")[0], found)


def scaled(pixels: np.ndarray, size: int, side: int, other: int, axis: int) -> np.ndarray:
    """The middle of an axis of length `side` through a triangle filter, as wide as a pixel of the result if larger."""
    length = min(side, other)
    scale = length / size
    centres = (side - length) / 2 + (np.arange(size) + 0.5) * scale
    weights = 1 - np.abs(np.arange(side) + 0.5 - centres[:, None]) / max(scale, 1)
    weights = weights.clip(0) / weights.clip(0).sum(axis=1, keepdims=True)
    return np.moveaxis(np.tensordot(weights, pixels, axes=(1, axis)), 0, axis)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM"])
def test_what_is_no_picture_is_named(tmp_path, content):
    (tmp_path / "odd one.jpg").write_bytes(content)
    with pytest.raises(InputError, match=r"odd one\.jpg cannot be read as a picture \(.+\); replace or remove it\.$"):
        read_picture(tmp_path / "odd one.jpg")


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.png cannot be read as a picture \(No such file or directory\)"):
        read_picture(tmp_path / "gone.png")
    with pytest.raises(InputError, match=r"\(Is a directory\)"):
        read_picture(tmp_path)


@pytest.mark.parametrize("side", [11, 40])
def test_huge_pictures_are_refused(tmp_path, monkeypatch, side):
    path = save(tmp_path / "bomb.png", np.zeros((side, side, 3), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InputError, match=r"bomb\.png .*it has more than the 100 pixels allowed"):
        read_picture(path)


def test_size_must_be_positive(tmp_path):
    with pytest.raises(InputError, match=r"size must be at least 1 pixel; got 0\."):
        read_picture(tmp_path / "a.png", 0)


def test_pictures_are_found_at_any_depth_and_sorted(tmp_path):
    wanted = ["a/deep/down/z.png", "b.JPG", "name, with ünicode.WebP"]
    for name in [*wanted, ".hidden/x.png", "__MACOSX/y.png", "a/._z.png", "a/Thumbs.db", ".DS_Store", ".png", "a.txt"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert find_pictures(tmp_path) == [tmp_path / name for name in wanted]


def test_links_are_followed_but_never_in_circles(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x.png").touch()
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "one").symlink_to(tmp_path / "real")
    (tmp_path / "class" / "same").symlink_to(tmp_path / "real")
    (tmp_path / "class" / "up").symlink_to(tmp_path / "class")
    (tmp_path / "class" / "y.png").symlink_to(tmp_path / "real" / "x.png")
    assert find_pictures(tmp_path / "class") == [tmp_path / "class/one/x.png", tmp_path / "class/y.png"]


def test_names_that_are_not_text_are_refused(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.png")).touch()
    with pytest.raises(InputError, match=r"caf\\udce9\.png' has a name that is not valid UTF-8; rename it\."):
        find_pictures(tmp_path)


def test_folders_that_cannot_be_opened_are_named(tmp_path):
    with pytest.raises(InputError, match=r"Folder .*gone cannot be opened \(No such file or directory\)"):
        find_pictures(tmp_path / "gone")


def test_the_digest_follows_names_sizes_times_and_context(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    os.utime(path, (1, 1))
    digest = listing_digest([("a", path)], "x")
    assert digest == listing_digest([("a", path)], "x")
    assert digest != listing_digest([("b", path)], "x")
    assert digest != listing_digest([("a", path)], "y")
    os.utime(path, (2, 2))
    assert digest != listing_digest([("a", path)], "x")
    path.write_bytes(b"longer")
    os.utime(path, (1, 1))
    assert digest != listing_digest([("a", path)], "x")
    path.unlink()
    assert digest != listing_digest([("a", path)], "x")
