"""Commands in README.md and flagfiles parse, and what they name is there; test_cli_runs.py runs the whole path."""

import importlib
import re
import shlex
import subprocess

import numpy as np
import pytest
from conftest import CHECKOUT

from sib_tf import heads

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
CARD = (CHECKOUT / "sib_tf/heads/README.md").read_text(encoding="utf-8")
FLAGFILES = sorted(path for path in (CHECKOUT / "train/flagfiles").rglob("*") if path.is_file())


def commands_of(text: str) -> list[tuple[str, str]]:
    """Pairs of a module and its arguments, in the order of `text`."""
    return re.findall(r"python -m ((?:train|export)\.\w+) ([^`\n]+)", text)


COMMANDS = commands_of(README)


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
    # make head finds a head's recipe by the head's name.
    assert path.name.startswith(module.split(".")[1]) or path.name in heads.NAMES
    flags = importlib.import_module(module).FLAGS
    flags.unparse_flags()
    # With something for every flag that is required and not given.
    required = [
        f"--{name}=x" for name in flags if flags[name].default is None and flags[name].flag_type().endswith("string")
    ]
    assert flags(["program", *required, f"--flagfile={path}"]) == ["program"]


@pytest.mark.parametrize("target", re.findall(r"^    make (\w+)$", README + CARD, re.MULTILINE))
def test_make_target_exists(target):
    rules = "".join((CHECKOUT / name).read_text() for name in ("Makefile", "benchmarks/results.mk", "train/heads.mk"))
    assert re.search(rf"^{target}:", rules, re.MULTILINE)


@pytest.mark.parametrize("target", ["results", "results QUICK=1", "head"])
def test_what_make_would_run_parses(target, monkeypatch):
    monkeypatch.chdir(CHECKOUT)  # Where the flagfiles are.
    nothing_there = ["RESULTS_RUN=none", "HEAD_RUN=none", "MINI_IMAGENET=DIR", "CIFAR=DIR", "UNSEEN=FILE"]
    rules = subprocess.run(["make", "-n", *target.split(), *nothing_there], capture_output=True, text=True, check=True)
    commands = re.findall(r"python -m ((?:train|export|benchmarks)\.\w+) ([^&\n]+)", rules.stdout)
    assert len(commands) > 10
    for module, arguments in commands:
        flags = importlib.import_module(module.replace(".unseen", ".unseen.__main__")).FLAGS
        flags.unparse_flags()
        assert flags(["program", *shlex.split(arguments)]) == ["program"]


@pytest.mark.parametrize("path", re.findall(r"--flagfile=([\w/]+)", README))
def test_flagfile_exists(path):
    assert (CHECKOUT / path).is_file()


def test_the_first_lines_of_python_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    animals, random = np.repeat(["cat", "dog", "owl"], 20), np.random.default_rng(0)
    X = np.repeat(3 * np.eye(3, 16), 20, axis=0) + 0.5 * random.normal(size=(60, 16))
    y = np.where(np.arange(60) % 20 < 2, animals, None)
    names = {"X": X, "y": y, "X_new": X[:5], "X_more": X[:3], "y_more": ["fox"] * 3}
    exec(compile(lines, "README.md", "exec"), names)
    assert names["classifier"].classes_.tolist() == ["dog", "fox", "owl"]
    assert (tmp_path / "cats.sib").is_file()


@pytest.mark.parametrize("page", ["README.md", "sib_tf/heads/README.md"])
def test_a_page_links_to_what_is_there(page):
    links = re.findall(r"\]\((?!http)([^)#]+)\)", (CHECKOUT / page).read_text(encoding="utf-8"))
    assert links
    assert all(((CHECKOUT / page).parent / link).exists() for link in links)


def test_where_things_are():
    table = README.split("## Where things are")[1].split("\n## ")[0]
    rows = [re.findall(r"`([\w./]+)`", line.split("|")[1]) for line in table.splitlines() if line.startswith("| `")]
    assert len(rows) > 10
    for first, *others in rows:
        assert (CHECKOUT / first).exists(), first
        for name in others:  # In the package, or beside it.
            assert (CHECKOUT / "sib_tf" / name).exists() or (CHECKOUT / name).exists(), name
