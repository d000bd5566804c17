"""Pre-training in PyTorch: recipe, augmentation and result are those of the same stage in TensorFlow."""

import csv
import dataclasses
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import running
import tensorflow as tf
from conftest import CHECKOUT
from test_cli import check_error

from sib_tf import augmentation, backbones, evaluation, pretraining, released
from sib_tf.config import BackboneConfig, EpisodeSpec, PretrainConfig
from sib_tf.episodes import EpisodeSampler
from sib_tf.optimizers import backbone_rate
from train import import_checkpoint, pack_pictures, pretrain_torch

torch = pytest.importorskip("torch", reason="PyTorch is not installed; this training is in it")

from sib_tf.torch_pretraining import augmentation as torch_augmentation  # noqa: E402
from sib_tf.torch_pretraining import networks, pictures, training, validation  # noqa: E402

NORMALIZATION = {"mean": (120.0, 110.0, 100.0), "std": (70.0, 60.0, 50.0)}
CONFIG = PretrainConfig(epochs=4, schedule="one_cycle", batch_size=16, learning_rate=0.05, color_jitter=0.1)
CLASSES = 4


def coloured(count: int = 96, side: int = 36) -> pictures.Pictures:
    """Noise whose shade says the class."""
    labels = np.arange(count) % CLASSES
    images = np.random.RandomState(0).randint(0, 60, (count, side, side, 3)) + 50 * labels[:, None, None, None]
    images = images.astype(np.uint8)
    mean, std = (np.float32(NORMALIZATION[name]) for name in ("mean", "std"))
    # Its own pictures validate it.
    episodes = EpisodeSampler(labels, EpisodeSpec(way=3, query=4), seed=1).sample(150)
    rows = episodes.support, episodes.support_labels, episodes.query, episodes.query_labels
    return pictures.Pictures(images, labels.astype(np.int64), mean, std, np.int64(32), images, *rows)


