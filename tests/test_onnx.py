"""Heads as ONNX: the same numbers as the trained model's, for all lengths, rows and classes."""

import shutil

import exported
import numpy as np
import pytest
from running import run
from test_any_length_files import episode
from test_cli import check_error

pytest.importorskip("tf2onnx", exc_type=ImportError)
pytest.importorskip("onnxruntime", exc_type=ImportError)

from export import onnx, onnx_files, verification
from sib_tf.errors import InputError
from sib_tf.prediction.litert import LiteRTModel


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx") / "head"
    given = {"model_dir": exported.any_length_run(), "feature_dim": "any", "output_dir": folder, "episodes": 2}
    assert run(onnx, given, head_only=True) == 0
    return folder


@pytest.mark.parametrize(("feature_dim", "way", "queries"), [(2, 2, 1), (7, 3, 10), (300, 12, 40), (7, 3, 0)])
def test_it_computes_what_the_tflite_file_does(folder, feature_dim, way, queries):
    support, labels, query = episode(feature_dim, way, queries)
    found, expected = onnx_files.ONNXModel(folder), LiteRTModel(exported.any_length_file())
    weights = expected.adapt(support, labels, query)
    np.testing.assert_allclose(found.adapt(support, labels, query), weights, atol=1e-4)
    for one, other in zip(found.classify(support, weights[-1]), expected.classify(support, weights[-1]), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_a_head_of_one_length(tmp_path):
    from sib_tf.prediction import trained_run
    from sib_tf.prediction.models import KerasModel

    head, (support, labels, query) = trained_run.load_head(exported.run_folder() / "sib", 16), episode(16)
    onnx_files.write(tmp_path, head)
    weights = onnx_files.ONNXModel(tmp_path).adapt(support, labels, query)
    np.testing.assert_allclose(weights, KerasModel(head).adapt(support, labels, query), atol=1e-4)


def test_what_is_missing_is_named(capsys, folder, tmp_path, monkeypatch):
    given = {"model_dir": exported.any_length_run(), "feature_dim": "any", "output_dir": tmp_path / "out"}
    check_error(capsys, run(onnx, given), "head_only must be given: backbones have their own ways to ONNX")
    with pytest.raises(InputError, match=r"adapt\.onnx is missing, or no file of export\.onnx"):
        onnx_files.ONNXModel(tmp_path)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("kept")
    check_error(capsys, run(onnx, {**given, "output_dir": mine}, head_only=True), "output_dir .* holds other files")
    assert [path.name for path in mine.iterdir()] == ["notes.txt"]
    shutil.rmtree(mine)
    monkeypatch.setattr(verification, "ALLOWED_LOSS", -1.0)
    check_error(capsys, run(onnx, given, head_only=True, episodes=2), "The ONNX pair does not do what the model does")
    assert list(tmp_path.iterdir()) == []
