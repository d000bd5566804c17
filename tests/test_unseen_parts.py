"""Parts of the comparison on unseen features: UNEM's training, the head's own normaliser, how aims are counted."""

import types
from collections import namedtuple

import numpy as np
import pytest
from test_peers import random_episode
from test_unseen import cluster_rows

from benchmarks import unem_training
from benchmarks.peers import PEERS, UNEM
from benchmarks.unseen import aims, entrants, names, normalizers
from sib_tf.config import EpisodeSpec


class MemoryCache:
    """What the training of UNEM asks of a cache."""

    def table(self, split):
        return cluster_rows(6, 40)[0]

    def labels(self, split):
        return cluster_rows(6, 40)[1]


def test_training_unem_lowers_its_loss():
    specs = [EpisodeSpec(total_query=25, query_distribution="dirichlet")]
    found = unem_training.trained([MemoryCache()], 30, 0, normalizers.shrunk_centre, specs)
    episode = random_episode()

    def loss(peer: UNEM) -> float:
        return float(unem_training._loss(episode, 4, peer.temperatures, peer.balances))

    assert len(found.temperatures) == len(found.balances) == unem_training.LAYERS
    assert loss(found) < loss(UNEM((0.1,) * 10, (0.1,) * 10))


def test_unem_is_trained_on_what_the_classes_go_round_for():
    specs = [EpisodeSpec(total_query=25), EpisodeSpec(way=7, total_query=25)]
    assert [sampler.spec for sampler in unem_training._samplers(MemoryCache(), specs, 0)] == specs[:1]
    with pytest.raises(ValueError, match="way=7, .* need 7 classes"):
        unem_training._samplers(MemoryCache(), specs[1:], 0)


def test_the_normaliser_of_a_head_is_its_own():
    """One that halves the queries, whatever else it sees, and says where classes are."""
    frame = namedtuple("Frame", "support query")

    def layer(support, membership, query, query_mask):
        return frame(support + np.sum(membership), query / 2)

    episode = random_episode()
    found = normalizers.of_head(types.SimpleNamespace(normalizer=layer))(episode, 4)
    np.testing.assert_allclose(found.query, episode.query / 2)
    np.testing.assert_allclose(found.support, episode.support + 12 * 8, rtol=1e-6)
    assert normalizers.of_head(types.SimpleNamespace(normalizer=None)) is normalizers.shrunk_centre


def record(column: str, head: float, peers: dict[str, float], ece: float = 0.02) -> dict:
    """A cell as the command writes it, of gains over K = 0."""
    methods = {
        label: {
            "name": label.split(",")[0],
            "difference": gain,
            "difference_ci95": 0.01,
            "head_over": head - gain,
            "head_over_ci95": 0.02,
        }
        | ({"balanced_head_over": peers["balanced head"] - gain} if label == "pt_map" else {})
        for label, gain in {"prototypes": 0.0, "head": head, **peers}.items()
    }
    methods["head"] |= {"ece": ece, "ece_before": 0.05}
    return {"column": column, "methods": methods}


def test_aims_are_counted():
    """The head gains 3 and -0.5, 1.25 in the mean: 0.25 over UNEM, with half of 2 * sqrt(2) / 2."""
    peers = {"soft_kmeans": 0.0, "unem, normalised": 0.01, "pt_map": 0.05, "balanced head": 0.04}
    found = aims.counted([record("balanced", 0.03, peers), record("Dirichlet(2)", -0.005, peers, ece=0.06)])
    near = "missed, within its interval"
    assert [word for _, _, word in found] == ["missed", near, near, "", "", "missed", "missed"]
    said = [text for _, text, _ in found]
    assert said[0] == "1 of 2 cells are (0 by more than their interval); the least gain is -0.50"
    assert said[1] == "+0.25 +-1.41 over the nearest, UNEM, normalised"
    assert said[2] == "-1.50 +-2.00 over the nearest, UNEM, normalised"
    assert said[5] == "-1.00"
    assert said[6] == "4.00 % in the mean of the cells (5.00 as it is)"


def test_every_method_has_a_name_for_the_page():
    assert set(names.NAMES) >= {*PEERS, *entrants.CLASSICAL, entrants.HEAD, entrants.BALANCED_HEAD}
    assert set(entrants.SPARSE) <= set(names.NAMES)