@pytest.fixture(autouse=True)
def one_thread():
    """Several tests' threads on few cores would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def file() -> str:
    np.savez("pictures.npz", **vars(coloured()))
    return "pictures.npz"


def run(file: str, **flags) -> int:
    given = {name: value for name, value in dataclasses.asdict(CONFIG).items() if name != "frozen_statistics"}
    return running.run(pretrain_torch, {**given, "pictures": file, "width": 4, "output_dir": "run"}, **flags)


@pytest.mark.parametrize("name", ["conv4", "wide_resnet"])
@pytest.mark.parametrize("size", [32, 80])
def test_a_state_gives_the_same_features_in_keras(name, size):
    torch.manual_seed(0)
    config = BackboneConfig(name=name, width=2, depth=10, image_size=size, **NORMALIZATION)
    theirs = networks.build(config)
    batch = np.random.RandomState(1).randint(0, 256, (6, size, size, 3)).astype(np.float32)
    images = torch.from_numpy(batch).permute(0, 3, 1, 2)
    theirs(images)  # Moves the running statistics.
    expected = theirs.eval()(images).detach().numpy()
    if name == "conv4":
        expected = released.channels_last(expected, config.width)
    state = {name: value.numpy() for name, value in theirs.state_dict().items()}
    ours, found = released.backbone(state, size, *NORMALIZATION.values())
    np.testing.assert_allclose(ours(batch, training=False), expected, rtol=1e-4, atol=1e-4)
    assert found == (config if name == "wide_resnet" else dataclasses.replace(config, depth=28))
    assert sum(p.numel() for p in theirs.parameters()) == sum(map(np.size, ours.trainable_variables))


@pytest.mark.parametrize("schedule", ["paper", "cosine", "one_cycle"])
@pytest.mark.parametrize(("epochs", "steps"), [(60, 600), (2, 3), (1, 1)])
def test_rates_are_those_of_the_other_training(schedule, epochs, steps):
    config = PretrainConfig(schedule=schedule, epochs=epochs)
    expected = backbone_rate(config, steps)
    for step in sorted({0, 1, int(0.3 * epochs * steps), 6001, 50 * steps - 1, 50 * steps, epochs * steps - 1}):
        if step < epochs * steps:
            found = training.learning_rate(config, steps, step)
            assert found == pytest.approx(float(expected(step)), rel=1e-4, abs=1e-8), step


def augmented(images: np.ndarray, config: PretrainConfig, size: int = 32, order=(0, 1, 2)) -> np.ndarray:
    generator = torch.Generator().manual_seed(1)
    result = torch_augmentation.augment(torch.from_numpy(images), size, config, generator, order)
    assert result.dtype == torch.float32
    return result.permute(0, 2, 3, 1).numpy()


def test_crops_and_mirrors_are_windows_of_the_padded_picture():
    images = np.random.RandomState(0).randint(1, 256, (64, 36, 36, 3)).astype(np.uint8)
    padded = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)))
    places, mirrored = set(), 0
    for picture, crop in zip(padded, augmented(images, PretrainConfig(color_jitter=0)), strict=True):
        found = [
            (top, left, flip)
            for top in range(13)
            for left in range(13)
            for flip in (1, -1)
            if np.array_equal(picture[top : top + 32, left : left + 32][:, ::flip], crop)
        ]
        assert len(found) == 1
        places.add(found[0][:2])
        mirrored += found[0][2] < 0
    assert len(places) > 40
    assert 20 <= mirrored <= 44


def test_without_augmentation_it_is_the_middle():
    images = np.random.RandomState(0).randint(0, 256, (3, 36, 36, 3)).astype(np.uint8)
    plain = PretrainConfig(augment=False)
    np.testing.assert_array_equal(augmented(images, plain), augmentation.plain(tf.constant(images), 32))


@pytest.mark.parametrize("step", range(3))
def test_colour_steps_are_those_of_the_other_augmentation(step):
    images = np.random.RandomState(0).uniform(0, 255, (2, 5, 5, 3)).astype(np.float32)
    factor = np.float32([0.7, 1.3]).reshape(2, 1, 1, 1)
    ours = (tf.multiply, augmentation._contrast, augmentation._saturation)[step](tf.constant(images), factor)
    names = ("_brightness", "_contrast", "_saturation")
    theirs = getattr(torch_augmentation, names[step])(torch.from_numpy(images), torch.from_numpy(factor))
    np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-3)


def test_colours_change_within_their_bounds():
    grey = np.full((50, 32, 32, 3), 100, np.uint8)
    found = augmented(grey, PretrainConfig(color_jitter=0.4, mirror=False))
    brightness = found.max(
        (1, 2, 3)
    )  # Padding is black, and of a grey picture nothing but its brightness changes much.
    assert 60 <= brightness.min() < 75 < 125 < brightness.max() <= 150


def history(folder: str) -> list[dict]:
    with Path(folder, "history.csv").open() as file:
        return list(csv.DictReader(file))


def test_prototypes_are_those_of_the_other_training():
    given, network = coloured(), networks.build(BackboneConfig(width=4, image_size=32, **NORMALIZATION))
    # With two labelled ones a prototype is the mean of unit features and not of features.
    episodes = EpisodeSampler(given.labels, EpisodeSpec(way=3, shot=2, query=4), seed=1).sample(150)
    rows = {name: getattr(episodes, name) for name in ("support", "support_labels", "query", "query_labels")}
    given = dataclasses.replace(given, **rows)
    network(augmented_plain := torch_augmentation.plain(torch.from_numpy(given.images), 32))  # Moves the statistics.
    found = validation.Validation(given, 32, torch.device("cpu")).accuracy(
        network, torch.autocast("cpu", enabled=False)
    )
    assert network.training
    with torch.no_grad():
        table = network.eval()(augmented_plain).numpy()
    expected = evaluation.Evaluator(episodes)(evaluation.prototypes(table.shape[1], 3), table).accuracy[-1]
    assert found == pytest.approx(expected.mean(), abs=1e-3)  # Two of 1,800 queries: ties.
    assert 0.4 < found < 1


def test_the_best_epoch_is_kept(file, monkeypatch):
    values, kept = iter([0.3, 0.9, 0.5, 0.9]), []

    def accuracy(self, backbone, autocast):
        kept.append({name: value.clone() for name, value in backbone.state_dict().items()})
        return next(values)

    monkeypatch.setattr(validation.Validation, "accuracy", accuracy)
    assert run(file) == 0
    found = torch.load("run/netFeat.pth", weights_only=True)
    assert all(torch.equal(found[name], value) for name, value in kept[1].items())
    assert found["validation_accuracy"] == 0.9
    assert [row["val_prototype_accuracy"] for row in history("run")] == ["0.3", "0.9", "0.5", "0.9"]


def test_a_best_backbone_that_was_taken_away_is_the_last_ones(file, capsys):
    assert run(file) == 0
    Path("run/netFeat.pth").unlink()
    capsys.readouterr()
    assert run(file) == 0
    last = torch.load("run/state.pth", weights_only=True)["backbone"]
    found = torch.load("run/netFeat.pth", weights_only=True)
    assert all(torch.equal(found[name], value) for name, value in last.items())
    assert f"{100 * float(history('run')[-1]['val_prototype_accuracy']):.2f} %" in capsys.readouterr().out


def test_it_learns_and_the_result_is_imported(file, capsys):
    assert run(file, precision="float32", epochs=8) == 0
    said = capsys.readouterr().out
    rows = history("run")
    assert len(rows) == 8
    assert float(rows[-1]["accuracy"]) > 0.6 > 2 / CLASSES
    best = max(float(row["val_prototype_accuracy"]) for row in rows)
    assert best > 0.6 > 1 / 3
    assert f"in run/netFeat.pth: nearest prototypes {100 * best:.2f} % on 150 validation episodes." in said
    assert running.run(import_checkpoint, checkpoint="run/netFeat.pth", output_dir="imported") == 0
    model, config = backbones.load("imported/backbone")
    assert (config.name, config.width, model.output_shape) == ("conv4", 4, (None, 16))
    assert {"image_size": config.image_size, "mean": config.mean, "std": config.std} == {
        "image_size": 32,
        **NORMALIZATION,
    }


def test_a_result_is_not_taken_for_another_data_sets(file, capsys):
    assert run(file, epochs=1) == 0
    capsys.readouterr()
    given = {"checkpoint": "run/netFeat.pth", "output_dir": "imported"}
    for dataset in ("cifar_fs", "mini_imagenet"):  # The one has the size, and another normalisation.
        code = running.run(import_checkpoint, given, dataset=dataset)
        check_error(
            capsys, code, rf"dataset {dataset} has other pictures .*\(120\.0, 110\.0, 100\.0\).*: leave it out\."
        )
    code = running.run(import_checkpoint, given, checkpoint="run/state.pth")
    check_error(capsys, code, r"checkpoint run/state\.pth holds values .* as a state of training does; .* netFeat\.pth")
    assert not Path("imported").exists()


def test_a_result_of_a_data_set_may_be_said_to_be_of_it(file):
    from sib_tf.datasets import cifar_fs

    mean, std = map(np.float32, cifar_fs.Builder.NORMALIZATION)
    np.savez(file, **{**vars(coloured()), "mean": mean, "std": std})
    assert run(file, epochs=1) == 0
    given = {"checkpoint": "run/netFeat.pth", "output_dir": "imported"}
    assert running.run(import_checkpoint, given, dataset="cifar_fs") == 0
    assert backbones.load("imported/backbone")[1].mean == pytest.approx(mean)


def test_half_precision_is_near(file):
    assert run(file, precision="float32", epochs=1, learning_rate=0.01, output_dir="whole") == 0
    assert run(file, precision="bfloat16", epochs=1, learning_rate=0.01, output_dir="half") == 0
    whole, half = (float(history(name)[0]["loss"]) for name in ("whole", "half"))
    assert half == pytest.approx(whole, rel=0.02)
    assert half != whole


def test_a_run_that_was_broken_off_goes_on_as_if_it_had_not(file, monkeypatch):
    monkeypatch.setattr(training, "_SECONDS_BETWEEN_SAVES", 0)
    assert run(file, output_dir="whole") == 0
    real, taken = training._Run._take_epoch, []

    def broken(self, *arguments):
        if len(taken) == 2:
            raise KeyboardInterrupt
        taken.append(real(self, *arguments))

    monkeypatch.setattr(training._Run, "_take_epoch", broken)
    assert run(file, output_dir="broken") == 130
    assert len(history("broken")) == 2
    monkeypatch.setattr(training._Run, "_take_epoch", real)
    assert run(file, output_dir="broken") == 0
    whole, broken = (torch.load(f"{name}/netFeat.pth", weights_only=True) for name in ("whole", "broken"))
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    assert Path("whole/history.csv").read_text() == Path("broken/history.csv").read_text()


@pytest.mark.parametrize("last", [3, 12, 15])  # In the first epoch, at the end of one, and within one.
def test_sigterm_saves_the_state_and_the_run_goes_on_from_there(file, monkeypatch, capsys, last):
    assert run(file, output_dir="whole") == 0
    real, taken = training._Run._step, []

    def step(self, *arguments):
        taken.append(self.epoch)
        if len(taken) == last:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, *arguments)

    monkeypatch.setattr(training._Run, "_step", step)
    assert run(file) == 143
    epoch, of_it = (last - 1) // 6 + 1, (last - 1) % 6 + 1
    message = f"stopped: The state of step {of_it} of epoch {epoch} is saved; the same command goes on from there."
    assert capsys.readouterr().err.splitlines()[-1].endswith(message)
    assert len(taken) == last
    assert run(file) == 0
    assert len(taken) == 4 * 6
    whole, broken = (torch.load(f"{name}/netFeat.pth", weights_only=True) for name in ("whole", "run"))
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    assert Path("whole/history.csv").read_text() == Path("run/history.csv").read_text()


def test_a_folder_of_another_run_or_a_damaged_state_is_refused(file, capsys):
    assert run(file, epochs=1) == 0
    capsys.readouterr()
    message = r"run holds a run with other settings \(pretraining\.learning_rate: 0\.05 there, 0\.01 asked\)"
    check_error(capsys, run(file, epochs=1, learning_rate=0.01), message)
    np.savez("other.npz", **spoilt("labels", coloured().labels[::-1]))
    check_error(
        capsys, run("other.npz", epochs=1), r"run holds a run with other settings \(pictures: \w+ there, \w+ asked"
    )
    for name in ("netFeat.pth", "state.pth"):
        path, whole = Path("run", name), Path("run", name).read_bytes()
        mean = torch.load("run/netFeat.pth", weights_only=True)["conv_blocks.0.layers.BatchNorm.running_mean"]
        flipped = bytearray(whole)
        flipped[whole.index(mean.numpy().tobytes())] ^= 64  # PyTorch alone would take it.
        for damaged in (b"nothing", b"", whole[:-100], bytes(flipped)):
            path.write_bytes(damaged)
            check_error(capsys, run(file, epochs=1), rf"run/{name} is damaged .*remove it to go on without it")
        path.write_bytes(whole)
    assert run(file, epochs=1) == 0


def test_a_full_disk_is_said(file):
    """A limit on the size of files is refused as a full disk is."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, -1)); "
        "from train import pretrain_torch as m; from sib_tf.commands import cli; "
        "sys.exit(cli.run(m.main, m.FLAGS, m.__doc__))"
    )
    flags = [f"--pictures={file}", "--output_dir=run", "--epochs=1", "--width=64", "--batch_size=16"]
    done = subprocess.run(
        [sys.executable, "-c", code, *flags], env={"PYTHONPATH": str(CHECKOUT)}, capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    assert re.search(r"netFeat\.pth cannot be written \(File too large\); make room there", done.stderr)
    assert not list(Path("run").glob("*.pth"))


def test_the_best_of_a_later_epoch_than_the_state_keeps_its_own_figure(file, monkeypatch, capsys):
    """A process was killed between the two, and a GPU does not repeat itself to the digit."""
    values = iter([0.3, 0.9, 0.8])
    monkeypatch.setattr(validation.Validation, "accuracy", lambda *_: next(values))
    assert run(file, epochs=2) == 0
    state = torch.load("run/state.pth", weights_only=True)
    torch.save({**state, "epoch": 1}, "run/state.pth")
    capsys.readouterr()
    assert run(file, epochs=2) == 0
    assert "nearest prototypes 90.00 %" in capsys.readouterr().out


def test_a_loss_that_is_no_number_is_said(file, capsys):
    assert run(file, learning_rate=1e30) == 2
    assert "lower learning_rate" in capsys.readouterr().err
    assert not Path("run/netFeat.pth").exists()


def test_weights_that_are_no_numbers_are_said_though_the_loss_is_one(file, monkeypatch, capsys):
    real = training._Run._step

    def step(self, *arguments):
        self.backbone.conv_blocks[0].layers.BatchNorm.running_mean.fill_(np.nan)  # Training looks at the batch's own.
        return real(self, *arguments)

    monkeypatch.setattr(training._Run, "_step", step)
    assert run(file) == 2
    message = r"\nerror: The loss \(\d\.\d+\) or a weight became NaN or infinite in epoch 1; lower learning_rate\.\n$"
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"pictures": "none.npz"}, r"There is no file of pictures none\.npz"),
        ({"batch_size": 97}, "batch_size 97 is more than the 96 training pictures"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"pictures": "one_class.npz"}, "There must be pictures of at least 2 training classes to tell apart; got 1"),
    ],
)
def test_what_cannot_be_used_is_named(file, capsys, flags, message):
    np.savez("one_class.npz", **spoilt("labels", np.zeros(96, np.int64)))
    check_error(capsys, run(file, **flags), message)


