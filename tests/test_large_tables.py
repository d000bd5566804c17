"""Tables of features that stay on the disk: the same numbers as from memory, to the bit."""

import numpy as np
import pytest

from sib_tf import evaluation
from sib_tf.config import EpisodeSpec, MetaTrainConfig, SIBConfig
from sib_tf.episodes import EpisodeSampler
from sib_tf.features import large
from sib_tf.meta_training import meta_train
from sib_tf.runs import load_model


@pytest.fixture
def mapped(tmp_path, monkeypatch):
    """`[480, 16]`, memory-mapped, and large for this test."""
    np.save(tmp_path / "table.npy", np.random.RandomState(0).normal(size=(480, 16)).astype(np.float32))
    monkeypatch.setattr(large, "_HELD", 1000)
    return np.load(tmp_path / "table.npy", mmap_mode="r", allow_pickle=False)


class Cache:
    """Of two splits of 12 classes with the same features."""

    identity, feature_dim, views = {"backbone": {"weights": "x"}}, 16, 1

    def __init__(self, table):
        self._table = table

    def table(self, split):
        return self._table

    def labels(self, split):
        return np.repeat(np.arange(12), 40)


def sampled(episodes: int = 70):
    return EpisodeSampler(Cache(None).labels("train"), EpisodeSpec(way=(2, 5), shot=(1, 3)), 0).sample(episodes)


def test_small_or_held_tables_are_not_touched(mapped, monkeypatch):
    rows = sampled()
    for table in (np.array(mapped), large.held(np.array(mapped))):
        taken, (found,) = large.fetched(table, [rows])
        assert taken is table
        assert found is rows
    monkeypatch.setattr(large, "_HELD", 1 << 30)
    assert not large.is_large(mapped)


def test_only_the_rows_of_the_episodes_are_taken(mapped):
    rows = sampled(3)
    taken, (found, again) = large.fetched(mapped, [rows, rows.part(0, 1)], size=400)
    assert taken.shape == (400, 16)
    used = len(np.unique([*rows.support.ravel(), *rows.query.ravel()]))
    assert (taken[used:] == 0).all() and (taken[:used] != 0).all()
    for field in ("support", "query"):
        np.testing.assert_array_equal(taken[getattr(found, field)], mapped[getattr(rows, field)])
        np.testing.assert_array_equal(taken[getattr(again, field)], mapped[getattr(rows, field)[:1]])


def test_evaluation_is_the_same(mapped):
    model = evaluation.prototypes(16, 5)
    found, expected = (evaluation.Evaluator(sampled())(model, table) for table in (mapped, np.array(mapped)))
    np.testing.assert_array_equal(found.accuracy, expected.accuracy)
    np.testing.assert_array_equal(found.loss, expected.loss)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 8])
def test_meta_training_is_the_same(mapped, tmp_path, batch):
    spec = EpisodeSpec(way=(2, 5))
    config = MetaTrainConfig(
        spec, spec, (EpisodeSpec(shot=(1, 3)),), steps=25, batch_episodes=batch, validation_episodes=40,
        validate_every=15, steps_per_call=10,
    )  # fmt: skip
    model = SIBConfig(feature_dim=16, way=None, gradient_network="per_class", num_steps=1)
    weights = []
    for name, table in (("disk", mapped), ("memory", np.array(mapped))):
        meta_train(Cache(table), model, config, tmp_path / name)
        weights.append(load_model(tmp_path / name)[0].get_weights())
    for found, expected in zip(*weights, strict=True):
        np.testing.assert_array_equal(found, expected)
