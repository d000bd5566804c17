"""Properties over generated episodes; `make fuzz` checks the same on a hundred thousand of them."""

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz import exports, recipes, record, sampling, soak
from fuzz import run as fuzz_run
from fuzz.faults import FAULTS
from fuzz.head import BATCH, Head
from sib_tf.commands import cli

# The same examples at every run, however slow the machine is.
fixed = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
SEEDS = st.integers(0, 2**31 - 1)
IN_GRAPH = [name for name, fault in FAULTS.items() if fault.in_graph]
few = st.lists(recipes.recipes(magnitudes=exports.MAGNITUDES), min_size=4, max_size=4)
one = recipes.recipes(magnitudes=exports.MAGNITUDES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    yield tmp_path_factory.mktemp("fuzz")
    exports.forget()


@pytest.fixture(scope="module")
def served(folder):
    return exports.served(folder, "per_class")


@pytest.fixture(scope="module", params=["dynamic", "static", "SavedModel"])
def runner(request, folder):
    return exports.runner(folder, request.param)


@settings(fixed, max_examples=100)
@given(sampling.specs(), sampling.splits, st.integers(0, 2**63 - 1))
def test_the_sampler(spec, sizes, seed):
    sampling.check(spec, sizes, seed)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["per_class", "joint"])
def test_the_head(kind):
    head = Head(kind)

    @fixed
    @given(st.lists(recipes.recipes(head.needs_all), min_size=BATCH, max_size=BATCH))
    def check(chosen):
        head.check(chosen)

    check()


@fixed
@given(few, SEEDS)
def test_signatures_on_features(served, chosen, seed):
    served.check(chosen, seed)


@settings(fixed, max_examples=10)
@given(few, SEEDS)
def test_signatures_on_pictures(served, chosen, seed):
    served.check_pictures(chosen, seed)


@pytest.mark.parametrize("fault", IN_GRAPH)
@settings(fixed, max_examples=2)
@given(chosen=few, seed=SEEDS)
def test_signatures_refuse(served, fault, chosen, seed):
    served.check_fault(chosen, fault, seed)


@fixed
@given(one)
def test_runners_on_features(runner, recipe):
    runner.check(recipe)


@settings(fixed, max_examples=10)
@given(one)
def test_runners_on_pictures(runner, recipe):
    runner.check_pictures(recipe)


@pytest.mark.parametrize("fault", FAULTS)
@settings(fixed, max_examples=3)
@given(recipe=one)
def test_runners_refuse(runner, fault, recipe):
    runner.check_fault(recipe, fault)


def test_a_class_of_black_features_is_still_a_class(runner):
    """Features of zero make weights of zero: such a class is there, and padded ones are not."""
    recipe = recipes.Recipe(0, (1, 1, 0, 0, 0), 3, "spread", 0.0, 1.0, 0.0, False)
    runner.check(recipe)


def _fail(*_):
    raise AssertionError("a property")


def test_the_long_run_counts_its_cases_and_says_what_fails(monkeypatch, capsys):
    call = ["run", "--cases=1000", "--only=sampler", "--norecord"]
    assert cli.run(fuzz_run.main, fuzz_run.FLAGS, fuzz_run.__doc__, call) == 0
    assert re.search(r"sampler: \d+ cases, 0 failures", capsys.readouterr().out)
    monkeypatch.setattr(sampling, "check", _fail)
    assert cli.run(fuzz_run.main, fuzz_run.FLAGS, fuzz_run.__doc__, call) == 2
    assert "properties do not hold for sampler" in capsys.readouterr().err


def test_the_record_becomes_a_page(tmp_path):
    record.write(
        "fuzz", [{"target": "head", "cases": 1200, "failures": 0, "seconds": 3.5}], tmp_path, tmp_path / "page.md"
    )
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