def spoilt(name: str, value) -> dict:
    return {**vars(coloured()), name: value}


@pytest.mark.parametrize(
    "content",
    [
        {"images": np.zeros(3)},
        spoilt("images", np.zeros((96, 36, 30, 3), np.uint8)),
        spoilt("images", np.zeros((96, 36, 36, 3))),
        spoilt("labels", np.zeros(95, np.int64)),
        spoilt("labels", np.full(96, -1)),
        spoilt("picture_size", np.int64(37)),
        spoilt("mean", np.zeros(2, np.float32)),
        spoilt("std", np.zeros(3, np.float32)),
        spoilt("labels", np.array([None] * 96)),
        spoilt("labels", np.arange(96) + 10**12),
        spoilt("mean", np.array(["120", "110", "100"])),
        spoilt("mean", np.complex64([120, 110, 100])),
        spoilt("picture_size", np.float64(32.7)),
        spoilt("picture_size", np.array("32")),
        spoilt("support_labels", np.array([["0", "1", "2"]] * 150)),
        spoilt("validation_images", np.zeros((96, 36, 30, 3), np.uint8)),
        spoilt("validation_images", np.zeros((95, 36, 36, 3), np.uint8)),  # Rows are of 96.
        spoilt("support", np.zeros((150, 3))),
        spoilt("support", np.zeros((149, 3), np.int32)),
        spoilt("support_labels", np.full((150, 3), -1, np.int32)),
        spoilt("support_labels", np.int32([[0, 2, 2]] * 150)),  # Class 1 has no row.
        spoilt("query", np.zeros((150, 0), np.int32)),
        spoilt("query_labels", np.full((150, 12), 3, np.int32)),
    ],
)
def test_files_of_something_else_are_refused(capsys, content):
    np.savez("pictures.npz", **content)
    message = r"pictures\.npz is (no file of|damaged \(it holds object).*; write it anew with train\.pack_pictures"
    check_error(capsys, run("pictures.npz"), message)


