"""The allocator keeps what is freed: taking and freeing a block again and again faults no pages."""

import subprocess
import sys

import pytest

CODE = """
import ctypes, resource, sys
from sib_tf import runtime
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
if not runtime.keep_freed_memory():
    sys.exit(3)
size = 24 << 20  # Above what glibc would keep of itself at first.
def turn():
    blocks = [libc.malloc(size) for _ in range(5)]  # More than may lie ready since the start.
    for block in blocks:
        libc.memset(block, 1, size)
    for block in blocks:
        libc.free(block)
if sys.argv[1] == "drawn":
    import numpy as np
    from sib_tf.config import EpisodeSpec
    from sib_tf.episodes import EpisodeSampler, stream
    batches = iter(stream(EpisodeSampler(np.repeat(np.arange(6), 20), EpisodeSpec(), 0), 2, 1))
    next(batches)
turn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    turn()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20)
"""


@pytest.mark.parametrize("while_", ["alone", "drawn"])
def test_freed_memory_is_kept(while_):
    """Also once episodes are drawn ahead: some datasets of TensorFlow have the allocator give all back."""
    found = subprocess.run([sys.executable, "-c", CODE, while_], capture_output=True, text=True)
    if found.returncode == 3:
        pytest.skip("the allocator is not glibc's")
    assert found.returncode == 0, found.stderr
    assert float(found.stdout) < 10  # 30,720 pages are in the blocks.
