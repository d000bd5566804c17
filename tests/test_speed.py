"""The speed benchmark: turns, quotients, what contestants compute, and the page."""

import importlib
import json
import statistics
from pathlib import Path

import numpy as np
import pytest
from running import run
from test_cli import NAMES, check_error

from benchmarks.speed import BLOCKS, cost_lines, device_runs, entry_points, head_steps, meta_training_runs, page, timing
from benchmarks.speed import __main__ as command
from benchmarks.speed.head_steps import FLOOR, OURS, PEER
from benchmarks.speed.matrix_products import MatrixProducts
from benchmarks.speed.timing import Comparison, Contestant
from sib_tf.storage import atomic


def test_contestants_take_turns_after_a_call_that_does_not_count():
    calls = []
    times = timing.in_turns({name: Contestant(lambda n=name: calls.append(n), 4) for name in "ab"}, 3)
    assert calls == ["a", "b"] * 4
    assert {name: len(taken) for name, taken in times.items()} == {"a": 3, "b": 3}


def test_quotients_are_of_the_same_round():
    # By hand: 6/2, 8/1 and 10/5; the quotient of the medians would be 4.
    assert timing.ratio([6.0, 8.0, 10.0], [2.0, 1.0, 5.0]) == (3.0, 2.0, 8.0)


def test_the_best_contestant_has_the_smallest_median():
    times = {"PyTorch, 1 thread": [1.0, 9.0, 2.0], "PyTorch, 2 threads": [3.0, 3.0, 0.1], "other": [0.0]}
    assert timing.best(times, "PyTorch") == "PyTorch, 1 thread"


@pytest.mark.parametrize(
    ("network", "shapes"),
    [("joint", [(5, 40), (40, 40), (40, 5)]), ("per_class", [(7, 32), (32, 32), (32, 2)])],
)
def test_matrix_products_are_finite_and_depend_on_the_start(network, shapes):
    products = MatrixProducts(2, 75, way=5, feature_dim=640, num_steps=3, steps=3, gradient_network=network)
    first, theta = products.steps(0.0).numpy(), products.theta.numpy()
    assert np.isfinite(first)
    assert np.abs(theta).min() > 1e-30  # Denormal numbers would be slow.
    gradient, totals = products._step(products.theta, products.weights)
    assert [t.shape for t in totals] == shapes
    assert 1e-6 < np.abs(gradient.numpy()).max() < 1e12


@pytest.mark.parametrize("network", ["joint", "per_class"])
def test_matrix_products_are_as_many_as_those_of_the_head(network):
    """Counted in the compiled graphs: the floor must not do less than the head does, gradients included."""
    import tensorflow as tf

    products = MatrixProducts(1, queries=6, way=3, feature_dim=8, num_steps=3, steps=1, gradient_network=network)
    graph = tf.function(lambda: products._step(products.theta, products.weights)).get_concrete_function().graph
    count = sum(op.type in ("MatMul", "BatchMatMulV2") for op in graph.get_operations())
    # Forward: init, 3 x (logits, 3 layers, pull), logits. Backward: all but what would be for features, twice for
    # layers.
    assert count == (1 + 3 * 5 + 1) + (1 + 3 * (1 + 6 + 1) + 1)


def test_exponents_of_known_costs():
    sizes = [1, 2, 4, 8, 16]
    assert cost_lines.exponent(sizes, [1e-3 * s**1.5 for s in sizes]) == pytest.approx(1.5)


@pytest.mark.slow
def test_steps_of_all_sizes_are_measured():
    points = cost_lines.points(cost_lines.measure(1, {"episodes": (1,), "way_of_75": (5,)}))
    assert {name: sizes for name, (sizes, _) in points.items()} == {
        "episodes a step": [1],
        "ways, 75 queries in all": [5],
    }
    assert all(seconds > 0 for _, taken in points.values() for seconds in taken)


@pytest.mark.slow
def test_a_step_of_many_ways_is_measured_beside_its_products():
    ((setting, times),) = cost_lines.many_ways(2, way=3, feature_dim=16).times.items()
    assert setting == "3 ways, 45 queries, D = 16"
    assert set(times) == {OURS, FLOOR} and min(times[OURS] + times[FLOOR]) > 0


@pytest.mark.slow
def test_sizes_are_those_of_files():
    found = device_runs.sizes(1).times
    assert set(SIZES) < set(found)
    sizes = {name: times[OURS][0] for name, times in found.items()}
    assert sizes["its head alone"] < sizes["Conv-4-64, int8"] < sizes["Conv-4-64, float32"]


