"""Which format a picture file has, by its first bytes, and what its suffix promises. Light: nothing is decoded."""

import re

# What readers and messages call the formats that are read.
READ = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "HEIF")
# Bytes that `format_of` needs.
START = 64


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


SUFFIXES = _set(
    ".jpg .jpeg .jfif .jpe .jif .pjpeg .pjp .mpo .png .apng .webp .bmp .dib .gif .tif .tiff .avif .avifs "
    ".heic .heics .heif .heifs .hif"
)
# Pictures that people have and nothing here reads: named, never passed over in silence. Raw files are TIFF inside, and
# their first picture is a thumbnail.
RAW_SUFFIXES = _set(
    ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .raw .rw2 .rwl .sr2 "
    ".srf .srw .x3f"
)
UNREAD_SUFFIXES = RAW_SUFFIXES | _set(
    ".ai .emf .eps .exr .fits .hdr .icns .ico .j2k .jp2 .jpf .jpx .jxl .jxr .pbm .pcx .pgm .pnm .ppm .psb .psd .svg "
    ".tga .wdp .wmf .xcf"
)

_STARTS = (
    (rb"\xff\xd8\xff", "JPEG"),
    (rb"\x89PNG\r\n\x1a\n", "PNG"),
    (rb"GIF8[79]a", "GIF"),
    (rb"RIFF....WEBP", "WEBP"),
    # The size of the second header, too: texts begin with BM as well.
    (rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", "BMP"),
    (rb"II[*+]\0|MM\0[*+]", "TIFF"),
    # One container for both; who lists AVIF among its brands is one.
    (rb"\0\0..ftyp(?:....)*?avi[fs]", "AVIF"),
    (rb"\0\0..ftyp(?:....)*?(?:hei[cfmsx]|hev[cmsx]|mi[fa]1|msf1)", "HEIF"),
)
_PATTERNS = tuple((re.compile(pattern, re.DOTALL), name) for pattern, name in _STARTS)


def format_of(start: bytes) -> str | None:
    """Returns the format, one of `READ`, of a file that begins with `start` (`START` bytes); None: another, or none."""
    return next((name for pattern, name in _PATTERNS if pattern.match(start)), None)
