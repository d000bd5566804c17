"""Damaged copies of files: seeded single-bit flips and truncations, and what must come of them."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from sib_tf.errors import InputError


def damaged(data: bytes, flips: int, cuts: int) -> Iterator[tuple[str, bytes]]:
    """Yields (what was done, the damaged bytes): single-bit flips, then truncations, at seeded places.

    Half of the flips are in the first and the last 512 bytes, where formats keep what the rest is read by; always among
    the truncations: nothing left, and the last byte missing.
    """
    random = np.random.RandomState(0)
    edges = min(512, len(data))
    for number in range(flips):
        place = random.randint(len(data))
        if number % 2:
            place = random.randint(edges) if number % 4 == 1 else len(data) - 1 - random.randint(edges)
        bit = random.randint(8)
        changed = bytearray(data)
        changed[place] ^= 1 << bit
        yield f"bit {bit} of byte {place} flipped", bytes(changed)
    for length in [0, len(data) - 1, *random.randint(len(data), size=max(cuts - 2, 0)).tolist()]:
        yield f"cut to {length} bytes", data[:length]


def refused(call: Callable, name: str) -> str:
    """Calls what must end in an InputError of one line that has `name` in it; returns the line."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert name in message
    assert "\n" not in message.strip()
    return message


def check_damage(path: Path, read: Callable, same: Callable, flips: int, cuts: int, refusal: str = "") -> float:
    """Reads damaged copies of a file in its place: refused in one line, or read as the same; the whole one is read.

    Args:
        path: the file; as it was in the end.
        read: takes the path.
        same: takes what `read` gives, and says whether it is what the undamaged file holds.
        flips, cuts: as for `damaged`; two cuts at least.
        refusal: a pattern that every refusal has in it; the name of the file where it is left out.

    Returns:
        The share that was refused.
    """
    whole, refusals = path.read_bytes(), 0
    assert same(read(path))
    try:
        for what, content in damaged(whole, flips, cuts):
            path.write_bytes(content)
            try:
                assert same(read(path)), what
            except InputError as error:
                assert re.search(refusal or re.escape(path.name), str(error)), what
                assert "\n" not in str(error).strip(), what
                refusals += 1
    finally:
        path.write_bytes(whole)
    return refusals / (flips + cuts)
