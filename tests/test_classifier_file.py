"""Saved classifiers: one file that needs neither rows nor head, the same answers, and no damage unnoticed."""

import os
import re

import exported
import numpy as np
import pytest
from damage import check_damage
from test_classifier import NAMES, rows

from sib_tf import SIBClassifier
from sib_tf.errors import InputError
from sib_tf.estimator import saved_file
from sib_tf.estimator.rows import KeptRows


def fitted(**given) -> SIBClassifier:
    X, y, _ = rows()
    text = NAMES[y]
    text[y < 0] = None
    return SIBClassifier(exported.any_length_file(), **given).fit(X, text)


@pytest.mark.parametrize(
    "given", [{}, {"balanced": True}, {"class_prior": dict(zip(NAMES, (0.4, 0.2, 0.2, 0.2), strict=True))}]
)
def test_it_answers_and_learns_as_before(tmp_path, given):
    (X, _, _), classifier = rows(), fitted(backbone="lite", **given)
    classifier.save(tmp_path / "c.sib")
    again = SIBClassifier.load(tmp_path / "c.sib", backbone="lite")
    assert (again.backbone_, again.n_features_in_, again.classes_.tolist()) == ("lite", 16, NAMES.tolist())
    assert again.classes_.dtype == object and not hasattr(again, "transduction_")
    for learn in (lambda one: one, lambda one: one.add(X[:3] + 0.1, ["ant", "ant", None])):
        one, other = learn(classifier), learn(again)
        np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))
        np.testing.assert_array_equal(one.known_proba(X), other.known_proba(X))
        np.testing.assert_array_equal(one.predict(X), other.predict(X))


def test_it_needs_no_other_file(tmp_path):
    head = tmp_path / "head.tflite"
    head.write_bytes(exported.any_length_file().read_bytes())
    X, y, truth = rows()
    SIBClassifier(head).fit(X, y).save(tmp_path / "c.sib")
    head.unlink()
    again = SIBClassifier.load(tmp_path / "c.sib")
    assert again.forget(3).classes_.tolist() == [0, 1, 2] and again.classes_.dtype == y.dtype
    np.testing.assert_array_equal(again.predict(X)[truth < 3], truth[truth < 3])
    assert again.head == str(head)


def test_its_size_is_as_stated(tmp_path):
    """4 * D bytes for every row, 8 * D for every class, and the head."""
    fitted().save(tmp_path / "c.sib")
    size = os.path.getsize(tmp_path / "c.sib") - exported.any_length_file().stat().st_size  # noqa: PTH202
    assert 0 < size - (4 * 16 * 38 + 8 * 16 * 4) < 6000
    assert [path.name for path in tmp_path.iterdir()] == ["c.sib"]


def test_rows_of_another_backbone_are_refused_by_name(tmp_path):
    fitted(backbone="lite").save(tmp_path / "c.sib")
    with pytest.raises(InputError, match="backbone must be lite, whose features this classifier .*; got clip"):
        SIBClassifier.load(tmp_path / "c.sib", backbone="clip")


def test_the_same_classifier_makes_the_same_file(tmp_path):
    for name in ("a.sib", "b.sib"):
        fitted().save(tmp_path / name)
    assert (tmp_path / "a.sib").read_bytes() == (tmp_path / "b.sib").read_bytes()


def test_columns_names_are_kept(tmp_path):
    import pandas as pd

    X, y, _ = rows()
    frame = pd.DataFrame(X, columns=[f"x{number}" for number in range(16)])
    SIBClassifier(exported.any_length_file()).fit(frame, y).save(tmp_path / "c.sib")
    again = SIBClassifier.load(tmp_path / "c.sib")
    with pytest.raises(ValueError, match="feature names should match"):
        again.predict(frame[frame.columns[::-1]])


def test_damage_is_noticed(tmp_path):
    (X, _, _), classifier = rows(), fitted()
    expected = classifier.predict_proba(X)
    classifier.save(tmp_path / "c.sib")
    same = lambda found: np.array_equal(found.predict_proba(X), expected)  # noqa: E731
    assert check_damage(tmp_path / "c.sib", SIBClassifier.load, same, flips=60, cuts=10) > 0.8


def test_what_is_no_saved_classifier_is_named(tmp_path):
    path = tmp_path / "other.npz"
    with pytest.raises(InputError, match=r"other\.npz cannot be read"):
        SIBClassifier.load(path)
    np.savez(path, X=np.zeros(3))
    with pytest.raises(InputError, match=r"other\.npz is no saved classifier, or is damaged"):
        SIBClassifier.load(path)
    contents = saved_file.Contents({}, None, None, KeptRows.none(3), np.zeros((2, 0, 3), np.float32), None, b"")
    saved_file.write(path, contents)  # Whole, and still nothing that a classifier wrote.
    with pytest.raises(InputError, match="arrays do not belong together"):
        SIBClassifier.load(path)
    with pytest.raises(InputError, match=re.escape(str(tmp_path))):
        fitted().save(tmp_path)