@pytest.mark.slow
def test_head_steps_are_measured():
    pytest.importorskip("torch")
    ((setting, times),) = head_steps.measure(2, batches=(2,), feature_dim=16).times.items()
    assert setting == "2 episodes a step"
    assert {name for name in times if not name.startswith(PEER)} == {OURS, FLOOR}
    assert all(len(taken) == 2 and min(taken) > 0 for taken in times.values())


def test_every_entry_point_is_timed():
    assert set(entry_points.modules()) == set(NAMES)


SIZES = ["Conv-4-64, float32", "Conv-4-64, int8", "its head alone", "the head that ships, for any D"]


def comparisons() -> dict[str, Comparison]:
    pairs, names = [("PyTorch, 1 thread", "sib_tf"), ("sib_tf", "matrix products")], (OURS, FLOOR, "PyTorch, 1 thread")
    head = {"1 episode a step": dict(zip(names, ([2e-4, 2e-4], [1e-4, 1e-4], [2e-3, 4e-3]), strict=True))}
    batches = {"16 episodes a step": dict(zip(names, ([1e-4] * 2, [8e-5] * 2, [6e-4] * 2), strict=True))}
    device = {"sib_tf, K = 3": [1e-4, 1e-4], "100 steps of SGD": [3e-4, 3e-4]}
    cost = {f"{name}: {size}": {"sib_tf": [1e-3 * size]} for name in ("ways", "queries") for size in (1, 2, 4)}
    return {
        "head_steps": Comparison("episode", head, dict.fromkeys(head, pairs)),
        "head_batches": Comparison("episode", batches, dict.fromkeys(batches, pairs)),
        "cost_lines": Comparison("step", cost),
        "many_ways": Comparison(
            "step", {"100 ways": {OURS: [0.9, 0.9], FLOOR: [0.2, 0.2]}}, {"100 ways": [(OURS, FLOOR)]}
        ),
        "device": Comparison("call", {"learn": device}, {"learn": [tuple(reversed(device))]}),
        "sizes": Comparison("file, in bytes", {name: {OURS: [150e3]} for name in SIZES}),
        "demo": Comparison("run", {"`make demo`": {OURS: [200.0]}}),
        "entry_points": Comparison("process", {"--help": {"a": [0.05], "b": [0.1]}}),
    }


def test_the_page_has_medians_quotients_and_the_figure(tmp_path):
    # As they come from files.
    measured = {name: Comparison(**json.loads(json.dumps(vars(each)))) for name, each in comparisons().items()}
    page.write(tmp_path / "BENCHMARKS.md", measured, 2, {"TensorFlow": "2"})
    text = (tmp_path / "BENCHMARKS.md").read_text()
    assert "| 1 episode a step | 200 us | 100 us | 3 ms | 15.0 (10.0-20.0) | 2.0 (2.0-2.0) |" in text
    assert "6.0 times as fast; it takes 1.2 times as long as its matrix products alone." in " ".join(text.split())
    assert "| ways | 1: 1 ms, 2: 2 ms, 4: 4 ms | 1.00 |" in text
    assert "| a | 50 ms |" in text
    # Of a step of one episode 200 us, of sixteen 100; of the peer 3 ms and 600 us.
    for row in (
        "| the released head at its best batch, over ours at its best: at least 5 | 6 | reached |",
        "| a step of 100 ways over its matrix products: at most 3 | 4.5 | missed |",
        "| learning 5 classes on a device, ms: at most 0.15 | 0.1 | reached |",
        "| its head alone, kB: at most 60 | 150 | missed |",
        "| `make demo`, s: at most 180 | 200 | missed |",
    ):
        assert row in text
    assert "| Conv-4-64, int8 | 150 kB |" in text
    assert (tmp_path / page.FIGURE).stat().st_size > 5000


def test_blocks_exist():
    for place in BLOCKS.values():
        module, function = place.split(":")
        assert callable(getattr(importlib.import_module(f"benchmarks.speed.{module}"), function))


@pytest.mark.slow
def test_the_command_measures_a_block_and_goes_on(capsys):
    pytest.importorskip("torch")
    assert run(command, output_dir=".", only="sampler", rounds=1) == 0
    assert "| 5-way 1-shot, 15 queries a class |" in capsys.readouterr().out
    assert "Drawing episodes" in Path("BENCHMARKS.md").read_text()
    measured = Comparison(**atomic.read_json("sampler.json", "Measurement"))
    assert statistics.median(measured.times["5-way 1-shot, 15 queries a class"]["sib_tf"]) > 0


@pytest.mark.slow
def test_steps_from_pictures_are_timed_beside_those_from_cached_features():
    times = meta_training_runs.from_pictures(1).times["Conv-4-64"]
    assert statistics.median(times["cached features"]) < statistics.median(times["pictures"])


def test_an_unknown_block_is_refused(capsys):
    check_error(capsys, run(command, output_dir=".", only="speed"), "only must be out of head_steps")
