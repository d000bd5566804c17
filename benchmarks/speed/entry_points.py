"""How soon every command answers: `--help`, and a wrong flag."""

import subprocess
import sys
from pathlib import Path

from benchmarks.speed import timing
from benchmarks.speed.timing import Comparison, Contestant

_CHECKOUT = Path(__file__).resolve().parents[2]


def modules() -> list[str]:
    """Names of all entry points: modules of `train` and `export` that end by running themselves."""
    files = sorted([*_CHECKOUT.glob("train/*.py"), *_CHECKOUT.glob("export/*.py")])
    return [f"{f.parent.name}.{f.stem}" for f in files if "sys.exit(cli.run(" in f.read_text(encoding="utf-8")]


def measure(rounds: int) -> Comparison:
    """Times `--help` of every entry point, a process each."""
    contestants = {"python -c pass": _process("-c", "pass")}
    contestants |= {name: _process("-m", name, "--help") for name in modules()}
    contestants["python -c 'import tensorflow'"] = _process("-c", "import tensorflow")
    return Comparison("process", {"--help": timing.in_turns(contestants, rounds)})


def _process(*arguments: str) -> Contestant:
    command = [sys.executable, *arguments]
    return Contestant(lambda: subprocess.run(command, cwd=_CHECKOUT, check=True, capture_output=True))
