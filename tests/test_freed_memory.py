"""The allocator keeps what is freed: taking and freeing a block again and again faults no pages."""

import subprocess
import sys

import pytest

CODE = """
import ctypes, resource, sys
from sib_tf import freed_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
if sys.argv[1] == "kept" and not freed_memory.keep():
    sys.exit(3)
size = 8 << 20  # Above what glibc would keep of itself at first.
def turn():
    block = libc.malloc(size); libc.memset(block, 1, size); libc.free(block)
turn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    turn()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20)
"""


def test_freed_memory_is_kept():
    found = subprocess.run([sys.executable, "-c", CODE, "kept"], capture_output=True, text=True)
    if found.returncode == 3:
        pytest.skip("the allocator is not glibc's")
    assert found.returncode == 0, found.stderr
    assert float(found.stdout) < 10  # 2,048 pages are in the block.
