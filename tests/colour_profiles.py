"""Colour profiles made on the spot."""

import struct

import numpy as np

# Primaries as [X, Y, Z], in the white of ICC profiles.
P3 = np.array([(0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407)])
SRGB = np.array([(0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.7141)])


def matrix_profile(primaries: np.ndarray) -> bytes:
    """An ICC profile of three primaries and the curve of sRGB."""

    def fixed(*values):
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    tags = [(b"desc", b"text\0\0\0\0any\0"), (b"wtpt", b"XYZ \0\0\0\0" + fixed(0.9642, 1, 0.8249))]
    curve = b"para\0\0\0\0\0\x03\0\0" + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    for name, xyz in zip("rgb", primaries, strict=True):
        tags += [(f"{name}XYZ".encode(), b"XYZ \0\0\0\0" + fixed(*xyz)), (f"{name}TRC".encode(), curve)]
    offset, directory, data = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, body in tags:
        body += bytes(-len(body) % 4)
        directory += name + struct.pack(">II", offset + len(data), len(body))
        data += body
    header = struct.pack(">I4xI4s4s4s12x4s28x", offset + len(data), 0x04300000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    header += fixed(0.9642, 1, 0.8249)
    return header.ljust(128, b"\0") + directory + data
