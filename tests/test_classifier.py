"""SIBClassifier: scikit-learn's manners, missing labels, rows of any number and length, more and fewer classes.

A head that learned nothing stands for those that ship: its step sizes are small, and it is nearly nearest prototypes.
"""

import enum
import pickle
import subprocess
import sys
from collections import deque
from pathlib import Path

import exported
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from conftest import CHECKOUT
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from sib_tf import SIBClassifier, heads
from sib_tf.errors import InputError
from sib_tf.estimator import class_shares, labels
from sib_tf.estimator.rows import KeptRows

NAMES = np.array(["ant", "bee", "cat", "dog"], dtype=object)


@pytest.fixture(scope="module", autouse=True)
def _stand_in():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("place", "path"):
            patch.setattr(heads, name, lambda name: exported.any_length_file())
        yield


def rows(way: int = 4, shots: int = 2, others: int = 30, dim: int = 16, seed: int = 0, spread: float = 0.5):
    """Rows around the classes' centres, their labels of which most are -1, and all their labels."""
    random = np.random.RandomState(seed)
    centres = np.random.RandomState(dim).normal(size=(way, dim))
    truth = np.concatenate([np.repeat(np.arange(way), shots), random.randint(way, size=others)])
    X = (centres[truth] + spread * random.normal(size=(len(truth), dim))).astype(np.float32)
    return X, np.where(np.arange(len(truth)) < way * shots, truth, -1), truth


@parametrize_with_checks(
    [SIBClassifier()],
    expected_failed_checks=lambda _: {
        "check_classifiers_classes": "it takes -1 for a class; here -1 is a row without a label, as in semi_supervised"
    },
)
def test_it_has_scikit_learns_manners(estimator, check):
    check(estimator)


def test_unlabelled_rows_get_labels_and_labelled_ones_keep_theirs():
    X, y, truth = rows()
    classifier = SIBClassifier().fit(X, y)
    assert classifier.classes_.tolist() == [0, 1, 2, 3] and classifier.n_features_in_ == 16
    np.testing.assert_array_equal(classifier.transduction_, truth)
    np.testing.assert_array_equal(classifier.predict(X), truth)
    probability = classifier.predict_proba(X)
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-5)
    y[0], truth[0] = 3, 3  # Given labels are not doubted.
    np.testing.assert_array_equal(SIBClassifier().fit(X, y).transduction_[:8], y[:8])


