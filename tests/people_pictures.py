"""Picture files as people have them, drawn on the spot: turned, in other colours, of more bits, with alpha."""

import functools
import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from colour_profiles import P3, grey_profile, matrix_profile
from PIL import Image, features
from PIL.PngImagePlugin import PngInfo

_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)
# A JPEG of these is the same pixels whoever decodes it.
_JPEG = {"quality": 95, "subsampling": 0}


def drawn(seed: int = 0) -> Image.Image:
    """A smooth RGB picture of 300 x 225 pixels, of colours that sRGB has in every profile used here."""
    noise = np.random.RandomState(seed).randint(50, 206, (12, 16, 3), np.uint8)
    return Image.fromarray(noise).resize((300, 225), Image.Resampling.BICUBIC)


def turned(orientation: int) -> bytes:
    """EXIF that says how a picture is turned, 1 to 8."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def _saved(form: str, picture: Image.Image, **options) -> bytes:
    options = {"JPEG": _JPEG, "WEBP": {"lossless": True}, "AVIF": {"quality": 95}}.get(form, {}) | options
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png_16(*channels: int, extra: bytes = b"") -> bytes:
    """A PNG of 16 bits a channel, of some of the picture's channels; `extra` chunks behind its header."""
    pixels = np.asarray(drawn())[..., channels].astype(np.uint16) * 257
    fine = (pixels + np.random.RandomState(1).randint(-100, 101, pixels.shape)).astype(">u2")
    height, width, count = fine.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 3: 2}[count], 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in fine)
    parts = [_chunk(b"IHDR", header), extra, _chunk(b"IDAT", zlib.compress(rows)), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _with_gamma() -> bytes:
    png = _saved("PNG", drawn())
    return png[:33] + _chunk(b"gAMA", struct.pack(">I", 100_000)) + png[33:]


def _with_alpha(**options) -> bytes:
    picture = drawn()
    picture.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 300).astype(np.uint8), (225, 1))))
    return _saved("PNG", picture, **options)


def _cmyk() -> bytes:
    inks = np.asarray(drawn().convert("CMYK")).copy()
    inks[..., 3] = np.linspace(0, 120, 300).astype(np.uint8)
    return _saved("JPEG", Image.fromarray(inks, "CMYK"))


def _xmp_in_png() -> bytes:
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", _XMP.decode())
    return _saved("PNG", drawn(), pnginfo=info)


def kinds() -> dict[str, Callable[[], bytes]]:
    """Returns what draws a file, by its kind; AVIF where this Pillow has it."""
    p3, grey = matrix_profile(P3), grey_profile(1.4)
    avif = ["AVIF"] if features.check("avif") else []
    found = {
        f"plain {form}": functools.partial(_saved, form, drawn()) for form in ("JPEG", "PNG", "WEBP", "GIF", "BMP")
    }
    for form in ["JPEG", "PNG", "WEBP", *avif]:
        for orientation in (2, 3, 5, 6, 8):
            found[f"EXIF {orientation} {form}"] = functools.partial(_saved, form, drawn(), exif=turned(orientation))
        found[f"P3 {form}"] = functools.partial(_saved, form, drawn(), icc_profile=p3)
    found |= {
        "P3 EXIF JPEG": functools.partial(_saved, "JPEG", drawn(), icc_profile=p3, exif=turned(6)),
        "P3 alpha": functools.partial(_with_alpha, icc_profile=p3),
        "P3 16-bit": lambda: _png_16(0, 1, 2, extra=_chunk(b"iCCP", b"p\0\0" + zlib.compress(p3))),
        "16-bit": lambda: _png_16(0, 1, 2),
        "16-bit grey": lambda: _png_16(0),
        "alpha": _with_alpha,
        "CMYK JPEG": _cmyk,
        "grey JPEG": functools.partial(_saved, "JPEG", drawn().convert("L")),
        "grey profile JPEG": functools.partial(_saved, "JPEG", drawn().convert("L"), icc_profile=grey),
        "grey profile PNG": functools.partial(_saved, "PNG", drawn().convert("L"), icc_profile=grey),
        "gamma": _with_gamma,
        "XMP JPEG": functools.partial(_saved, "JPEG", drawn(), xmp=_XMP),
        "XMP PNG": _xmp_in_png,
        "XMP WEBP": functools.partial(_saved, "WEBP", drawn(), xmp=_XMP),
    }
    return found
