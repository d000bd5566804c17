"""Pre-training: schedules by hand, the same batches and weights after an interruption, refusals, and NaN."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from conftest import make_split

from sib_tf import backbones, optimizers, pretraining
from sib_tf.config import BackboneConfig, PretrainConfig
from sib_tf.devices import Devices
from sib_tf.errors import InputError
from sib_tf.features import weights_fingerprint
from sib_tf.reports import history
from sib_tf.storage import run_records

TINY = PretrainConfig(schedule="cosine", epochs=2, batch_size=48)
BACKBONE = BackboneConfig(width=4, mean=(128.0,) * 3, std=(64.0,) * 3)


@pytest.fixture(autouse=True)
def few_validation_episodes(monkeypatch):
    monkeypatch.setattr(pretraining, "VALIDATION_EPISODES", 50)


@pytest.mark.parametrize(
    ("fields", "steps_per_epoch", "expected"),
    [
        # 6000 steps up from 1e-7 in a straight line, a tenth from epoch 50 (step 30000) on.
        (
            {"schedule": "paper"},
            600,
            {0: 1e-7, 3000: 0.05000005, 6000: 0.1, 29_999: 0.1, 30_000: 0.01, 35_999: 0.01},
        ),
        # A run shorter than the warm-up stays on its line.
        ({"schedule": "paper", "epochs": 1, "learning_rate": 0.6}, 100, {0: 1e-7, 60: 0.0060001}),
        # 30 of 100 steps up from a 25th, then half a cosine down: (1 + cos(pi / 2)) / 2 = 1/2 at step 65.
        ({"schedule": "one_cycle", "epochs": 10}, 10, {0: 0.004, 15: 0.052, 30: 0.1, 65: 0.05, 100: 0.0}),
        # One epoch (10 of 100 steps) up, then half a cosine down.
        ({"schedule": "cosine", "epochs": 10}, 10, {0: 0.004, 5: 0.052, 10: 0.1, 55: 0.05, 100: 0.0}),
    ],
)
def test_schedules_by_hand(fields, steps_per_epoch, expected):
    schedule = optimizers.backbone_rate(PretrainConfig(**fields), steps_per_epoch)
    found = [float(schedule(step)) for step in expected]
    np.testing.assert_allclose(found, list(expected.values()), rtol=1e-5, atol=1e-9)


def test_batches_of_a_resumed_run_are_those_of_an_unbroken_one(tiny_dataset):
    config = dataclasses.replace(TINY, batch_size=16)
    whole = list(pretraining.training_batches(tiny_dataset, 32, config))
    resumed = list(pretraining.training_batches(tiny_dataset, 32, config, first_epoch=1))
    assert len(whole) == 24
    assert len(resumed) == 12
    for (images, labels), (expected, expected_labels) in zip(resumed, whole[12:], strict=True):
        np.testing.assert_array_equal(labels, expected_labels)
        np.testing.assert_array_equal(images, expected)


def test_an_epoch_has_every_picture_once_in_an_order_of_its_own(tiny_dataset):
    config = dataclasses.replace(TINY, batch_size=16, augment=False)
    batches = list(pretraining.training_batches(tiny_dataset, 32, config))
    stored = [image.tobytes() for image in tiny_dataset.train.images]
    epochs = [
        [image.astype(np.uint8).tobytes() for images, _ in part for image in images.numpy()]
        for part in (batches[:12], batches[12:])
    ]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(stored)
    assert epochs[0] != epochs[1]
    label_of = dict(zip(stored, tiny_dataset.train.labels, strict=True))
    found = [int(label) for _, labels in batches[:12] for label in labels]
    assert found == [label_of[image] for image in epochs[0]]


def test_another_seed_gives_other_batches(tiny_dataset):
    first, second = (
        next(iter(pretraining.training_batches(tiny_dataset, 32, dataclasses.replace(TINY, seed=seed))))[1]
        for seed in (0, 1)
    )
    assert not np.array_equal(first, second)


def last_state(folder) -> dict[str, np.ndarray]:
    """Every number of the last training state: weights, optimiser, counters."""
    reader = tf.train.load_checkpoint(str(folder / "training"))
    names = reader.get_variable_to_shape_map()
    return {name: reader.get_tensor(name) for name in names if not name.startswith(("_CHECKPOINT", "save_counter"))}


@pytest.mark.slow
def test_a_resumed_run_ends_as_an_unbroken_one(tiny_dataset, tmp_path, monkeypatch):
    unbroken = pretraining.pretrain(tiny_dataset, BACKBONE, TINY, tmp_path / "unbroken")
    end_of_epoch = pretraining._Run._end_epoch

    def interrupted(self, *epoch):
        end_of_epoch(self, *epoch)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pretraining._Run, "_end_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pretraining.pretrain(tiny_dataset, BACKBONE, TINY, tmp_path / "broken")
    resumed = pretraining.pretrain(tiny_dataset, BACKBONE, TINY, tmp_path / "broken")
    assert resumed == unbroken > 0.2
    expected, found = last_state(tmp_path / "unbroken"), last_state(tmp_path / "broken")
    assert any("momentum" in name or "optimizer" in name for name in expected)
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    # A finished run is found finished.
    kept = (tmp_path / "broken" / "backbone.keras").read_bytes()
    assert pretraining.pretrain(tiny_dataset, BACKBONE, TINY, tmp_path / "broken") == unbroken
    assert (tmp_path / "broken" / "backbone.keras").read_bytes() == kept
    rows = history.read(tmp_path / "broken" / "history.csv")
    assert rows == history.read(tmp_path / "unbroken" / "history.csv")
    assert list(rows[0]) == ["epoch", "accuracy", "loss", "val_prototype_accuracy"]
    assert [row["epoch"] for row in rows] == [0, 1]
    assert max(row["val_prototype_accuracy"] for row in rows) == pytest.approx(unbroken, abs=1e-6)


def test_a_nan_loss_names_the_epoch_and_keeps_the_best_backbone(tiny_dataset, tmp_path, monkeypatch):
    steps = len(tiny_dataset.train.labels) // TINY.batch_size
    batches_of = pretraining.training_batches

    def turning_bad(*args):
        good = batches_of(*args)
        bad = good.skip(steps).map(lambda images, labels: (images * np.nan, labels))
        return good.take(steps).concatenate(bad)

    monkeypatch.setattr(pretraining, "training_batches", turning_bad)
    with pytest.raises(
        InputError, match=r"became NaN or infinite in epoch 2; lower learning_rate\. .* kept in .*run\."
    ):
        pretraining.pretrain(tiny_dataset, BACKBONE, TINY, tmp_path / "run")
    backbone, config = backbones.load(tmp_path / "run")
    assert config == BACKBONE
    assert all(np.isfinite(weight).all() for weight in backbone.weights)
    state = last_state(tmp_path / "run")
    assert all(np.isfinite(value).all() for value in state.values())
    assert [int(value) for name, value in state.items() if name.startswith("epoch")] == [1]


@pytest.mark.parametrize(
    ("backbone", "training", "message"),
    [
        ({}, {"epochs": 3}, r"other settings \(pretraining\.epochs: 2 there, 3 asked\)"),
        ({"width": 8}, {}, r"other settings \(backbone\.width: 4 there, 8 asked\)"),
    ],
)
def test_the_folder_of_another_run_is_refused(tiny_dataset, tmp_path, backbone, training, message):
    run_records.claim_folder(tmp_path, pretraining._run_record(tiny_dataset, BACKBONE, TINY))
    backbone, config = dataclasses.replace(BACKBONE, **backbone), dataclasses.replace(TINY, **training)
    with pytest.raises(InputError, match=message):
        pretraining.pretrain(tiny_dataset, backbone, config, tmp_path)


@pytest.mark.parametrize(
    ("split", "backbone", "training", "message"),
    [
        (None, {}, {"epochs": 0}, "epochs must be at least 1 for a backbone from scratch"),
        (None, {}, {"batch_size": 193}, "batch_size 193 is more than the 192 tr"),
        ("train", {}, {}, r"The train split must have at least 2 classes to tell apart; got 1\."),
        ("validation", {}, {}, r"The validation split must have at least 2 classes to tell apart; got 1\."),
        (
            None,
            {"precision": "float16"},
            {},
            "float16 must have distribution=none .* take precision=bfloat16",
        ),
    ],
)
def test_a_run_that_cannot_start_leaves_no_folder(tiny_dataset, tmp_path, split, backbone, training, message):
    data = dataclasses.replace(tiny_dataset, **({split: make_split(split, 1)} if split else {}))
    backbone, config = dataclasses.replace(BACKBONE, **backbone), dataclasses.replace(TINY, **training)
    several = Devices("mirrored", tf.distribute.OneDeviceStrategy("CPU:0"))
    with pytest.raises(InputError, match=message):
        pretraining.pretrain(data, backbone, config, tmp_path / "run", several)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_learns_what_float32_does(tiny_dataset, tmp_path, precision):
    backbone = dataclasses.replace(BACKBONE, precision=precision)
    assert pretraining.pretrain(tiny_dataset, backbone, TINY, tmp_path) > 0.3  # Chance is 0.2.
    found, config = backbones.load(tmp_path)
    assert config == backbone
    assert {weight.dtype for weight in found.weights} == {"float32"}
    scales = [value for name, value in last_state(tmp_path).items() if "dynamic_scale" in name]
    assert len(scales) == (precision == "float16")


class TestFurtherTraining:
    """From a backbone that is trained already; its validation counts before the first step."""

    @pytest.fixture
    def first(self, tiny_dataset, tmp_path_factory):
        folder = tmp_path_factory.mktemp("first")
        pretraining.pretrain(tiny_dataset, BACKBONE, TINY, folder)
        return folder

    def further(self, tiny_dataset, first, folder, **training):
        initial, config = backbones.load(first)
        accuracy = pretraining.pretrain(
            tiny_dataset, config, dataclasses.replace(TINY, **training), folder, initial=initial
        )
        return accuracy, backbones.load(folder)[0]

    def test_without_epochs_it_stays_as_it_is(self, tiny_dataset, first, tmp_path):
        accuracy, kept = self.further(tiny_dataset, first, tmp_path, epochs=0)
        assert weights_fingerprint(kept) == weights_fingerprint(backbones.load(first)[0])
        best = max(row["val_prototype_accuracy"] for row in history.read(first / "history.csv"))
        assert accuracy == pytest.approx(best, abs=1e-6)

    def test_it_stays_the_best_until_one_is_better(self, tiny_dataset, first, tmp_path):
        _, kept = self.further(tiny_dataset, first, tmp_path, epochs=1, learning_rate=1e-12, frozen_statistics=True)
        assert weights_fingerprint(kept) == weights_fingerprint(backbones.load(first)[0])

    @pytest.mark.parametrize("frozen", [True, False])
    def test_batch_statistics_move_unless_they_are_frozen(self, tiny_dataset, first, tmp_path, frozen):
        initial, config = backbones.load(first)
        before = {weight.path: weight.numpy() for weight in initial.weights}
        training = dataclasses.replace(TINY, epochs=1, frozen_statistics=frozen)
        pretraining.pretrain(tiny_dataset, config, training, tmp_path, initial=initial)
        moved = {path for path, value in before.items() if not np.array_equal(value, _weight(initial, path))}
        assert any("moving" in path for path in moved) == (not frozen)
        assert any("kernel" in path for path in moved) and any("gamma" in path for path in moved)

    def test_the_folder_of_another_beginning_is_refused(self, tiny_dataset, first, tmp_path):
        self.further(tiny_dataset, first, tmp_path, epochs=0)
        with pytest.raises(InputError, match=r"other settings \(initial_backbone: "):
            pretraining.pretrain(tiny_dataset, BACKBONE, dataclasses.replace(TINY, epochs=1), tmp_path)


def test_pictures_of_another_size_are_scaled(tiny_dataset, tmp_path):
    """Smaller ones always, larger ones where the backbone says so: 32 pixels to 48 and to 16."""
    for size, larger in ((48, "crop"), (16, "reduce")):
        config = dataclasses.replace(BACKBONE, image_size=size, larger=larger)
        accuracy = pretraining.pretrain(tiny_dataset, config, TINY, tmp_path / str(size))
        assert accuracy > 0.3  # Chance is 0.2.


def _weight(model, path):
    return next(weight.numpy() for weight in model.weights if weight.path == path)


def test_few_and_small_validation_classes_make_smaller_episodes(tiny_dataset):
    assert pretraining.validation_spec(tiny_dataset).describe() == "5-way 1-shot, 15 queries a class"
    few = dataclasses.replace(tiny_dataset.validation, labels=np.repeat([0, 1], 8))
    spec = pretraining.validation_spec(dataclasses.replace(tiny_dataset, validation=few))
    assert spec.describe() == "2-way 1-shot, 7 queries a class"
