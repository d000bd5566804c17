"""Commands in README.md and flagfiles parse, and what they name is there; test_cli_runs.py runs the whole path."""

import importlib
import re
import shlex

import pytest
from conftest import CHECKOUT

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
FLAGFILES = sorted(path for path in (CHECKOUT / "train/flagfiles").rglob("*") if path.is_file())
COMMANDS = re.findall(r"python -m ((?:train|export)\.\w+) ([^`\n]+)", README)


@pytest.mark.parametrize(("module", "arguments"), COMMANDS)
def test_command_parses(module, arguments):
    flags = importlib.import_module(module).FLAGS
    flags.unparse_flags()
    assert flags(["program", *shlex.split(arguments)]) == ["program"]


def test_every_command_is_there():
    files = [path for folder in ("train", "export") for path in (CHECKOUT / folder).glob("*.py")]
    commands = {f"{path.parent.name}.{path.stem}" for path in files if "cli.run(main" in path.read_text()}
    assert "train.pretrain" in commands
    assert {module for module, _ in COMMANDS} == commands


@pytest.mark.parametrize("path", FLAGFILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_flagfile_parses_and_names_its_command(path):
    command = rf"python -m (\S+) --flagfile=train/flagfiles/{path.parent.name}/{path.name}"
    module = re.search(command, path.read_text())[1]
    assert path.name.startswith(module.split(".")[1])
    flags = importlib.import_module(module).FLAGS
    flags.unparse_flags()
    # With something for every flag that is required and not given.
    required = [
        f"--{name}=x" for name in flags if flags[name].default is None and flags[name].flag_type().endswith("string")
    ]
    assert flags(["program", *required, f"--flagfile={path}"]) == ["program"]


@pytest.mark.parametrize("target", re.findall(r"^    make (\w+)$", README, re.MULTILINE))
def test_make_target_exists(target):
    rules = "".join((CHECKOUT / name).read_text() for name in ("Makefile", "benchmarks/results.mk"))
    assert re.search(rf"^{target}:", rules, re.MULTILINE)


@pytest.mark.parametrize("path", re.findall(r"--flagfile=([\w/]+)", README))
def test_flagfile_exists(path):
    assert (CHECKOUT / path).is_file()
