"""The comparison: its episodes, its measurements against the evaluator, and that a sweep goes on where it stopped."""

import dataclasses
import functools
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from exported import write_sib
from running import run
from test_cli import check_error

from benchmarks import entrants, measurement, one_setting, own_process, records, settings, sweeps, tune_peers, tuning
from benchmarks.peers import PEERS, authors
from benchmarks.settings import Setting
from sib_tf import evaluation
from sib_tf.config import EpisodeSpec, SIBConfig
from sib_tf.episodes import EpisodeSampler
from sib_tf.errors import InputError, require
from sib_tf.features import FeatureCache
from sib_tf.sib import SIB
from sib_tf.storage import atomic

LABELS = np.repeat(np.arange(12), 40)
# The tiny test split has 6 classes of 24 pictures.
SPEC = EpisodeSpec(way=5, query=3)
SETTING = Setting("small", "imbalance", "balanced", SPEC)


@pytest.mark.parametrize(("fields", "count"), [({"total_query": 7}, 2), ({"query": 6, "query_classes": 2}, 15)])
def test_what_not_every_class_gets_goes_to_classes_at_random(fields, count):
    """To each in 2 of 5 episodes; the standard deviation of the share is 1.1 points."""
    rows = EpisodeSampler(LABELS, EpisodeSpec(**fields), seed=1).sample(2000)
    counts = np.stack([((rows.query_labels == c) & rows.query_mask).sum(axis=1) for c in range(5)])
    np.testing.assert_allclose((counts == count).mean(axis=1), 0.4, atol=0.05)


def test_settings_have_names_of_their_own_and_the_quick_ones_are_among_them():
    names = [setting.name for setting in settings.all_settings()]
    assert len(set(names)) == len(names) == 32
    assert set(settings.QUICK) <= set(names)
    assert {setting.group for setting in settings.all_settings()} == set(records.GROUPS)
    assert [s.name for s in settings.named(["way_2"])] == ["way_2"]


def test_measurement_agrees_with_the_evaluator():
    """60 episodes, so that the last batch is filled up."""
    random = np.random.RandomState(0)
    table = tf.constant(random.uniform(0, 1, (len(LABELS), 8)) + (LABELS[:, None] % 4 == np.arange(8)), tf.float32)
    rows = EpisodeSampler(LABELS, SPEC, seed=4).sample(60)
    model = SIB(SIBConfig(feature_dim=8, way=None, gradient_network="per_class", inner_learning_rate=1e-2))
    model.build()
    expected = evaluation.Evaluator(rows)(model, table).accuracy[-1]
    found = measurement.compiled(measurement.sib_method(model), 5)(rows, table)
    np.testing.assert_allclose(found.accuracy, expected, atol=1e-7)
    assert 0 < found.seconds_per_episode < 1


@pytest.fixture(scope="module")
def cache(tiny_features):
    return FeatureCache.open(tiny_features)


@pytest.fixture(scope="module")
def base_mean(cache):
    return measurement.base_mean_of(cache)


@pytest.fixture(scope="module")
def model_dirs(cache, tmp_path_factory):
    """A joint and a per_class model, untrained, as meta-trainings leave them."""
    root = tmp_path_factory.mktemp("models")
    for name, way in (("joint", 5), ("per_class", None)):
        write_sib(root / name, cache.folder, way=way, gradient_network=name)
    return root


def measure(cache, taking_part, setting=SETTING, seed: int = 0) -> dict[str, dict]:
    sweep = one_setting.Sweep(cache.folder, output_dir=".", episodes=8, slow_episodes=4, seed=seed)
    return sweep.measure(cache, setting, taking_part)


def test_base_mean_is_that_of_the_training_pictures(cache, base_mean):
    np.testing.assert_allclose(base_mean, np.asarray(cache.table("train")).mean(axis=0), rtol=1e-5)


def test_a_sweep_measures_once_and_goes_on(cache, base_mean, capsys):
    def measured(*names, seed=0, **changes) -> list[str]:
        found = entrants.peers(names, None, SETTING, base_mean)
        measure(cache, [dataclasses.replace(entrant, **changes) for entrant in found], seed=seed)
        return re.findall("small: (.*), authors", capsys.readouterr().out)

    names = ["prototypes", "soft_kmeans", "pt_map"]
    assert measured(*names[:2]) == names[:2]
    assert measured(*names) == names[2:]
    written = json.loads(Path("small.json").read_text())
    assert list(written["methods"]) == [f"{name}, authors" for name in names]
    with np.load("small.npz") as arrays:
        for label, figures in written["methods"].items():
            difference = arrays[label] - arrays["prototypes, authors"]
            assert figures["accuracy"] == pytest.approx(arrays[label].mean())
            assert figures["difference"] == pytest.approx(difference.mean())
            assert figures["difference_ci95"] == pytest.approx(1.96 * difference.std(ddof=1) / np.sqrt(8))
    # Other constants, and other episodes, are other measurements.
    assert measured("prototypes", config={"step": 1}) == ["prototypes"]
    assert measured("prototypes", seed=1) == ["prototypes"]


