"""The latency benchmark runs, and its alternative, SGD on the device, does what it says."""

import json

import exported
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from running import run
from test_cli import check_error

from export import benchmark_litert, sgd_baseline


def test_one_step_of_sgd_is_the_gradient_by_hand():
    """One class each of two features in the plane, weights at (1, 0) and (0, 1): cosines are those of the features."""
    model = sgd_baseline.convert(way=2, feature_dim=2, logit_scale=2.0, learning_rate=0.5)
    step = Interpreter(model_content=model).get_signature_runner("step")
    support = np.array([[0.6, 0.8], [0.0, 1.0]], np.float32)
    found = step(weights=np.eye(2, dtype=np.float32), support=support, support_labels=np.arange(2, dtype=np.int32))
    p = np.exp(2 * support) / np.exp(2 * support).sum(axis=1, keepdims=True)
    residual = (p - np.eye(2)) / 2
    # d cos / d w_c at |w_c| = 1 is the feature less its part along w_c.
    pull = 2 * residual.T @ support
    gradient = pull * (1 - np.eye(2))
    np.testing.assert_allclose(found["weights"], np.eye(2) - 0.5 * gradient, atol=1e-6)


@pytest.mark.slow
def test_all_files_and_threads_are_measured(capsys, tmp_path):
    report = tmp_path / "report.md"
    report.write_text("# A run\n")
    sizes = {"way": 3, "calls": 10, "rounds": 2, "sgd_steps": 3, "threads": "1,2"}
    static = exported.static_file()
    files = {"tflite": static, "output": tmp_path / "t.json", "report": report}
    assert run(benchmark_litert, sizes, **files) == 0
    figures = json.loads((tmp_path / "t.json").read_text())
    assert figures["load"].startswith("3-way 1-shot, 45 queries")
    names = [static.name, "3 steps of SGD on the labelled pictures"]
    measured = [(row["name"], row["threads"]) for row in figures["latencies"]]
    assert measured == [(name, threads) for name in names for threads in (1, 2)]
    for row in figures["latencies"]:
        assert 0 < row["embed_ms"] <= row["embed_p95_ms"]
        assert 0 < row["adapt_ms"] <= row["adapt_p95_ms"]
        assert 0 < row["memory_mb"] < 500
    assert "## Latency on this machine" in report.read_text()
    assert f"| {static.name} | 2 |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"way": 6}, ".* takes way=5; the benchmark needs 6: lower --way."),
        ({"threads": "fast"}, "threads must be a whole number"),
        ({"output": "t.csv"}, "output must end in .json; got t.csv."),
    ],
)
def test_wrong_flags_are_said(capsys, flags, message):
    check_error(capsys, run(benchmark_litert, tflite=exported.static_file(), **flags), message)
