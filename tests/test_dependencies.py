"""The versions that CI installs are exact and within setup.cfg's ranges; licences are known and go with Apache-2.0."""

import configparser
import importlib.util
import re
import subprocess
import sys

import pytest
from conftest import CHECKOUT
from packaging.requirements import Requirement

CI = CHECKOUT / ".ci"


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked() -> dict[str, str]:
    lines = (CI / "constraints.txt").read_text().split()
    return {canonical(name): version for name, version in (line.split("==") for line in lines)}


def required() -> list[Requirement]:
    setup = configparser.ConfigParser()
    setup.read(CHECKOUT / "setup.cfg")
    extras = setup["options.extras_require"]
    texts = [
        setup["options"]["install_requires"],
        *(extras[name] for name in ("dev", "serve", "tune", "web", "torch", "onnx", "domains", "photos")),
    ]
    return [Requirement(line) for text in texts for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("requirement", required(), ids=lambda requirement: requirement.name)
def test_ci_installs_one_version_within_the_range(requirement):
    assert requirement.specifier.contains(locked()[canonical(requirement.name)]), "make lock chooses anew"


def test_ci_installs_nothing_that_is_not_locked():
    assert "export CONSTRAINTS=.ci/constraints.txt" in (CI / "run").read_text()
    installs = [line for line in (CHECKOUT / "Makefile").read_text().splitlines() if "-m pip install" in line]
    assert installs
    assert all("$(addprefix -c ,$(CONSTRAINTS))" in line for line in installs)


@pytest.fixture(scope="module")
def licences():
    spec = importlib.util.spec_from_file_location("licences", CI / "licences.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_licences_of_what_is_installed_are_allowed(tmp_path):
    command = [sys.executable, CI / "licences.py", f"--output={tmp_path / 'licences.md'}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for page in (tmp_path, CHECKOUT / "docs"):
        text = (page / "licences.md").read_text()
        assert all(f"| {name} | " in text for name in ("tensorflow", "keras", "numpy", "pillow", "ai-edge-litert"))


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [
        ("MIT", False), ("MIT OR GPL-2.0", False), ("Apache-2.0 AND (MIT OR GPL-3.0-only)", False),
        ("unknown", True),
        ("(MIT OR GPL-2.0) AND GPL-3.0-only", True), ("GPL-3.0-or-later", True),
        ("MIT AND LGPL-2.1", True), ("Proprietary", True),
    ],
)  # fmt: skip
def test_licences_that_are_refused(licences, expression, wrong):
    assert licences.refused(expression) is wrong