def test_slow_methods_take_the_first_episodes_of_the_list(cache, base_mean, monkeypatch):
    monkeypatch.setattr(
        entrants, "authors", lambda name, shot: PEERS[name](**({"iterations": 2} if "tim" in name else {}))
    )
    methods = measure(cache, entrants.peers(["prototypes", "tim_gd"], None, SETTING, base_mean))
    assert [figures["episodes"] for figures in methods.values()] == [8, 4]
    with np.load("small.npz") as arrays:
        difference = arrays["tim_gd, authors"] - arrays["prototypes, authors"][:4]
    assert methods["tim_gd, authors"]["difference"] == pytest.approx(difference.mean())


def test_models_join_where_their_way_fits_and_are_paired_with_the_best_peer(cache, base_mean, model_dirs):
    given = [f"a={model_dirs / 'joint'}", f"b={model_dirs / 'per_class'}"]
    assert [[m.name for m in entrants.models(given, cache, way)] for way in (5, 3)] == [["a", "b"], ["b"]]
    peers = entrants.peers(["prototypes", "simple_shot"], None, SETTING, base_mean)
    methods = measure(cache, peers + entrants.models(given[:1], cache))
    assert set(methods) == {"prototypes, authors", "simple_shot, authors", "a"}
    text = Path("small.json").read_text()
    (against,) = json.loads(text)["against_best_peer"].values()
    best = max(("prototypes, authors", "simple_shot, authors"), key=lambda x: methods[x]["accuracy"])
    assert against["peer"] == best
    assert against["difference"] == pytest.approx(methods["a"]["accuracy"] - methods[best]["accuracy"])
    # Nothing in the file says where on this machine the models lie.
    assert str(model_dirs) not in text


def test_tuning_looks_at_validation_classes_only(cache, monkeypatch):
    seen = []
    monkeypatch.setattr(
        FeatureCache, "labels", lambda self, split, own=FeatureCache.labels: seen.append(split) or own(self, split)
    )
    monkeypatch.setattr(tuning, "DISTRIBUTIONS", {"mixture": {"query": 3}, "balanced": {"query": 2}})
    monkeypatch.setattr(tuning, "GRIDS", {"soft_kmeans": {"scale": (0.01, 10.0)}})
    tune = functools.partial(tuning.tune, cache, episodes=10, slow_episodes=4, shots=(1,))
    first, second = tune(["prototypes", "soft_kmeans"], seed=0)
    assert set(seen) == {"validation"}
    assert list(first["measured"]) == ["prototypes"]
    for kind in ("mixture", "balanced"):
        best = max(second["measured"]["soft_kmeans"], key=lambda entry, own=f"{kind}, 1 shot": entry["accuracy"][own])
        assert second["chosen"][kind]["1"] == {"prototypes": {}, "soft_kmeans": best["constants"]}
    assert len(set(second["episode_hashes"].values())) == 2
    # What was measured is not measured again: here it would give other figures.
    entry = second["measured"]["soft_kmeans"][1]
    entry["accuracy"]["balanced, 1 shot"] = 1.0
    (again,) = tune(["soft_kmeans"], seed=0, held=json.loads(json.dumps(second)))
    assert again["chosen"]["balanced"]["1"] == {"prototypes": {}, "soft_kmeans": entry["constants"]}
    (other,) = tune(["soft_kmeans"], seed=1, held=second)
    assert other["measured"]["soft_kmeans"][1]["accuracy"]["balanced, 1 shot"] < 1.0


@pytest.mark.parametrize("name", PEERS)
def test_candidates_are_distinct_and_hold_the_authors_constants(name):
    found = tuning.candidates(name)
    assert len(set(found)) == len(found) <= 24
    assert {authors(name, 1), authors(name, 5)} <= set(found)


TUNED = {
    "mixture": {"1": {"pt_map": {"step": 0.1}}, "5": {"pt_map": {"step": 0.2}}},
    "balanced": {"1": {"pt_map": {"step": 0.3}}, "5": {}},
    "dirichlet": {"1": {"pt_map": {"step": 0.4}}, "5": {"pt_map": {"step": 0.5}}},
}


