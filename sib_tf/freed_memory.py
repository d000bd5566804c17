"""Keeps glibc from giving freed memory back to the system between small operations."""

import ctypes

# Of mallopt(3): blocks below 32 MB, the most that is allowed, come from a heap, and no heap is trimmed or removed that
# has less than 64 MB to give back.
_SETTINGS = {"M_MMAP_THRESHOLD": (-3, 32 << 20), "M_TRIM_THRESHOLD": (-1, 1 << 30), "M_TOP_PAD": (-2, 64 << 20)}


def keep() -> bool:
    """Tells the allocator to keep what is freed; returns False where it is not glibc's, and nothing was done.

    The matrix products of a meta-training step take and free buffers of some 100 kB each. Depending on what else lies
    in the heap, which differs between runs, glibc may hand each of them back at once: measured were 400 page faults a
    step, and four times its time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(*setting) == 1 for setting in _SETTINGS.values())
