"""`make demo`, as somebody runs it who has installed the packages."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.speed.head_steps import OURS
from benchmarks.speed.timing import Comparison

_CHECKOUT = Path(__file__).parents[2]


def measure(_: int) -> Comparison:
    """Times it once, from nothing in its folder to the report."""
    with tempfile.TemporaryDirectory() as folder:
        there = [f"VENV={sys.prefix}", "-o", "install", f"RUN={folder}/demo"]
        start = time.perf_counter()
        subprocess.run(["make", "demo", *there], cwd=_CHECKOUT, check=True, stdout=subprocess.DEVNULL)
        return Comparison("run", {"`make demo`": {OURS: [time.perf_counter() - start]}})
