"""Uneven and wrong labels: that shots and flips are drawn as they say, and that every command takes such episodes."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from running import run

from sib_tf import evaluation
from sib_tf.config import EpisodeSpec, MetaTrainConfig, SIBConfig
from sib_tf.episodes import EpisodeSampler, fingerprint
from sib_tf.errors import InputError
from sib_tf.reports import meta_test
from sib_tf.sib import SIB
from sib_tf.storage import run_records
from sib_tf.unknown_classes import UNKNOWN, with_unknown_classes
from train import calibrate, evaluate, meta_train

LABELS = np.repeat(np.arange(12), 40)
UNEVEN = EpisodeSpec(shot=(1, 20), shot_distribution="uneven", query=4)
FLIPPED = EpisodeSpec(shot=10, query=4, flipped_labels=0.2)


def sample(spec: EpisodeSpec, count: int, seed: int = 0):
    return EpisodeSampler(LABELS, spec, seed).sample(count)


def shots_of(rows, way: int) -> np.ndarray:
    """`[episodes, way]` labelled rows of every class."""
    return np.stack([(rows.support_mask & (rows.support_labels == c)).sum(axis=1) for c in range(way)], axis=1)


def test_shots_are_uniform_in_the_logarithm_and_of_each_class_alone():
    """n has the share of [n, n + 1) in [1, 21): log((n + 1) / n) / log 21; 2,000 episodes, 5 classes."""
    shots = shots_of(sample(UNEVEN, 2000), 5)
    n = np.arange(1, 21)
    # Standard deviation of the largest share, 0.23, in 10,000: 0.4 points.
    np.testing.assert_allclose(np.bincount(shots.ravel())[1:] / shots.size, np.log((n + 1) / n) / np.log(21), atol=0.02)
    others = np.corrcoef(np.log(shots), rowvar=False)[~np.eye(5, dtype=bool)]
    np.testing.assert_allclose(others, 0, atol=0.1)


def test_uneven_episodes_of_one_number_are_even():
    shots = shots_of(sample(dataclasses.replace(UNEVEN, shot=(7, 7)), 100), 5)
    assert (shots == 7).all()


def test_flips_change_labels_of_the_support_alone():
    rows, right = sample(FLIPPED, 130), sample(dataclasses.replace(FLIPPED, flipped_labels=0.0), 130)
    for name in set(rows._fields) - {"support_labels"}:
        np.testing.assert_array_equal(getattr(rows, name), getattr(right, name))
    assert (rows.support_labels != right.support_labels).any()


def test_labels_flip_with_their_probability_to_all_other_classes_alike():
    """30,000 rows: the standard deviation of a share of 0.2 is 0.23 points, of a quarter of the 6,000 flips 0.56."""
    rows, right = sample(FLIPPED, 600), sample(dataclasses.replace(FLIPPED, flipped_labels=0.0), 600)
    flipped = rows.support_labels != right.support_labels
    assert flipped.mean() == pytest.approx(0.2, abs=0.015)
    turn = (rows.support_labels - right.support_labels)[flipped] % 5
    np.testing.assert_allclose(np.bincount(turn, minlength=5)[1:] / flipped.sum(), 0.25, atol=0.035)


@pytest.mark.parametrize("shot", [(1, 1), (3, 3), (1, 20)])
def test_one_row_of_each_class_stays_right(shot):
    """All but one where nearly all would flip; padding stays as it is."""
    spec = EpisodeSpec(way=(2, 5), shot=shot, query=2, shot_distribution="uneven", flipped_labels=1 - 1e-9)
    rows, right = sample(spec, 70), sample(dataclasses.replace(spec, flipped_labels=0.0), 70)
    kept = right.support_mask & (rows.support_labels == right.support_labels)
    ways = right.support_labels.max(axis=1) + 1
    for c in range(5):
        np.testing.assert_array_equal((kept & (right.support_labels == c)).sum(axis=1), c < ways)
    assert (rows.support_labels < ways[:, None]).all()
    assert (rows.support_labels[~rows.support_mask] == 0).all()


def test_a_single_class_has_no_other():
    rows = sample(EpisodeSpec(way=1, shot=5, query=2, flipped_labels=0.5), 10)
    assert (rows.support_labels == 0).all()


def test_a_seed_gives_the_same_uneven_and_wrong_labels_for_ever():
    """A recorded hash, as that of even episodes in tests/test_episodes.py."""
    spec = dataclasses.replace(UNEVEN, way=(2, 5), flipped_labels=0.1)
    assert fingerprint(sample(spec, 100, seed=7)) == "ca1856f803ab29930b17a9993ed1f4d64e02c5af56e6723e608cba13a9c1e7e9"
    sampler = EpisodeSampler(LABELS, spec, 7)
    assert fingerprint(sampler.sample(60, start=50)) == fingerprint(sampler.sample(150).part(50, 110))


def test_labels_flip_among_the_classes_that_are_known():
    """Labelled pictures of unknown classes are none, and no picture of a class has the label of an unknown one."""
    spec = EpisodeSpec(way=(2, 4), shot=6, query=3, flipped_labels=0.3)
    rows = with_unknown_classes(LABELS, spec, 2, 80, seed=1)
    right = with_unknown_classes(LABELS, dataclasses.replace(spec, flipped_labels=0.0), 2, 80, seed=1)
    for name in set(rows._fields) - {"support_labels"}:
        np.testing.assert_array_equal(getattr(rows, name), getattr(right, name))
    np.testing.assert_array_equal(rows.support_labels.max(axis=1), right.support_labels.max(axis=1))
    wrong = (rows.support_labels != right.support_labels)[rows.support_mask]
    assert wrong.mean() == pytest.approx(0.3, abs=0.05)
    assert (rows.query_labels == UNKNOWN).any()
    shorter = with_unknown_classes(LABELS, spec, 2, 5, seed=1)
    assert fingerprint(shorter) == fingerprint(rows.part(0, 5))


def test_nearest_prototypes_on_uneven_episodes_are_a_plain_loop():
    """Class means are those of the labelled rows, right or wrong: cosines, scale 10, within 1e-4."""
    table = np.random.RandomState(0).normal(size=(len(LABELS), 8)).astype("f")
    rows = sample(dataclasses.replace(UNEVEN, way=(3, 5), flipped_labels=0.2), 12)
    logits = evaluation.episode_logits(evaluation.prototypes(8, 5), rows, tf.constant(table))[0]
    for i in range(12):
        support, labels = rows.support[i][rows.support_mask[i]], rows.support_labels[i][rows.support_mask[i]]
        for j in np.flatnonzero(rows.query_mask[i]):
            query = table[rows.query[i][j]]
            for c in range(labels.max() + 1):
                units = [table[p] / np.linalg.norm(table[p]) for p in support[labels == c]]
                mean = np.mean(units, axis=0)
                cosine = query @ mean / np.linalg.norm(query) / np.linalg.norm(mean)
                assert logits[i, j, c] == pytest.approx(10 * cosine, abs=1e-4)


def test_a_training_step_on_padded_episodes_is_that_on_the_bare_rows():
    """Loss and gradients of a batch of uneven episodes are the means of each alone, without padding, to 1e-5."""
    table = np.random.RandomState(1).normal(size=(len(LABELS), 8)).astype("f") + np.eye(12)[LABELS][:, :8]
    config = SIBConfig(8, None, 1, 0.1, "per_class", support_gradient=True, step_reduction="shrunk_mean")
    tf.keras.utils.set_random_seed(0)
    model = SIB(config)
    model.build()
    rows = sample(dataclasses.replace(UNEVEN, flipped_labels=0.1), 2)

    def gradients(some) -> list:
        with tf.GradientTape() as tape:
            loss = model.outer_loss(some.gather(tf.constant(table, tf.float32)), 5)
        return [loss, *(g for g in tape.gradient(loss, model.trainable_variables) if g is not None)]

    alone = []
    for i in range(2):
        one, count = rows.part(i, i + 1), rows.support_mask[i].sum()
        bare = {name: getattr(one, name)[:, :count] for name in ("support", "support_labels", "support_mask")}
        alone.append(gradients(one._replace(**bare)))
    for found, each in zip(gradients(rows), zip(*alone, strict=True), strict=True):
        np.testing.assert_allclose(found, np.mean(each, axis=0), atol=1e-5)


def test_the_commands_take_uneven_and_wrong_labels(tiny_features, capsys):
    """Meta-training with a mixture, calibration, which knows of unknown classes too, and evaluation."""
    given = {"features_dir": tiny_features, "way": 3, "query": 3, "shot": "1-5", "shot_distribution": "uneven"}
    small = {"num_steps": 0, "steps": 1, "steps_per_call": 1, "validate_every": 1, "validation_episodes": 10}
    further = "--mixture=shot_distribution=even shot=2 flipped_labels=0.2"
    assert run(meta_train, given | small, further, output_dir="sib") == 0
    written = json.loads(Path("sib/config.json").read_text())["meta_training"]
    kinds = [(each["shot_distribution"], each["flipped_labels"]) for each in (written["episodes"], *written["mixture"])]
    assert kinds == [("uneven", 0.0), ("even", 0.2)]
    given |= {"model_dir": "sib", "flipped_labels": 0.1, "episodes": 10}
    assert run(calibrate, given) == run(evaluate, given, output="metrics.json") == 0
    words = "3-way 1-5-shot (every class its own), 10 % of labels flipped, 3 queries a class"
    assert capsys.readouterr().out.count(words) == 2


def test_names_of_classes_are_those_of_most_pictures():
    """Of class 1 the first labelled picture is one of class 0: the sheet still has its name."""
    rows = sample(EpisodeSpec(way=2, shot=3, query=3), 1)
    wrong = rows.support_labels.copy()
    wrong[0, 0] = 1
    classes = meta_test.classes_of(rows._replace(support_labels=wrong), LABELS)
    assert classes == LABELS[rows.support[0][[0, 3]]].tolist()


def test_a_folder_from_before_these_settings_is_gone_on_from(tmp_path):
    new = dataclasses.asdict(MetaTrainConfig(mixture=(EpisodeSpec(shot=(2, 20)),)))
    old = json.loads(json.dumps(new))
    for spec in (old["episodes"], old["validation"], *old["mixture"]):
        del spec["shot_distribution"], spec["flipped_labels"]
    assert MetaTrainConfig.from_dict(old) == MetaTrainConfig.from_dict(new)
    run_records.claim_folder(tmp_path, {"meta_training": old})
    run_records.claim_folder(tmp_path, {"meta_training": new})
    with pytest.raises(InputError, match="other settings .*mixture"):
        run_records.claim_folder(tmp_path, {"meta_training": {**new, "mixture": [dataclasses.asdict(UNEVEN)]}})
