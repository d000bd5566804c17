"""PNG files without what does not change their pixels: no text, however long or broken, keeps them from being read."""

import io
import struct
import zlib
from typing import BinaryIO, NamedTuple

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# What pixels are made of. All other chunks of capital letters are unknown, and may change them.
_KEPT = frozenset([b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"])
# What describes them, and the further frames of animations.
_KNOWN = frozenset(
    b"acTL bKGD cHRM cICP caBX eXIf fcTL fdAT gAMA gIFg gIFx hIST iCCP iTXt mDCV cLLI oFFs pCAL pHYs sBIT sCAL sPLT "
    b"sRGB sTER tEXt tIME vpAg zTXt".split()
)
_MOST_METADATA = 1 << 20
_MOST_PROFILE = 16 << 20


class Png(NamedTuple):
    """A PNG file in parts.

    Attributes:
        pixels: the file again, of the chunks alone that pixels are made of.
        exif: content of the eXIf chunk; empty without one that is whole.
        profile: the ICC profile; empty without one that is whole.
    """

    pixels: BinaryIO
    exif: bytes
    profile: bytes


def split_png(file: BinaryIO) -> Png:
    """Takes a PNG file apart; metadata whose checksums are wrong are left out.

    Raises:
        ValueError: the file is cut, or a checksum of pixels is wrong.
    """
    kept, metadata, kind = io.BytesIO(), {}, b""
    kept.write(file.read(len(_SIGNATURE)))
    while kind != b"IEND":
        head = file.read(8)
        if len(head) < 8:
            raise ValueError("the PNG file is cut")
        length, kind = struct.unpack(">I4s", head)
        if kind in _KNOWN and (kind not in (b"eXIf", b"iCCP") or length > _MOST_METADATA):
            file.seek(length + 4, io.SEEK_CUR)
            continue
        body, checksum = file.read(length), file.read(4)
        if len(body) < length or len(checksum) < 4:
            raise ValueError("the PNG file is cut")
        whole = zlib.crc32(body, zlib.crc32(kind)) == int.from_bytes(checksum, "big")
        if whole and kind in _KNOWN:
            metadata.setdefault(kind, body)
        elif not whole and kind not in _KNOWN:
            raise ValueError(f"a checksum is wrong, that of {ascii(kind.decode('latin-1'))}")
        elif kind in _KEPT:
            kept.write(head + body + checksum)
        elif kind[:1].isupper():
            raise ValueError(f"an unknown part {ascii(kind.decode('latin-1'))} is needed to show it")
    kept.seek(0)
    return Png(kept, metadata.get(b"eXIf", b""), _profile(metadata.get(b"iCCP", b"")))


def _profile(body: bytes) -> bytes:
    _, _, packed = body.partition(b"\0")  # Name, and one byte for the only method there is.
    try:
        return zlib.decompressobj().decompress(packed[1:], _MOST_PROFILE)
    except zlib.error:
        return b""