@pytest.mark.parametrize(
    ("group", "value", "shot", "steps"),
    [
        ("imbalance", "balanced", 1, [0.2, 0.1, 0.3]),
        ("imbalance", 2.0, 1, [0.2, 0.1, 0.4]),
        ("imbalance", 2.0, 10, [0.2, 0.2, 0.5]),
        ("imbalance", "balanced", 5, [0.2, 0.2]),
        ("way", 20, 1, [0.2, 0.1, 0.3]),
        ("missing_classes", 2, 1, [0.2, 0.1, 0.4]),
    ],
)
def test_which_constants_take_part(base_mean, group, value, shot, steps):
    setting = Setting("some", group, value, EpisodeSpec(shot=shot))
    found = entrants.peers(["prototypes", "pt_map"], TUNED, setting, base_mean)
    assert [entrant.config["step"] for entrant in found[1:]] == steps
    assert [entrant.constants for entrant in found] == ["authors", "authors", "tuned", "tuned to setting"][: len(found)]


@pytest.mark.slow
def test_commands_from_features_to_results(cache, model_dirs, monkeypatch, capfd):
    monkeypatch.setattr(tuning, "DISTRIBUTIONS", {kind: {"query": 3} for kind in tuning.DISTRIBUTIONS})
    monkeypatch.setattr(tuning, "GRIDS", {})
    given = {"features_dir": cache.folder, "peers": "pt_map"}
    assert run(tune_peers, **given, episodes=4, output="tuned.json") == 0
    given |= {"tuned": "tuned.json", "models": f"mine={model_dirs / 'joint'}", "episodes": 4, "output_dir": "out"}
    assert run(sweeps, **given, settings="total_query_5,way_2") == 0
    # Equal constants are measured once, and what is there is not measured again.
    expected = ["total_query_5: prototypes, authors", "total_query_5: pt_map, authors", "total_query_5: mine"]
    expected += ["way_2: prototypes, authors", "way_2: pt_map, authors"]
    lines = capfd.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith(("total", "way")) and "done" not in line] == expected
    constants = ("authors", "tuned", "tuned to setting")
    methods = {"prototypes, authors", *(f"pt_map, {kind}" for kind in constants)}
    assert set(json.loads(Path("out/way_2.json").read_text())["methods"]) == methods
    assert run(sweeps, **given, settings="total_query_5") == 0
    assert re.fullmatch(r"total_query_5: done; best is .*\nResults: out\n", capfd.readouterr().out)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": "joint"}, "models must be name=FOLDER pairs .* got 'joint'"),
        ({"models": "pt_map=folder"}, "models must be name=FOLDER pairs with names of their own; got 'pt_map=folder'"),
        ({"models": "a=nothing"}, "Configuration nothing/config.json cannot be read"),
        ({"settings": "way_2,way_3"}, "settings must be among balanced_1shot, .*; got way_3"),
        ({"settings": "way_20"}, "way=20, .* there are 6 such classes"),
        ({"peers": "sib"}, "peers must be among prototypes, .* got sib"),
        ({"tuned": "other.json"}, "tuned other.json is of other features than "),
        ({"features_dir": "nothing"}, "features_dir nothing holds no feature cache"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(cache, changes, message, capsys):
    atomic.write_json("other.json", {"chosen": {}, "features": {}})
    given = {"features_dir": cache.folder, "output_dir": "out", "episodes": 4, "peers": "prototypes", **changes}
    check_error(capsys, run(sweeps, **given), message)


def test_small_classes_do_not_pass_for_imbalanced_ones(cache):
    """5 x 5 queries and one shot: 26 pictures; there are 24, so that no class could have all queries."""
    setting = Setting("small", "imbalance", 2.0, EpisodeSpec(query=5, query_distribution="dirichlet"))
    with pytest.raises(InputError, match=r"Dirichlet\(2\) needs classes of 26 pictures, .* the smallest has 24"):
        measure(cache, [], setting)


def test_settings_that_the_data_cannot_give_are_left_out(cache, monkeypatch, capsys):
    two = settings.named(["way_5", "way_20"])
    monkeypatch.setattr(settings, "all_settings", lambda: two)
    monkeypatch.setattr(own_process, "call", lambda function, *arguments: function(*arguments))
    assert run(sweeps, features_dir=cache.folder, output_dir="out", episodes=4, peers="prototypes") == 0
    out = capsys.readouterr().out
    assert "way_5: done" in out
    assert "way_20: left out. way=20, shot=1" in out


def test_a_process_of_one_s_own_returns_raises_and_may_be_killed():
    assert own_process.call(os.getpid) != os.getpid()
    with pytest.raises(InputError, match="^n must be odd; got 2"):
        own_process.call(require, "n", 2, False, "odd")
    with pytest.raises(InputError, match="A process that measured was killed"):
        own_process.call(os._exit, 9)
