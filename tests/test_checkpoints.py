"""Run folders, model files and the state to go on from, whole or damaged."""

import contextlib
import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from sib_tf import checkpoints
from sib_tf.config import SIBConfig
from sib_tf.errors import InputError
from sib_tf.sib import SIB
from sib_tf.storage import run_records


def small_model(units: int = 3, seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(units, name="dense")], name="small")


def state_of(folder, model, optimizer=None, **more) -> checkpoints.TrainingState:
    return checkpoints.TrainingState(folder, model=model, **({"optimizer": optimizer} if optimizer else {}), **more)


def start(seed: int = 0) -> dict:
    """What a run has, as `state_of` takes it."""
    model, optimizer = small_model(seed=seed), keras.optimizers.Adam(0.1)
    optimizer.build(model.trainable_variables)
    return {"model": model, "optimizer": optimizer, "step": tf.Variable(0)}


def test_a_folder_is_claimed_once_and_found_again(tmp_path):
    record = {"part": {"way": (5, 5), "nested": {"list": [(1, 2), 3]}}, "seed": None}
    run_records.claim_folder(tmp_path / "run", record)
    run_records.claim_folder(tmp_path / "run", record)
    assert (tmp_path / "run" / "config.json").is_file()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            {"part": {"way": 7, "steps": 3}},
            r"run holds a run with other settings \(part\.way: 5 there, 7 asked\); name",
        ),
        ({"part": {"way": 5}}, r"\(part\.steps: 3 there, None asked\)"),
        ({"part": {"way": [5], "steps": 4}}, r"\(part\.steps: 3 there, 4 asked, part\.way: 5 there, \[5\] asked\)"),
        ({"part": {"way": 5, "steps": 3}, "seed": 1}, r"\(seed: None there, 1 asked\)"),
    ],
)
def test_the_folder_of_another_run_is_refused_by_the_fields_that_differ(tmp_path, other, message):
    run_records.claim_folder(tmp_path / "run", {"part": {"way": 5, "steps": 3}})
    before = (tmp_path / "run" / "config.json").read_bytes()
    with pytest.raises(InputError, match=message):
        run_records.claim_folder(tmp_path / "run", other)
    assert (tmp_path / "run" / "config.json").read_bytes() == before


def test_settings_that_came_later_are_at_their_defaults(tmp_path):
    record = dataclasses.asdict(SIBConfig(way=7))
    run_records.claim_folder(tmp_path, {"model": {name: value for name, value in record.items() if name != "prior"}})
    run_records.claim_folder(tmp_path, {"model": record})
    with pytest.raises(InputError, match=r"\(model\.prior: none there, gaussian asked\)"):
        run_records.claim_folder(tmp_path, {"model": {**record, "prior": "gaussian"}})


def test_a_save_that_fails_keeps_the_old_model(tmp_path, monkeypatch):
    model = small_model()
    checkpoints.save_model(model, tmp_path / "model.keras")
    before = (tmp_path / "model.keras").read_bytes()

    def fail(path):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(model, "save", fail)
    with pytest.raises(InputError, match=r"model\.keras cannot be written \(No space left on device\); make room"):
        checkpoints.save_model(model, tmp_path / "model.keras")
    assert (tmp_path / "model.keras").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


def test_missing_and_foreign_model_files_are_named(tmp_path):
    path = tmp_path / "model.keras"
    with pytest.raises(InputError, match=r"There is no model file .*model\.keras; name the folder of a finished run\."):
        checkpoints.load_model(path)
    checkpoints.save_model(small_model(), path)
    with pytest.raises(InputError, match=r"model\.keras holds a Sequential; a SIB is needed\."):
        checkpoints.load_model(path, SIB)


def test_a_model_file_with_code_is_refused(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x + 1)])
    model.save(tmp_path / "code.keras")
    with pytest.raises(InputError, match=r"code\.keras cannot be loaded \(.*lambda"):
        checkpoints.load_model(tmp_path / "code.keras")