def test_damaged_files_are_refused(capsys, file):
    content = Path(file).read_bytes()
    for damaged in (b"", b"text", content[:1000], content[:-1]):
        Path(file).write_bytes(damaged)
        check_error(capsys, run(file), r"pictures\.npz is damaged .*; write it anew with train\.pack_pictures")


def test_a_data_set_is_packed_as_it_is(tiny_dataset, monkeypatch, capsys):
    from sib_tf import datasets

    monkeypatch.setattr(datasets, "load", lambda *_: tiny_dataset, raising=False)
    assert running.run(pack_pictures, dataset="cifar_fs", output="packed.npz") == 0
    said = capsys.readouterr().out
    assert re.fullmatch(
        r"\d+ pictures of \d+ training classes and \d+ .* validation classes written to packed\.npz\.\n", said
    )
    found = pictures.load("packed.npz")
    np.testing.assert_array_equal(found.images, tiny_dataset.train.images)
    np.testing.assert_array_equal(found.labels, tiny_dataset.train.labels)
    np.testing.assert_allclose((found.mean, found.std), tiny_dataset.normalization, rtol=1e-6)
    assert found.picture_size == tiny_dataset.picture_size
    np.testing.assert_array_equal(found.validation_images, tiny_dataset.validation.images)
    episodes = pretraining.validation_episodes(tiny_dataset)
    for name in ("support", "support_labels", "query", "query_labels"):
        np.testing.assert_array_equal(getattr(found, name), getattr(episodes, name))


def test_tensorflow_is_not_needed(file):
    code = (
        "import sys; from train import pretrain_torch as m; from sib_tf.commands import cli; "
        "code = cli.run(m.main, m.FLAGS, m.__doc__); "
        "sys.exit(code or bool({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    flags = [f"--pictures={file}", "--output_dir=run", "--epochs=1", "--width=2"]
    subprocess.run([sys.executable, "-c", code, *flags], check=True, env={"PYTHONPATH": str(CHECKOUT)})
