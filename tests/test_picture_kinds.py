"""Pictures as people have them: formats, metadata that are broken or huge, giants, colours."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from colour_profiles import P3, SRGB, matrix_profile
from conftest import CHECKOUT
from PIL import Image, ImageCms, ImageOps, TiffImagePlugin, features

from sib_tf.errors import InputError
from sib_tf.pictures import decoders
from sib_tf.pictures.pixels import read_picture

RED, BLUE = (255, 0, 0), (0, 0, 255)
SHAPE = (40, 60, 3)


def halves() -> np.ndarray:
    """Left half red, right half blue, uint8 `SHAPE`."""
    pixels = np.zeros(SHAPE, np.uint8)
    pixels[:, :30], pixels[:, 30:] = RED, BLUE
    return pixels


def encoded(form: str, image=None, **options) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(halves()) if image is None else image).save(buffer, form, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes, checksum_off_by: int = 0) -> bytes:
    checksum = zlib.crc32(kind + body) ^ checksum_off_by
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def with_chunk(*chunks: bytes) -> bytes:
    """A PNG with chunks behind its header, which is 33 bytes long."""
    png = encoded("PNG")
    return png[:33] + b"".join(chunks) + png[33:]


def with_segment(marker: int, body: bytes) -> bytes:
    """A JPEG with a segment behind its first two bytes."""
    jpeg = encoded("JPEG", quality=95, subsampling=0)
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body + jpeg[2:]


def read(content: bytes, size=None) -> np.ndarray:
    return read_picture("it", size, content)


@pytest.mark.parametrize("form", ["TIFF", "AVIF", "HEIF", "MPO", "DIB-like"])
def test_further_formats_are_read_whatever_their_name(tmp_path, form):
    if form == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    if form == "HEIF":
        heif = pytest.importorskip("pillow_heif")
        buffer = io.BytesIO()
        heif.from_pillow(Image.fromarray(halves())).save(buffer, quality=-1, chroma=444)
        content = buffer.getvalue()
    else:
        content = encoded({"DIB-like": "BMP"}.get(form, form))
    (tmp_path / "scan").write_bytes(content)
    found = read_picture(tmp_path / "scan").astype(int)
    assert found.shape == SHAPE
    # Away from the border, over which codecs smear colours.
    assert np.abs(found - halves())[:, [*range(20), *range(40, 60)]].max() <= (8 if form in ("AVIF", "MPO") else 3)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_orientation_is_applied_once(form):
    if form == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    exif = Image.Exif()
    exif[0x0112] = 6
    found = read(encoded(form, exif=exif, quality=95))
    assert found.shape == (60, 40, 3)
    assert found[5, 20, 0] > 200 > 50 > found[5, 20, 2]  # A quarter clockwise: what was left is on top.


def test_orientation_of_heif_is_applied_once():
    heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    heif.from_pillow(Image.fromarray(halves())).save(buffer, quality=-1, exif=exif.tobytes())
    found = read(buffer.getvalue())
    assert found.shape == (60, 40, 3)
    assert found[5, 20, 0] > 200 > 50 > found[5, 20, 2]  # A quarter clockwise: what was left is on top.


@pytest.mark.parametrize("name", ["AVIF", "HEIF"])
def test_without_a_decoder_the_format_and_the_remedy_are_named(monkeypatch, name):
    brand = {"AVIF": b"avif", "HEIF": b"heic"}[name]
    monkeypatch.setitem(decoders._OPTIONAL, name, ("no_such_module", "X", "so is it brought"))
    with pytest.raises(InputError, match=rf"it cannot be read .*\({name}, and no decoder .*: so is it brought\)"):
        read(b"\0\0\0\x18ftyp" + brand + bytes(50))


def bitmap(rgba: np.ndarray) -> bytes:
    """A BMP of 32 bits whose header says that the fourth byte is alpha, as editors write it."""
    height, width, _ = rgba.shape
    header = struct.pack("<IiiHHII16x", 108, width, height, 1, 32, 3, rgba.size)
    header += struct.pack("<4I4s48x", 0xFF0000, 0xFF00, 0xFF, 0xFF000000, b"BGRs")
    data = rgba[::-1, :, [2, 1, 0, 3]].tobytes()
    return struct.pack("<2sI4xI", b"BM", 122 + len(data), 122) + header + data


def test_a_bitmap_whose_fourth_bytes_are_all_0_has_no_transparency():
    rgba = np.dstack([halves(), np.zeros((40, 60), np.uint8)])
    np.testing.assert_array_equal(read(bitmap(rgba)), halves())
    rgba[0, 0, 3] = 255
    assert read(bitmap(rgba))[:2, 0].tolist() == [list(RED), [255, 255, 255]]


def test_16_bit_grey_with_a_transparent_level_shows_white_there():
    levels = np.array([[0, 257 * 7, 257 * 100]], ">u2")
    header = struct.pack(">IIBBBBB", 3, 1, 16, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"tRNS", struct.pack(">H", 257 * 7))]
    parts += [chunk(b"IDAT", zlib.compress(b"\0" + levels.tobytes())), chunk(b"IEND", b"")]
    assert read(b"\x89PNG\r\n\x1a\n" + b"".join(parts))[0, :, 0].tolist() == [0, 255, 100]


@pytest.mark.parametrize("pixels", [np.full((4, 4), 0.5, np.float32), np.full((4, 4), 70000, np.int32)])
def test_grey_levels_of_no_known_range_are_refused(pixels):
    with pytest.raises(InputError, match=r"nothing says which is white; save it with 8 bits"):
        read(encoded("TIFF", Image.fromarray(pixels)))


BROKEN_EXIF = b"\x08\x00\x02\x01\x12\x00\x03\x00"
METADATA = {
    "2 MB of compressed text": chunk(b"zTXt", b"prompt\0\0" + zlib.compress(b"x" * (2 << 20))),
    "text that is not compressed": chunk(b"zTXt", b"prompt\0\0" + b"nothing"),
    "broken text": chunk(b"iTXt", b"\xff" * 9),
    "text with a wrong checksum": chunk(b"tEXt", b"a\0b", checksum_off_by=1),
    "broken EXIF": chunk(b"eXIf", BROKEN_EXIF),
    "a profile that is none": chunk(b"iCCP", b"p\0\0" + zlib.compress(b"nothing")),
    "a profile that does not unpack": chunk(b"iCCP", b"p\0\0nothing"),
    "a broken animation": chunk(b"acTL", b"\0"),
}


@pytest.mark.parametrize("name", METADATA)
def test_metadata_of_png_never_keep_its_pixels_from_being_read(name):
    np.testing.assert_array_equal(read(with_chunk(METADATA[name])), halves())


@pytest.mark.parametrize("kind", [b"tRNS", b"QRSt"])
def test_parts_of_png_that_pixels_need_must_be_whole_and_known(kind):
    with pytest.raises(InputError, match=r"a checksum is wrong|is needed to show it"):
        read(with_chunk(chunk(kind, b"\0\0\0\0\0\0", checksum_off_by=kind == b"tRNS")))


SEGMENTS = {
    "broken EXIF": (0xE1, b"Exif\0\0" + BROKEN_EXIF),
    "EXIF that ends early": (0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\x09\x01\x12"),
    "a broken list of pictures": (0xE2, b"MPF\0MM\0*\0\0\0\x08\xff\xff"),
    "a broken profile": (0xE2, b"ICC_PROFILE\0\x01\x01nothing"),
    "broken Photoshop data": (0xED, b"Photoshop 3.0\0" + b"8BIM\xff"),
    "orientation in XMP": (0xE1, b'http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="6"/>'),
}


@pytest.mark.parametrize("name", SEGMENTS)
def test_metadata_of_jpeg_never_keep_its_pixels_from_being_read_and_xmp_turns_nothing(name):
    expected = read(encoded("JPEG", quality=95, subsampling=0))
    np.testing.assert_array_equal(read(with_segment(*SEGMENTS[name])), expected)


def test_broken_exif_of_webp_and_tiff_says_nothing():
    np.testing.assert_array_equal(read(encoded("WEBP", lossless=True, exif=BROKEN_EXIF)), halves())
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    directory[34665] = 1 << 20  # Its EXIF would lie behind the file's end.
    directory.tagtype[34665] = 4
    np.testing.assert_array_equal(read(encoded("TIFF", tiffinfo=directory)), halves())


@pytest.mark.parametrize("name", ["IMG.DNG", "IMG.nef"])
def test_raw_files_are_refused_their_thumbnail_is_not_the_picture(tmp_path, name):
    (tmp_path / name).write_bytes(encoded("TIFF"))
    with pytest.raises(InputError, match=r"a raw file of a camera, which is not read; export it as JPEG"):
        read_picture(tmp_path / name)
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    directory[50706] = b"\1\4\0\0"
    with pytest.raises(InputError, match="raw file"):
        read(encoded("TIFF", tiffinfo=directory))


def smooth(width: int, height: int) -> Image.Image:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8))
    return noise.resize((width, height), Image.Resampling.BILINEAR)


# Sides that are no multiples of 8 end in a part of a pixel.
@pytest.mark.parametrize("sides", [(1200, 900), (901, 1203), (1999, 1501)])
@pytest.mark.parametrize("turn", [1, 6])
def test_large_jpegs_are_decoded_at_reduced_size_to_the_same_pixels(sides, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    content = encoded("JPEG", smooth(*sides), quality=90, exif=exif)
    with decoders.open_picture(io.BytesIO(content), size=32) as image:
        assert image.size == tuple(-(-side // 8) for side in sides)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    whole = ImageOps.fit(upright, (32, 32), Image.Resampling.BILINEAR)
    assert np.abs(read(content, 32) - np.asarray(whole, int)).max() <= 1


def test_giants_are_read_if_the_decoder_scales_them(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20_000)
    large = smooth(400, 300)
    assert read(encoded("JPEG", large), 16).shape == (16, 16, 3)
    refusals = [("JPEG", {}, None, r"20,000 pixels allowed\)"), ("PNG", {}, 16, r"20,000 pixels allowed\)")]
    refusals += [("JPEG", {}, 200, r"cannot be decoded at reduced size\)")]
    refusals += [("JPEG", {"progressive": True}, 16, r"cannot be decoded at reduced size, being progressive\)")]
    refusals += [("WEBP", {}, 16, "20,000 pixels allowed"), ("TIFF", {}, 16, "20,000 pixels allowed")]
    for form, options, size, reason in refusals:
        with pytest.raises(InputError, match=reason):
            read(encoded(form, large, **options), size)


@pytest.mark.slow
def test_a_picture_of_108_megapixels_takes_little_memory(tmp_path):
    smooth(12_000, 9_000).save(tmp_path / "phone.jpg", quality=75)
    code = (
        "import re, sys; from sib_tf.pictures.pixels import read_picture\n"
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) // 1024\n"
        "before = peak(); read_picture(sys.argv[1], 224); print(peak() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "phone.jpg"], cwd=CHECKOUT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 100


@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG"])
@pytest.mark.parametrize("size", [None, 16])
def test_colours_are_converted_from_the_profile_to_srgb(form, size):
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(form, {})
    orange = Image.new("RGB", (40, 40), (200, 120, 60))
    found = read(encoded(form, orange, icc_profile=matrix_profile(P3), **options), size)
    linear = ((np.array([200, 120, 60]) / 255 + 0.055) / 1.055) ** 2.4
    expected = 255 * (1.055 * (linear @ P3 @ np.linalg.inv(SRGB)) ** (1 / 2.4) - 0.055)
    assert expected[0] > 210
    assert np.abs(found - expected).max() <= 3
    assert np.abs(read(encoded(form, orange, **options), size) - [200.0, 120, 60]).max() <= 2


def test_profiles_that_are_srgb_by_another_name_change_nothing():
    named = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8))
    for profile in (named, matrix_profile(SRGB)):
        np.testing.assert_array_equal(read(encoded("PNG", noise, icc_profile=profile)), np.asarray(noise))


def test_profiles_for_pictures_of_another_kind_are_ignored_and_grey_stays_grey():
    grey = Image.new("L", (8, 8), 77)
    assert np.ptp(read(encoded("PNG", grey, icc_profile=matrix_profile(P3))), axis=-1).max() <= 1
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    np.testing.assert_array_equal(read(encoded("PNG", icc_profile=lab)), halves())