def test_it_does_what_the_file_does():
    from sib_tf.prediction.litert import LiteRTClassifier

    X, y, _ = rows()
    runner = LiteRTClassifier(exported.any_length_file()).fit(X[:8], y[:8], X[8:])
    classifier = SIBClassifier().fit(X, y)
    np.testing.assert_allclose(classifier.predict_proba(X), runner.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(classifier.known_proba(X), runner.known_proba(X), atol=1e-6)


@pytest.mark.parametrize("kind", [object, str, "string", "category", list])
def test_text_labels_and_missing_ones(kind):
    X, y, truth = rows()
    text = NAMES[y]
    text[y < 0] = None
    if kind is str:
        text = NAMES[truth].astype(str)
    elif kind is list:
        text = text.tolist()
    elif kind is not object:
        text = pd.Series(text).astype(kind)
    classifier = SIBClassifier().fit(X, text)
    assert classifier.classes_.tolist() == NAMES.tolist()
    np.testing.assert_array_equal(classifier.transduction_, NAMES[truth])


@pytest.mark.parametrize(
    ("y", "classes", "numbers"),
    [
        ([3, -1, 1], [1, 3], [1, -1, 0]),
        ([3.0, -1.0, 1.0], [1, 3], [1, -1, 0]),
        ([True, False], [False, True], [1, 0]),
        (["b", None, "a", float("nan"), pd.NA], ["a", "b"], [1, -1, 0, -1, -1]),
        (np.array([2, None, 5], object), [2, 5], [0, -1, 1]),
        (np.array([[0], [-1]]), [0], [0, -1]),
        ([-1, -1], [], [-1, -1]),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:A column-vector y")
def test_labels_are_numbered(y, classes, numbers):
    y = np.array(y, dtype=object) if isinstance(y, list) and None in y else y
    found = labels.numbered(y)
    assert found[0].tolist() == classes and found[1].tolist() == numbers


def test_data_frames_and_sparse_rows():
    X, y, _ = rows()
    frame = pd.DataFrame(X, columns=[f"x{number}" for number in range(16)])
    classifier = SIBClassifier().fit(frame, pd.Series(y))
    assert classifier.feature_names_in_.tolist() == list(frame.columns)
    expected = SIBClassifier().fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(classifier.predict_proba(frame), expected)
    for kind in (scipy.sparse.csr_matrix, scipy.sparse.coo_array):
        np.testing.assert_array_equal(SIBClassifier().fit(kind(X), y).predict_proba(kind(X)), expected)


def test_pipelines_folds_and_clones():
    X, _, truth = rows(others=60)
    pipeline = make_pipeline(StandardScaler(), SIBClassifier())
    assert cross_val_score(pipeline, X, NAMES[truth], cv=3).min() > 0.9
    classifier = SIBClassifier(max_unlabelled=7, backbone="lite")
    again = clone(classifier.fit(X, truth))
    assert again.get_params() == classifier.get_params() and not hasattr(again, "classes_")
    assert repr(again) == "SIBClassifier(backbone='lite', max_unlabelled=7)"
    assert classifier.score(X, truth) > 0.9
    with pytest.raises(ValueError, match="Invalid parameter 'steps' for estimator SIBClassifier"):
        classifier.set_params(steps=3)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(classifier)).predict(X), classifier.predict(X))


@pytest.mark.parametrize(
    ("way", "shots", "others", "dim"), [(2, 1, 1, 2), (2, 3, 0, 8192), (300, 1, 500, 24), (1, 2, 5, 6)]
)
def test_from_two_numbers_to_many_and_from_one_class_to_many(way, shots, others, dim):
    X, y, truth = rows(way, shots, others, dim, spread=0.1)
    classifier = SIBClassifier().fit(X, y)
    assert (classifier.predict(X) == truth).mean() > 0.95
    assert classifier.predict_proba(X).shape == (len(X), way)


def test_without_unlabelled_rows_the_gradient_of_the_labelled_ones_moves_the_prototypes():
    X, _, truth = rows(others=20, spread=2.0)
    classifier = SIBClassifier().fit(X, truth)
    np.testing.assert_array_equal(classifier.transduction_, truth)
    before, after = (
        -np.log(next(classifier._head.blocks(X, weights))[2][np.arange(len(X)), truth]).mean()
        for weights in classifier._weights
    )
    assert after < before


def test_rows_of_zeros_belong_to_every_class_alike():
    X, y, _ = rows()
    X[10] = 0
    np.testing.assert_allclose(SIBClassifier().fit(X, y).predict_proba(X[10:11]), 0.25, atol=1e-6)


def test_more_rows_than_the_steps_see_are_all_answered_and_a_sample_is_kept():
    X, y, truth = rows(others=3000, spread=0.2)
    classifier = SIBClassifier(max_unlabelled=100).fit(X, y)
    assert classifier._rows.unlabelled.shape == (100, 16) and classifier._rows.unlabelled_seen == 3000
    np.testing.assert_array_equal(classifier.transduction_, truth)
    same, other = (SIBClassifier(max_unlabelled=100, random_state=seed).fit(X, y) for seed in (0, 1))
    np.testing.assert_array_equal(same.predict_proba(X), classifier.predict_proba(X))
    assert not np.array_equal(other._rows.unlabelled, same._rows.unlabelled)


def test_rows_are_answered_in_blocks(monkeypatch):
    X, y, _ = rows()
    expected = SIBClassifier().fit(X, y).predict_proba(X)
    monkeypatch.setattr("sib_tf.estimator.head._MOST_IN_BLOCK", 16 * 5)
    np.testing.assert_allclose(SIBClassifier().fit(X, y).predict_proba(X), expected, atol=1e-6)


def test_samples_are_of_old_and_new_rows_alike():
    """100 old rows of which 10 were kept, and 300 new ones: a quarter of a sample of 10 is old, in the mean of 400."""
    random, old, ones = np.random.RandomState(0), 0, np.array([1])
    first = KeptRows.none(1).with_more(np.zeros((101, 1)), ones, np.array([0] + [-1] * 100), 10, random)
    assert (len(first.unlabelled), first.unlabelled_seen) == (10, 100)
    for _ in range(400):
        both = first.with_more(np.ones((300, 1)), ones[:0], np.full(300, -1), 10, random)
        assert (len(both.unlabelled), both.unlabelled_seen) == (10, 400)
        old += (both.unlabelled == 0).sum()
    assert old / 4000 == pytest.approx(0.25, abs=0.03)


def test_many_labelled_rows_of_a_class_are_sampled():
    X, numbers = np.arange(1203, dtype=np.float32)[:, None], np.repeat([0, 1], [3, 1200])
    kept = KeptRows.none(1).with_more(X, np.array(["a", "b"]), numbers, 10, np.random.RandomState(0))
    assert np.bincount(kept.numbers).tolist() == [3, 500] and kept.seen.tolist() == [3, 1200]
    assert set(kept.support[kept.numbers == 0, 0]) == {0, 1, 2} and len(np.unique(kept.support)) == 503


def test_classes_are_added_and_forgotten():
    X, y, truth = rows(others=40)
    first = (truth < 3) & (np.arange(len(X)) < 30)
    text = NAMES[y]
    text[y < 0] = None
    classifier = SIBClassifier().fit(X[first], text[first])
    assert classifier.classes_.tolist() == ["ant", "bee", "cat"]
    classifier.add(X[~first], text[~first])
    assert classifier.classes_.tolist() == NAMES.tolist() and len(classifier.transduction_) == (~first).sum()
    np.testing.assert_array_equal(classifier.predict(X), NAMES[truth])
    # What was learned in two parts is what is learned at once, but for the order of the rows.
    np.testing.assert_allclose(classifier.predict_proba(X), SIBClassifier().fit(X, text).predict_proba(X), atol=1e-5)
    classifier.forget("dog")
    assert classifier.classes_.tolist() == ["ant", "bee", "cat"] and not hasattr(classifier, "transduction_")
    classifier.add(X[:1], [None])
    assert len(classifier._rows.unlabelled) == 41


def test_shares_of_the_classes_shift_the_answers():
    X, y, _ = rows(others=400, spread=2.5)
    free, balanced, mostly = (
        SIBClassifier(**given).fit(X, y)
        for given in ({}, {"balanced": True}, {"class_prior": {0: 0.7, 1: 0.1, 2: 0.1, 3: 0.1}})
    )
    means = [each.predict_proba(X[8:]).mean(axis=0) for each in (free, balanced, mostly)]
    assert np.abs(means[0] - 0.25).max() > 0.02
    np.testing.assert_allclose(means[1], 0.25, atol=5e-3)
    np.testing.assert_allclose(means[2], [0.7, 0.1, 0.1, 0.1], atol=0.02)


def test_a_shift_trusts_many_rows_more_than_few():
    shares, p = np.array([0.9, 0.1]), np.array([[0.5, 0.5]])
    few, many = (class_shares.shift_to_shares(np.repeat(p, rows, axis=0), shares) for rows in (1, 1000))
    assert 0 < few[0] - few[1] < many[0] - many[1] == pytest.approx(np.log(9), rel=1e-2)
    np.testing.assert_array_equal(class_shares.shift_to_shares(np.zeros((0, 2)), shares), 0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"y": np.full(38, -1)}, "y must have the label of at least one row of each class; got -1"),
        ({"y": np.full(38, 0.5)}, "Unknown label type: continuous"),
        ({"y": [0, np.nan] * 19}, "Input y contains NaN.*-1 says that a row has no label"),
        ({"y": ["a", -1] * 19}, "y must be text for every row, or whole numbers.*got int, str"),
        ({"y": np.array(["2020", "2021"] * 19, "M8[Y]")}, "y must be text, whole numbers or booleans.*datetime64"),
        ({"y": np.array([b"a", b"b"] * 19)}, "y must be text, whole numbers or booleans.*S1"),
        ({"y": np.array([1, "a"] * 19, object)}, "y must be text for every row, or whole numbers.*got int, str"),
        ({"y": np.zeros(3, int)}, "inconsistent numbers of samples"),
        ({"y": None}, "requires y to be passed, but the target y is None"),
        ({"X": np.full((38, 16), np.nan)}, "Input X contains NaN"),
        ({"X": np.zeros((38, 0))}, r"0 feature\(s\)"),
        ({"head": "none.tflite"}, "head must be one of general, balanced, a .tflite file .*; got 'none.tflite'"),
        ({"head": ""}, "head must be one of general, balanced, .*; got ''"),
        ({"head": Path(__file__).parent}, "head must be a meta-training's folder, which has a config.json"),
        ({"head": CHECKOUT / "tests/written_before/model.tflite"}, "takes pictures; a classifier takes a head alone"),
        ({"max_unlabelled": 0}, "max_unlabelled must be a whole number of at least 1; got 0"),
        ({"class_prior": [0.5, 0.5]}, r"class_prior must be 4 shares above 0 that add up to 1.*got \[0.5, 0.5\]"),
        ({"class_prior": "even"}, "class_prior must be 4 shares above 0 that add up to 1.*got 'even'"),
        ({"class_prior": {0: 1.0}}, r"class_prior must have a share for each of \[0, 1, 2, 3\]; got shares for \[0\]"),
        ({"class_prior": [0.25] * 4, "balanced": True}, "balanced must be False where class_prior says"),
    ],
)  # fmt: skip
def test_what_cannot_be_learned_is_said(given, message):
    X, y, _ = rows()
    X, y = given.get("X", X), given.get("y", y)
    given = {name: value for name, value in given.items() if name not in "Xy"}
    with pytest.raises(ValueError, match=message):
        SIBClassifier(**given).fit(X, y)


