"""Colour profiles made on the spot."""

import struct

import numpy as np

# Primaries as [X, Y, Z], in the white of ICC profiles.
P3 = np.array([(0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407)])
SRGB = np.array([(0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.7141)])


WHITE = (0.9642, 1, 0.8249)


def matrix_profile(primaries: np.ndarray) -> bytes:
    """An ICC profile of three primaries and the curve of sRGB."""
    curve = b"para\0\0\0\0\0\x03\0\0" + _fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    tags = []
    for name, xyz in zip("rgb", primaries, strict=True):
        tags += [(f"{name}XYZ".encode(), b"XYZ \0\0\0\0" + _fixed(*xyz)), (f"{name}TRC".encode(), curve)]
    return _profile(b"RGB ", tags)


def grey_profile(gamma: float) -> bytes:
    """An ICC profile of grey levels whose light is their power `gamma`."""
    return _profile(b"GRAY", [(b"kTRC", b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 * gamma)))])


def _profile(colours: bytes, tags: list[tuple[bytes, bytes]]) -> bytes:
    tags = [(b"desc", b"text\0\0\0\0any\0"), (b"wtpt", b"XYZ \0\0\0\0" + _fixed(*WHITE)), *tags]
    offset, directory, data = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, body in tags:
        body += bytes(-len(body) % 4)
        directory += name + struct.pack(">II", offset + len(data), len(body))
        data += body
    header = struct.pack(">I4xI4s4s4s12x4s28x", offset + len(data), 0x04300000, b"mntr", colours, b"XYZ ", b"acsp")
    header += _fixed(*WHITE)
    return header.ljust(128, b"\0") + directory + data


def _fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)
