"""The commands in README.md parse, and what they name is there; tests/test_cli_runs.py runs the whole path."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"python -m ((?:train|export)\.\w+) ([^`\n]+)", README)


@pytest.mark.parametrize(("module", "arguments"), COMMANDS)
def test_command_parses(module, arguments):
    flags = importlib.import_module(module).FLAGS
    flags.unparse_flags()
    assert flags(["program", *shlex.split(arguments)]) == ["program"]


def test_all_stages_are_there():
    train = (
        "pretrain",
        "extract_features",
        "meta_train",
        "calibrate",
        "domain_adaptation",
        "evaluate",
        "import_checkpoint",
        "predict",
        "spinning_lines",
        "tune",
    )
    export = ("saved_model", "tflite", "verify", "benchmark_litert", "serving_client")
    wanted = {f"train.{name}" for name in train} | {f"export.{name}" for name in export}
    assert {module for module, _ in COMMANDS} == wanted


@pytest.mark.parametrize("target", re.findall(r"^    make (\w+)$", README, re.MULTILINE))
def test_make_target_exists(target):
    rules = "".join((CHECKOUT / name).read_text() for name in ("Makefile", "benchmarks/results.mk"))
    assert re.search(rf"^{target}:", rules, re.MULTILINE)


@pytest.mark.parametrize("path", re.findall(r"--flagfile=([\w/]+)", README))
def test_flagfile_exists(path):
    assert (CHECKOUT / path).is_file()