def test_what_does_not_go_with_what_was_learned_is_said():
    X, y, _ = rows()
    with pytest.raises(NotFittedError):
        SIBClassifier().add(X, y)
    classifier = SIBClassifier(backbone="lite").fit(X, y)
    before = classifier.predict_proba(X)
    for call, message in (
        (lambda: classifier.predict(X[:, :5]), "X has 5 features, but SIBClassifier is expecting 16 features"),
        (lambda: classifier.add(X, NAMES[y]), "y must be labels of the kind of .*0.*; got 'ant'"),
        (lambda: classifier.forget(np.arange(2)), "label must be one of the classes"),
        (lambda: classifier.forget("ant"), r"label must be one of the classes, \[0, 1, 2, 3\]; got 'ant'"),
        (lambda: SIBClassifier().fit(X, np.zeros(38, int)).forget(0), "label 0 is the only class"),
        (lambda: classifier.set_params(backbone="clip").predict(X), "backbone must be lite, .*; got clip"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    np.testing.assert_array_equal(classifier.set_params(backbone=None).predict_proba(X), before)


def test_a_runs_folder_is_a_head_too(tmp_path):
    X, y, _ = rows()
    classifier = SIBClassifier(exported.any_length_run()).fit(X, y)
    np.testing.assert_allclose(classifier.predict_proba(X), SIBClassifier().fit(X, y).predict_proba(X), atol=1e-5)
    with pytest.raises(InputError, match=r"head must be a \.tflite file to be saved, not a run's folder; export it"):
        classifier.save(tmp_path / "c.sib")
    own = SIBClassifier(exported.run_folder() / "sib").fit(X, y)  # For features of length 16 alone.
    assert own.predict(X).shape == (38,)
    with pytest.raises(InputError, match="X must have 16 features, which head .* was made for; got 15"):
        SIBClassifier(exported.run_folder() / "sib").fit(X[:, 1:], y)


def test_no_tensorflow_and_a_short_import():
    code = f"""
import sys, time
start = time.process_time()
from sib_tf import SIBClassifier
spent = time.process_time() - start
assert not {{"sklearn", "scipy"}} & set(sys.modules)
classifier = SIBClassifier({str(exported.any_length_file())!r})
classifier.fit([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1]], ["a", "b", None]).predict([[1.0, 0.2]])
assert not {{"tensorflow", "keras", "torch"}} & set(sys.modules)
print(classifier.transduction_.tolist(), spent < 0.5)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['a', 'b', 'a'] True"


@pytest.mark.parametrize("missing", [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT])
@pytest.mark.parametrize(
    "container", [list, tuple, deque, lambda y: [[label] for label in y], lambda y: np.array(y, object), pd.Series]
)
def test_what_is_missing_between_text_is_no_label_in_any_container(missing, container):
    X, y, _ = rows()
    given = container([missing if number < 0 else str(NAMES[number]) for number in y])
    expected = SIBClassifier().fit(X, y)
    found = SIBClassifier().fit(X, given)
    assert found.classes_.tolist() == NAMES.tolist()
    np.testing.assert_array_equal(found.predict_proba(X), expected.predict_proba(X))


def test_text_of_any_kind_is_text():
    X, y, _ = rows()
    text = NAMES[np.maximum(y, 0)]
    for kind in (str, object, np.dtypes.StringDType()):
        assert SIBClassifier().fit(X, text.astype(kind)).classes_.tolist() == sorted(set(text.tolist()))


def test_shares_of_a_series_are_by_label():
    X, y, _ = rows()
    shares = {"dog": 0.4, "ant": 0.1, "cat": 0.2, "bee": 0.3}
    expected, found = (
        SIBClassifier(class_prior=given).fit(X, [None if number < 0 else NAMES[number] for number in y])
        for given in (shares, pd.Series(shares))
    )
    assert sorted(shares) == NAMES.tolist() and list(shares) != NAMES.tolist()
    np.testing.assert_array_equal(found.predict_proba(X), expected.predict_proba(X))


@pytest.mark.parametrize("scale", [1e-300, 1e-60, 1e-30, 1e-12, 1e-7, 1e-3, 1e9, 1e20, 1e30, 1e200])
def test_only_directions_count_however_long_rows_are(scale):
    X, y, _ = rows()
    expected = SIBClassifier().fit(X, y).predict_proba(X)
    scaled = X.astype(np.float64) * scale
    for given in (scaled, scipy.sparse.csr_matrix(scaled)):
        np.testing.assert_allclose(SIBClassifier().fit(given, y).predict_proba(given), expected, atol=1e-5)
    mixed = np.where(np.arange(len(X))[:, None] % 2, scaled, X)  # Long and short rows side by side.
    np.testing.assert_allclose(SIBClassifier().fit(mixed, y).predict_proba(mixed), expected, atol=1e-5)


@pytest.mark.parametrize("fault", ["no label", "lengths", "shares", "names"])
def test_a_fit_that_is_refused_changes_nothing(fault):
    """The first has other columns, of other names."""
    X, y, _ = rows()
    frame = pd.DataFrame(X[:, :8], columns=list("abcdefgh"))
    classifier = SIBClassifier().fit(X, y)
    before, kept = classifier.predict_proba(X), set(vars(classifier))
    wrong = {"no label": np.full(len(y), -1), "lengths": y[:-1], "names": np.full(len(y), 0.5)}.get(fault, y)
    if fault == "shares":
        classifier.set_params(class_prior=[0.5, 0.5])
    with pytest.raises(ValueError):
        classifier.fit(frame, wrong)
    assert set(vars(classifier)) == kept and classifier.n_features_in_ == 16
    np.testing.assert_array_equal(classifier.predict_proba(X), before)


@pytest.mark.parametrize("first", [np.int64, np.uint64])
@pytest.mark.parametrize("base", [1 << 60, 1 << 63])
def test_whole_numbers_of_two_types_stay_whole(first, base):
    """As fractions large ones that are neighbours were one, and classes got each other's rows."""
    X, y, truth = rows()
    large = np.array([base, base + 1, 3, 4], np.uint64)[truth]
    small = np.array([3, 4])[truth % 2].astype(first)
    for order in ((large, small), (small, large)):
        if first is np.int64 and order[0] is small and base > 1 << 62:
            order = (small.astype(np.int8), large)
        classifier = SIBClassifier().fit(X, order[0]).add(X[:9], order[1][:9])
        assert classifier.classes_.tolist() == sorted({*order[0].tolist(), *order[1][:9].tolist()})
        assert classifier.transduction_.tolist() == order[1][:9].tolist()
        given = [*order[0].tolist(), *order[1][:9].tolist()]
        assert classifier._rows.seen.tolist() == [given.count(label) for label in classifier.classes_.tolist()]
    with pytest.raises(InputError, match="labels that one type of whole numbers has; got -5 and"):
        SIBClassifier().fit(X, np.where(truth, -5, 6)).add(X, np.full(len(X), 1 << 63, np.uint64))


def test_which_rows_are_kept():
    """Under the same label, without one, under any; whatever the container, the sign of zero and the length."""
    X, y, _ = rows()
    X[:, 0] = 0.0
    for give in (np.array, scipy.sparse.csr_matrix, lambda values: values * np.float32(1e20)):
        classifier = SIBClassifier().fit(give(X), y)
        assert classifier.keeps(give(X), y).all()
        np.testing.assert_array_equal(classifier.keeps(give(X)), y >= 0)
        assert not classifier.keeps(give(X), np.roll(y, 2))[y >= 0].any()
        assert not classifier.keeps(give(X + np.float32(0.5)), y).any()
        assert not classifier.keeps(give(X), np.full(len(y), 99)).any()
        with pytest.raises(InputError, match="y must be labels of the kind of 0; got 'ant'"):
            classifier.keeps(give(X), NAMES[y])
    negative = X.copy()
    negative[:, 0] = -0.0
    assert SIBClassifier().fit(negative, y).keeps(X, y).all()


def test_rows_of_zeros_are_not_touched():
    X, y, _ = rows()
    X[-3:] = 0
    given = X.copy()
    given[4] *= np.float32(1e-9)
    before = given.copy()
    found, expected = SIBClassifier().fit(given, y).predict_proba(given), SIBClassifier().fit(X, y).predict_proba(X)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(given, before)


def test_members_of_an_enum_of_text_are_their_text():
    kinds = enum.Enum("Kinds", [("A", "ant"), ("B", "bee"), ("C", "cat"), ("D", "dog")], type=str)
    X, y, _ = rows()
    given = [None if number < 0 else list(kinds)[number] for number in y]
    assert SIBClassifier().fit(X, given).classes_.tolist() == NAMES.tolist()