def train(run: dict, steps: int) -> None:
    model = run["model"]
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(model(tf.ones((1, 2))) - 1.0))
        run["optimizer"].apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        run["step"].assign_add(1)


def test_without_a_state_nothing_is_restored(tmp_path):
    model = small_model()
    before = model.get_weights()
    assert not state_of(tmp_path, model).restore()
    np.testing.assert_equal(model.get_weights(), before)


@pytest.mark.parametrize("units", [3, 4])
def test_a_state_that_cannot_be_restored_is_named(tmp_path, units):
    """Without its index, or of another model."""
    state_of(tmp_path, small_model()).save()
    if units == 3:
        (tmp_path / "ckpt-1.index").unlink()
    with pytest.raises(InputError, match=r"Checkpoint .*ckpt-1 cannot be restored \(\w+\); remove .* to start anew\."):
        state_of(tmp_path, small_model(units)).restore()


def test_a_list_of_checkpoints_that_are_gone_is_named(tmp_path):
    (tmp_path / "checkpoint").write_bytes(b"")
    with pytest.raises(InputError, match=r"checkpoint is damaged; remove .* to start anew\."):
        state_of(tmp_path, small_model()).restore()


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("ckpt-2.data-00000-of-00001", b"", 1),
        ("ckpt-2.index", b"no index", 1),
        ("ckpt-2.index", None, 1),
        ("checkpoint", b"\x00\x01 no list", 2),
    ],
)
def test_training_goes_on_from_the_last_whole_checkpoint(tmp_path, name, content, found):
    """Files are left as a disk that lost power may leave them."""
    run, resumed = start(), start(5)
    state = state_of(tmp_path, **run)
    for _ in range(2):
        train(run, 1)
        state.save()
    (tmp_path / name).unlink() if content is None else (tmp_path / name).write_bytes(content)
    state = state_of(tmp_path, **resumed)
    message = r"Checkpoint .*ckpt-2 cannot be restored \(\w+\); going on from .*ckpt-1"
    with contextlib.nullcontext() if found == 2 else pytest.warns(UserWarning, match=message):
        assert state.restore()
    assert resumed["step"].numpy() == found
    assert resumed["optimizer"].iterations.numpy() == found
    # It goes on from there, as if nothing had been, and is whole again.
    for _ in range(2):
        train(resumed, 1)
        state.save()
    train(run, found)
    np.testing.assert_equal(resumed["model"].get_weights(), run["model"].get_weights())
    again = start()
    assert state_of(tmp_path, **again).restore()
    assert again["step"].numpy() == found + 2
    assert len(list(tmp_path.glob("*.index"))) == 2


def test_what_saves_left_that_were_cut_off_is_removed(tmp_path):
    state = state_of(tmp_path, small_model())
    for _ in range(2):
        state.save()
    whole = sorted(path.name for path in tmp_path.iterdir())
    (tmp_path / "ckpt-3_temp").mkdir()
    for name in (
        "ckpt-3_temp/part-00000-of-00001.index",
        "ckpt-3.data-00000-of-00001",
        "ckpt-0.index",
        "ckpt-2.data-00000-of-00001.tempstate1",
        "checkpoint.tmp0a",
    ):
        (tmp_path / name).write_bytes(b"half")
    assert state_of(tmp_path, small_model()).restore()
    assert sorted(path.name for path in tmp_path.iterdir()) == whole


def test_a_checkpoint_that_was_to_go_when_a_run_was_killed_is_removed(tmp_path):
    """After TensorFlow has listed the new one, and before it removes the oldest."""
    model = small_model()
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(model=model), str(tmp_path), max_to_keep=3)
    for _ in range(3):
        manager.save()
    state = state_of(tmp_path, model)
    for expected in (["ckpt-2.index", "ckpt-3.index"], ["ckpt-3.index", "ckpt-4.index"]):
        assert state.restore()
        assert sorted(path.name for path in tmp_path.glob("ckpt-*.index")) == expected
        state.save()
    assert state_of(tmp_path, small_model()).restore()
