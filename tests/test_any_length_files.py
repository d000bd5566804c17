"""Files of the head alone for features of any length: one file for all lengths, rows and classes."""

import exported
import numpy as np
import pytest
from running import run
from test_cli import check_error

from export import tflite, verify
from sib_tf.errors import InputError
from sib_tf.prediction import trained_run
from sib_tf.prediction.litert import LiteRTClassifier, LiteRTModel
from sib_tf.prediction.models import KerasModel


def episode(feature_dim: int, way: int = 3, queries: int = 10):
    random = np.random.RandomState(feature_dim)
    centres = random.normal(size=(way, feature_dim))
    labels, of_query = np.arange(2 * way) % way, random.randint(way, size=queries)
    support, query = (centres[y] + 0.3 * random.normal(size=(len(y), feature_dim)) for y in (labels, of_query))
    return support.astype(np.float32), labels, query.astype(np.float32)


@pytest.fixture(scope="module")
def folder():
    return exported.any_length_run()


@pytest.fixture(scope="module")
def head(folder, tmp_path_factory):
    """A file as the command writes it."""
    path = tmp_path_factory.mktemp("any") / "head.tflite"
    given = {"model_dir": folder, "feature_dim": "any", "output": path, "episodes": 2}
    assert run(tflite, given, head_only=True) == 0
    return path


@pytest.fixture(scope="module")
def trained(folder):
    return KerasModel(trained_run.load_head(folder, None))


def test_it_says_what_it_takes(head, trained):
    for model in (LiteRTModel(head), trained):
        assert model.any_length
        lengths = {name: model.description[name] for name in ("feature_dim", "weights_dim", "way", "max_query")}
        assert lengths == dict.fromkeys(lengths)


@pytest.mark.parametrize(("feature_dim", "way", "queries"), [(2, 2, 1), (7, 3, 10), (300, 12, 40), (7, 3, 0)])
def test_lengths_rows_and_classes_may_all_change(head, trained, feature_dim, way, queries):
    support, labels, query = episode(feature_dim, way, queries)
    model = LiteRTModel(head)
    weights = model.adapt(support, labels, query)
    np.testing.assert_allclose(weights, trained.adapt(support, labels, query), atol=1e-5)
    logits, probabilities = model.classify(support, weights[-1])
    assert logits.shape == (len(support), way)
    np.testing.assert_allclose(probabilities, trained.classify(support, weights[-1])[1], atol=1e-5)


def test_without_queries_the_support_alone_moves_the_classes(head):
    support, labels, query = episode(5, queries=0)
    support = support + np.random.RandomState(1).normal(size=support.shape).astype(np.float32)
    model = LiteRTModel(head)
    path = model.adapt(support, labels, query)

    def loss(weights):
        return -np.log(model.classify(support, weights)[1][np.arange(len(labels)), labels]).mean()

    assert loss(path[2]) < loss(path[1]) < loss(path[0])


def test_the_length_of_a_file_may_be_fixed_without_features(folder, head, tmp_path):
    given = {"model_dir": folder, "feature_dim": 7, "output": tmp_path / "seven.tflite", "episodes": 2}
    assert run(tflite, given, head_only=True, way=3, max_support=9, max_query=12) == 0
    fixed, (support, labels, query) = LiteRTModel(tmp_path / "seven.tflite"), episode(7)
    assert (fixed.description["feature_dim"], fixed.way) == (7, 3)
    np.testing.assert_allclose(
        fixed.adapt(support, labels, query), LiteRTModel(head).adapt(support, labels, query), atol=1e-5
    )


def test_the_runner_for_devices_takes_it(head):
    support, labels, query = episode(9)
    classifier = LiteRTClassifier(head).fit(support, labels, query)
    assert classifier.predict(query).shape == (10,)
    assert LiteRTClassifier(head).fit(support, labels).predict(support).tolist() == labels.tolist()


def test_it_is_verified_on_features_of_any_cache(folder, head, tiny_features):
    given = {"model_dir": folder, "features_dir": tiny_features, "exported": head, "episodes": 2}
    assert run(verify, given) == 0


def test_what_it_cannot_take_is_named(head):
    model, (support, labels, query) = LiteRTModel(head), episode(5)
    with pytest.raises(InputError, match=r"query must have the shape \[rows, 5\]; got \(10, 4\)"):
        model.adapt(support, labels, query[:, :4])
    with pytest.raises(InputError, match=r"query must have features as long .* 5 numbers; got 4"):
        model.classify(query[:, :4], model.adapt(support, labels, query)[-1])
    with pytest.raises(InputError, match=r"support must have the shape \[rows, any length\]; got \(6, 0\)"):
        model.adapt(support[:, :0], labels, query)
    with pytest.raises(InputError, match="features of any length for adapt and classify"):
        model.embed(exported.pictures(1, seed=0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"feature_dim": "some"}, "feature_dim must be a whole number from 1 to 1048576, or any; got some"),
        ({"feature_dim": 0}, "feature_dim must be a whole number from 1 to"),
        ({"shapes": "static"}, "shapes must be dynamic with --feature_dim=any, which fixes no size; got static"),
        ({"way": 3}, "--way belong to --shapes=static"),
        ({"head_only": False}, "feature_dim belongs to --head_only; got any"),
        ({"model_dir": exported.run_folder() / "sib"}, "feature_dim must be 16 for the model in .*; got any"),
    ],
)
def test_flags_that_do_not_go_together(capsys, folder, changes, message):
    given = {"model_dir": folder, "feature_dim": "any", "output": "h.tflite", "head_only": True, **changes}
    check_error(capsys, run(tflite, given), message)
