"""Accuracies and paired differences of several targets and seeds, by hand."""

import numpy as np
import pytest

from sib_tf.zero_shot.domain_adaptation import page, scoring


def test_differences_by_hand():
    """Two minibatches, one target, two seeds: means over seeds first, then the interval over minibatches."""
    rows = {("a", 0): [0.5, 0.7], ("a", 1): [0.7, 0.9], ("b", 0): [0.4, 0.4], ("b", 1): [0.6, 0.4]}
    methods = {"a": "sib_rot", "b": "k0"}
    scores = {
        ("t", methods[m], seed): {
            "accuracy": np.array(values),
            "oracle": None,
            "result": {"step": 1, "validation_accuracy": 0.5, "seconds": 1.0},
        }
        for (m, seed), values in rows.items()
    }
    found = {row["name"]: row for row in scoring.summary(scores)["rows"]}
    difference = found["sib_rot - k0"]
    # By seed (0.1, 0.3) and (0.1, 0.5); by minibatch 0.1 and 0.4.
    assert difference["targets"]["t"]["mean"] == pytest.approx(0.25)
    assert difference["targets"]["t"]["ci95"] == pytest.approx(1.96 * np.std([0.1, 0.4], ddof=1) / np.sqrt(2))
    # Runs 0.2 and 0.3; t with one degree of freedom is 12.706.
    assert difference["average"]["ci95_runs"] == pytest.approx(12.706 * np.std([0.2, 0.3], ddof=1) / 2**0.5, rel=1e-4)
    assert page._percent(0.25, 0.1, "+") == "+25.00 +-10.00"
