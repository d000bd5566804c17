"""None of these: scores and areas by hand, episodes with unknown classes, and from calibration to metrics."""

import dataclasses

import numpy as np
import pytest
import running
from exported import write_sib

from sib_tf import calibration, evaluation, runs
from sib_tf.config import EpisodeSpec
from sib_tf.errors import InputError
from sib_tf.features import FeatureCache
from sib_tf.prediction import open_set
from sib_tf.reports import meta_test
from sib_tf.unknown_classes import UNKNOWN, with_unknown_classes
from train import calibrate

LABELS = np.repeat(np.arange(12), 30)


def test_score_by_hand():
    """Means over the queries that count are (2, 1): (3, 1) scores log(e^1 + e^0), (1, 1) log(e^-1 + e^0)."""
    logits, mask = np.array([[3.0, 1.0], [1.0, 1.0], [9.0, 9.0]]), np.array([True, True, False])
    centre = open_set.centre(logits, mask)
    np.testing.assert_allclose(centre, [[2.0, 1.0]])
    expected = [np.log(np.e + 1), np.log(np.exp(-1) + 1)]
    np.testing.assert_allclose(open_set.score(logits[:2], centre), expected)
    np.testing.assert_allclose(open_set.centre(logits[:2]), centre)


def test_auroc_by_hand_with_ties_and_padding():
    """Known 3, 2; unknown 2, 1: of four pairs three are right and one is even."""
    score = np.array([[3.0, 2.0, 2.0, 1.0, 8.0], [1.0, 2.0, 3.0, 4.0, 0.0]])
    is_known = np.array([[True, True, False, False, True], [True, True, False, False, False]])
    mask = np.array([[True, True, True, True, False]] * 2)
    np.testing.assert_allclose(calibration.auroc(score, is_known, mask), [3.5 / 4, 0.0])
    turned = calibration.auroc(-score, is_known, mask)
    np.testing.assert_allclose(turned, [0.5 / 4, 1.0])


def test_the_fit_recovers_the_probabilities_that_scores_were_drawn_from():
    """Of equal shares: scores of N(2, 1) and N(0, 1) have log odds 2 s - 2."""
    random = np.random.RandomState(0)
    score = np.concatenate([random.normal(2, 1, 30_000), random.normal(0, 1, 10_000)])
    is_known = np.arange(40_000) < 30_000
    assert calibration.fit_known(score, is_known) == pytest.approx((-2, 2), abs=0.1)
    # Also of another unit, and where they separate perfectly.
    assert calibration.fit_known(100 * score + 7, is_known) == pytest.approx((-2 - 0.14, 0.02), abs=0.1)
    offset, slope = calibration.fit_known(np.array([0.0, 1, 2, 3]), np.array([False, False, True, True]))
    assert np.isfinite([offset, slope]).all()
    assert -offset / slope == pytest.approx(1.5, abs=0.01)
    assert open_set.probability(np.array([0.0, 3.0]), (offset, slope)) == pytest.approx([0, 1], abs=0.05)


@pytest.mark.parametrize("spec", [EpisodeSpec(way=3, query=4), EpisodeSpec(way=(2, 5), shot=(1, 3), query=(2, 6))])
def test_unknown_classes_have_queries_and_no_support(spec):
    rows = with_unknown_classes(LABELS, spec, 2, 60, seed=1)
    for i in range(60):
        support, labels = (field[i][rows.support_mask[i]] for field in (rows.support, rows.support_labels))
        query, given = (field[i][rows.query_mask[i]] for field in (rows.query, rows.query_labels))
        class_of = dict(zip(labels, LABELS[support], strict=True))
        assert sorted(class_of) == list(range(len(set(LABELS[support]))))
        assert spec.way[0] <= len(class_of) <= spec.way[1]
        known, unknown = LABELS[query[given != UNKNOWN]], LABELS[query[given == UNKNOWN]]
        assert [class_of[label] for label in given[given != UNKNOWN]] == known.tolist()
        assert len(set(unknown)) == 2 and not {*unknown} & {*class_of.values()}
    assert (rows.support_labels[~rows.support_mask] == 0).all()


def test_scores_of_absent_classes_do_not_count():
    """Episodes of 2 to 5 ways, each scored as it would be alone."""
    table = np.random.RandomState(2).normal(size=(len(LABELS), 6)).astype("f")
    model = evaluation.prototypes(6, 5)
    model = type(model)(dataclasses.replace(model.config, way=None, gradient_network="per_class"))
    model.build()
    rows = with_unknown_classes(LABELS, EpisodeSpec(way=(2, 5), query=3), 1, 12, seed=3)
    together = evaluation.known_score(evaluation.episode_logits(model, rows, table)[0], rows)
    for i in range(12):
        one = rows.part(i, i + 1)
        alone = evaluation.known_score(evaluation.episode_logits(model, one, table)[0], one)[0]
        np.testing.assert_allclose(together[i][rows.query_mask[i]], alone[rows.query_mask[i]], atol=1e-5)


@pytest.fixture
def folder(tiny_features, tmp_path):
    """As a meta-training leaves it that has not learned anything yet."""
    return write_sib(tmp_path / "sib", tiny_features, way=None, num_steps=1, gradient_network="per_class")


def test_calibration_learns_to_tell_and_evaluation_says_how_well(tiny_features, folder):
    spec = EpisodeSpec(way=3, query=5)
    calibration.calibrate(tiny_features, folder, spec, episodes=40, seed=0)
    model, _ = runs.load_model(folder)
    cache = FeatureCache.open(tiny_features)
    measured = meta_test.meta_test(tiny_features, folder, spec, 50, unknown_classes=3).metrics["open_set"]
    rows = with_unknown_classes(cache.labels("test"), spec, 3, 50, seed=0)
    logits = evaluation.episode_logits(model, rows, cache.table("test"))[0]
    score, is_known = evaluation.known_score(logits, rows), rows.query_labels != UNKNOWN
    assert measured["auroc"] == pytest.approx(calibration.auroc(score, is_known, rows.query_mask).mean())
    # The classes are stripes of different colours: better than chance, even with an untrained backbone.
    assert measured["auroc"] > 0.54
    assert measured["difference"] == pytest.approx(measured["auroc"] - measured["baseline_auroc"])
    assert 0 <= measured["accepted_unknown"] < measured["accepted_known"] <= 1
    for kind in ("known", "unknown"):
        assert sum(measured[f"{kind}_histogram"]) == pytest.approx(1)
        assert sum(measured[f"{kind}_histogram"][10:]) == pytest.approx(measured[f"accepted_{kind}"], abs=0.02)


def test_without_classes_to_spare_calibration_leaves_it_out_and_says_so(tiny_features, folder, capsys):
    flags = {"features_dir": tiny_features, "model_dir": folder, "way": 6, "shot": 1, "query": 5, "episodes": 20}
    assert running.run(calibrate, **flags) == 0
    assert "not fitted: it takes more validation classes than the way, 6.\n" in capsys.readouterr().out
    found = calibration.Calibration.load(folder / calibration.FILE)
    assert found.known is None
    measured = meta_test.meta_test(tiny_features, folder, EpisodeSpec(way=3, query=5), 10, unknown_classes=3)
    assert "accepted_known" not in measured.metrics["open_set"]
    with pytest.raises(InputError, match="way=8, shot=1, query=5 need 8 classes"):
        meta_test.meta_test(tiny_features, folder, EpisodeSpec(way=3, query=5), 10, unknown_classes=5)
