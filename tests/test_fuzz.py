"""Properties over generated episodes; `make fuzz` checks the same on a hundred thousand of them."""

import json
import re
from unittest import mock

import pytest
import running
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz import exports, recipes, record, sampling, soak
from fuzz import run as fuzz_run
from fuzz.faults import FAULTS

RUNNERS = ("dynamic", "static", "SavedModel")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    yield tmp_path_factory.mktemp("fuzz")
    exports.forget()


def check(folder, target: str, examples: int, fault: str | None = None) -> None:
    """Checks a target of `make fuzz` on a few examples, the same at every run, however slow the machine is."""
    strategies, holds, _ = fuzz_run.target(target, folder)
    if fault:
        strategies[1] = st.just(fault)

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(st.tuples(*strategies))
    def run(arguments):
        holds(*arguments)

    run()


@pytest.mark.parametrize(
    ("target", "examples"),
    [
        ("sampler", 100),
        *(pytest.param(f"head {kind}", 25, marks=pytest.mark.slow) for kind in ("per_class", "joint")),
        ("SavedModel per_class, features", 7),
        ("SavedModel per_class, pictures", 3),
        *((f"runner {kind}, features", 25) for kind in RUNNERS),
        *((f"runner {kind}, pictures", 10) for kind in RUNNERS),
    ],
)
def test_properties_hold(folder, target, examples):
    check(folder, target, examples)


@pytest.mark.parametrize("fault", [name for name, fault in FAULTS.items() if fault.in_graph])
def test_signatures_refuse(folder, fault):
    check(folder, "SavedModel per_class, spoiled", 2, fault)


@pytest.mark.parametrize("kind", RUNNERS)
@pytest.mark.parametrize("fault", FAULTS)
def test_runners_refuse(folder, kind, fault):
    check(folder, f"runner {kind}, spoiled", 3, fault)


@pytest.mark.parametrize("kind", RUNNERS)
def test_a_class_of_black_features_is_still_a_class(folder, kind):
    """Features of zero make weights of zero: such a class is there, and padded ones are not."""
    recipe = recipes.Recipe(0, (1, 1, 0, 0, 0), 3, "spread", 0.0, 1.0, 0.0, False)
    exports.Runner(folder, kind).check(recipe)


def test_the_long_run_counts_its_cases_and_says_what_fails(monkeypatch, capsys):
    flags = {"cases": 1000, "only": "sampler", "record": False}
    assert running.run(fuzz_run, flags) == 0
    assert re.search(r"sampler: \d+ cases, 0 failures", capsys.readouterr().out)
    monkeypatch.setattr(sampling, "check", mock.Mock(side_effect=AssertionError("a property")))
    assert running.run(fuzz_run, flags) == 2
    assert "properties do not hold for sampler" in capsys.readouterr().err


def test_the_record_becomes_a_page(tmp_path):
    figures = [{"target": "head", "cases": 1200, "failures": 0, "seconds": 3.5}]
    record.write("fuzz", figures, tmp_path, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "1,200 cases, 0 failures, 4 s" in page and "| head | 1,200 | 0 | 3.5 |" in page


def test_committed_records_hold_no_failure():
    figures = {name: json.loads((record.RECORDED / f"{name}.json").read_text())["figures"] for name in ("fuzz", "soak")}
    assert sum(row["cases"] for row in figures["fuzz"]) >= 100_000
    assert not any(row["failures"] for row in figures["fuzz"])
    assert all(row["slope, kB per 10,000"] <= soak.BOUND for row in figures["soak"])


@pytest.mark.slow
def test_memory_is_measured():
    row = soak.measure("static .tflite", 300)
    assert row["steps"] >= 300 and 50 < row["resident after warm-up, MB"] <= row["at the end"] + 50
