"""A domain without labels under a backbone that is not trained: turned features, the head alone, the shipped head."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from running import run
from test_cli import check_error
from test_domain_adaptation import SMALL, small_dataset

from sib_tf import backbones, checkpoints
from sib_tf.config import BackboneConfig
from sib_tf.datasets import glyph_domains
from sib_tf.errors import InputError
from sib_tf.estimator.classifier import SIBClassifier
from sib_tf.storage import run_records
from sib_tf.zero_shot.domain_adaptation import AdaptiveHead, Learner, tasks, turned_features, untrained
from sib_tf.zero_shot.domain_adaptation.training import FeatureLearner
from train import domain_adaptation as entry_point


def save_backbone(folder: Path, size: int, width: int = 4):
    config = BackboneConfig(width=width, image_size=size, mean=(128.0,) * 3, std=(70.0,) * 3)
    model = backbones.build(config)
    folder.mkdir(parents=True)
    checkpoints.save_model(model, folder / backbones.FILE)
    (folder / run_records.CONFIG).write_text(json.dumps({"backbone": dataclasses.asdict(config)}))
    return model


@pytest.fixture
def dataset():
    return small_dataset()


@pytest.fixture
def backbone(dataset, tmp_path):
    return save_backbone(tmp_path / "backbone", next(iter(dataset.domains.values())).images.shape[1])


def test_features_are_the_backbones_of_turned_pictures(dataset, backbone, monkeypatch):
    seen = turned_features.embed(dataset, backbone, Path("features"))
    for name, split in dataset.domains.items():
        for turns in range(4):
            plain = backbone(np.rot90(split.images, turns, axes=(1, 2)).astype("f"), training=False).numpy()
            found = seen.domains[name].images[:, turns]
            np.testing.assert_allclose(np.linalg.norm(found, axis=1), turned_features.LENGTH, rtol=1e-5)
            unit = plain / np.linalg.norm(plain, axis=1, keepdims=True)
            np.testing.assert_allclose(found, turned_features.LENGTH * unit, rtol=1e-4, atol=1e-4)
    # They are not made again.
    monkeypatch.setattr(turned_features, "_blocks", None)
    again = turned_features.embed(dataset, backbone, Path("features"))
    np.testing.assert_array_equal(again.domains[name].images, seen.domains[name].images)


def test_the_head_sees_them_as_it_would_see_pictures(dataset, backbone):
    """Features, turned ones included, come in the order in which `Learner` embeds pictures."""
    split = dataset.domains[next(iter(dataset.domains))]
    head = AdaptiveHead(SMALL, backbone.output_shape[-1], len(dataset.class_names), "sib_rot")
    rows = tasks.fixed(np.arange(len(split.labels)), SMALL.minibatch)[:2]
    wanted = Learner(backbone, head, 0).embed(split.images[rows], True, training=False)
    seen = turned_features.embed(dataset, backbone, Path("features")).domains[next(iter(dataset.domains))].images
    found = FeatureLearner(AdaptiveHead(SMALL, seen.shape[-1], 2, "sib_rot"), 0).embed(seen[rows], True, training=False)
    for one, other in zip(found, wanted, strict=True):
        length = np.linalg.norm(other, axis=-1, keepdims=True) / turned_features.LENGTH
        np.testing.assert_allclose(one * length, other, rtol=1e-4, atol=1e-4)


def test_the_shipped_head_is_the_estimator(dataset, backbone):
    """The sources' training pictures are labelled, the target's are not, and no others are seen."""
    target = next(iter(dataset.domains))
    sources = tasks.split(turned_features.embed(dataset, backbone, Path("features")), target, 0.2)
    found = untrained.predict("shipped_head", sources, 4, 0).prediction
    X = np.concatenate([rows.pictures.images[rows.rows, 0] for rows in sources.train.values()])
    y = np.concatenate([rows.pictures.labels[rows.rows] for rows in sources.train.values()])
    pile = sources.target[:, 0]
    classifier = SIBClassifier().fit(np.concatenate([X, pile]), np.concatenate([y, np.full(len(pile), -1)]))
    np.testing.assert_array_equal(found, classifier.predict(pile)[tasks.fixed(np.arange(len(pile)), 4)])
    prototypes = untrained.predict("prototypes", sources, 4, 0).prediction
    np.testing.assert_array_equal(
        prototypes, classifier.prototype_proba(pile).argmax(1)[tasks.fixed(np.arange(len(pile)), 4)]
    )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda kept: kept[:, :, :3],
            r"a\.npy is float32 \(12, 4, 3\); float32 \(12, 4, \d+\) is needed: remove",
        ),
        (lambda kept: kept[1:], r"a\.npy is float32 \(11, 4, \d+\); float32"),
        (lambda kept: kept.astype("f8"), r"a\.npy is float64"),
        (lambda kept: kept * np.float32(np.nan), r"a\.npy has features of another length than 8, or not finite"),
        (lambda kept: kept * np.float32(2), r"a\.npy has features of another length than 8"),
    ],
)
def test_kept_features_that_are_not_ours_are_named(dataset, backbone, damage, message):
    turned_features.embed(dataset, backbone, Path("features"))
    np.save("features/a.npy", damage(np.load("features/a.npy")))
    with pytest.raises(InputError, match=message):
        turned_features.embed(dataset, backbone, Path("features"))


@pytest.mark.filterwarnings("error:.*constrained_layout:UserWarning")
def test_all_methods_fit_into_the_figure(flags):
    assert run(entry_point, flags, target="all") == 0
    assert Path("run/accuracy.png").is_file()


def test_seeds_that_change_nothing_are_one_run(flags):
    assert run(entry_point, flags, target="hand,print", methods="prototypes,shipped_head", seeds="0,1,2") == 0
    (row,) = (row for row in json.loads(Path("run/metrics.json").read_text())["rows"] if row["paired"])
    means = [each["mean"] for each in row["runs"] if each["seed"] == 0]
    # Of two targets, by Student's t with one degree of freedom.
    assert row["average"]["ci95_runs"] == pytest.approx(12.706 * np.std(means, ddof=1) / 2**0.5, rel=1e-3)


@pytest.fixture
def flags(monkeypatch) -> dict:
    monkeypatch.setattr(glyph_domains, "PICTURES_PER_CLASS", 6)
    save_backbone(Path("imported"), 16)
    small = {"minibatch": 6, "steps": 2, "validations": 1, "num_steps": 1, "shared_dim": 8}
    common = {"dataset": "glyph_domains", "cache_dir": "cache", "output_dir": "run", "target": "hand"}
    return common | small | {"backbone": "imported", "weights": "imported"}


def test_from_the_command_line_and_again(flags, capsys):
    assert run(entry_point, flags, oracle="true") == 0
    metrics = json.loads(Path("run/metrics.json").read_text())
    names = [row["name"] for row in metrics["rows"]]
    assert names[:6] == ["source_only", "rot", "k0", "sib_rot", "prototypes", "shipped_head"]
    assert names[-2:] == ["sib_rot - shipped_head", "shipped_head - prototypes"]
    assert Path("run/hand/sib_rot-0/head.keras").is_file()
    assert not list(Path("run").rglob("backbone.keras"))
    text = Path("run/report.md").read_text()
    assert "\n- `shipped_head`: `SIBClassifier`" in text
    # What is not trained has no better step.
    assert re.search(r"^\| hand \| `shipped_head` \| 0 \| [0-9.]+ \| [0-9.]+ \| 0 \| 0 \| - \|$", text, re.MULTILINE)
    assert metrics["config"]["shared_dim"] == 8 and metrics["config"]["steps"] == 2
    before = {path: path.stat().st_mtime_ns for path in Path("run/hand").rglob("*") if path.is_file()}
    assert run(entry_point, flags, oracle="true") == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    save_backbone(Path("other"), 16, width=5)
    capsys.readouterr()
    flags["oracle"] = "true"
    check_error(capsys, run(entry_point, flags, weights="other"), "run holds a run with other settings .*weights")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"weights": None},
            "weights must be the folder of train.import_backbone or .*=imported; got None",
        ),
        ({"weights": "nowhere"}, "weights must be the folder of train.import_backbone or .*; got nowhere"),
        ({"image_size": 32}, "image_size is that of the imported backbone, 16; got 32"),
        (
            {"backbone": "conv4", "weights": None, "methods": "shipped_head"},
            r"methods \['shipped_head'\] train nothing",
        ),
        ({"mirror": "true"}, "mirror is for a backbone that is trained; leave it out with backbone=imported"),
        ({"methods": "k1"}, "methods must be one of .*shipped_head; got 'k1'"),
    ],
)
def test_errors_are_one_line(values, message, flags, capsys):
    check_error(capsys, run(entry_point, flags | values), message)
