"""README's commands, as they stand there but for a small data set: from pre-training to exported files."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_pictures
from PIL import Image
from test_readme import README, commands_of

from export import benchmark_litert, saved_model, tflite, verify
from sib_tf.commands import cli
from train import calibrate, evaluate, extract_features, meta_train, pretrain

COMMANDS = commands_of(README.partition("\n## From pictures to an adapted classifier\n")[2])
FIGURES = {"accuracy", "ci95", "baseline_accuracy", "difference", "difference_ci95"}


def run(capsys, module, **values) -> str:
    """Runs README's command of `module` with `values` over its flags; it must succeed; returns what it printed."""
    command = dict(reversed(COMMANDS))[module.__name__]  # The first one of a module.
    for name, folder in (("EXPORT", "run/saved"), ("RUN", "run"), ("DIR", "pictures")):
        command = command.replace(name, folder)
    arguments = [*command.split(), *(f"--{name}={value}" for name, value in values.items())]
    code = cli.run(module.main, module.FLAGS, module.__doc__, [module.__name__, *arguments])
    streams = capsys.readouterr()
    assert code == 0, streams.err
    return streams.out


def run_twice(capsys, module, output: str, **values) -> list[str]:
    """As `run`, what a command prints that makes the folder `output`, and once more, when it has nothing left to do."""
    said, times = [], []
    for _ in range(2):
        said.append(run(capsys, module, **values))
        files = (path for path in Path(output).rglob("*") if path.is_file() and "tensorboard" not in path.parts)
        times.append({str(path): path.stat().st_mtime_ns for path in files})
    assert times[0] == times[1]
    return said


@pytest.mark.slow
def test_from_pictures_to_exported_files(capsys, tmp_path):
    draw_pictures(tmp_path / "pictures", dict.fromkeys(("train", "val", "test"), (5, 20)))
    pictures = {"dataset": "folder", "cache_dir": "cache"}
    (tmp_path / "small.flags").write_text("--width=8\n--epochs=1\n--batch_size=20\n")
    first = {**pictures, "flagfile": "small.flags", "schedule": "cosine"}
    out, again = run_twice(capsys, pretrain, "run/backbone", **first)
    assert "Backbone conv4 in run/backbone: nearest prototypes " in out
    assert again.splitlines()[-1] == out.splitlines()[-1]
    for name in ("backbone.keras", "config.json", "history.csv", "training/checkpoint"):
        assert Path("run/backbone", name).is_file()

    out, again = run_twice(capsys, extract_features, "run/features", **pictures)
    assert out == "Features of 100 + 100 + 100 pictures (length 32, 1 views) written to run/features.\n"
    assert "already in run/features" in again

    # Small steps: those of a model that is hardly trained enlarge rounding, and the exports are held to it. And
    # one, because it is compiled in every form; `make demo` has three.
    third = {"num_steps": 1, "inner_learning_rate": 1e-4, "steps": 20, "steps_per_call": 10}
    third |= {"validate_every": 10, "validation_episodes": 20}
    out, again = run_twice(capsys, meta_train, "run/sib", **third)
    assert out.startswith("SIB (per_class, K = 1) in run/sib: ")
    assert again == out
    for name in ("best.keras", "last.keras", "config.json", "history.csv", "training/checkpoint"):
        assert Path("run/sib", name).is_file()

    assert run(capsys, calibrate, episodes=20).startswith("Calibrated run/sib on 20 validation episodes")

    report = {"report": "run/report", "backbone_dir": "run/backbone", "data_dir": "pictures", **pictures}
    out = run(capsys, evaluate, episodes=20, **report)
    metrics = json.loads(Path("run/metrics.json").read_text())
    assert set(metrics) >= FIGURES | {"episodes", "seed", "episode_hash"}
    assert out.splitlines() == [metrics["summary"], "Metrics: run/metrics.json", "Report:  run/report/report.md"]
    assert (metrics["episodes"], metrics["seed"], metrics["split"]) == (20, 0, "test")
    assert len(metrics["accuracy_by_step"]) == 2
    assert metrics["accuracy"] > 0.3  # Chance is 0.2.
    with np.load("run/metrics.npz") as arrays:
        assert arrays["accuracy"].shape == (2, 20)
        difference = arrays["accuracy"][-1] - arrays["baseline"]
    assert metrics["difference"] == pytest.approx(difference.mean(), abs=1e-9)
    assert metrics["difference_ci95"] == pytest.approx(1.96 * difference.std(ddof=1) / np.sqrt(20), abs=1e-9)
    page = Path("run/report/report.md").read_text()
    assert metrics["summary"] in page
    assert set(metrics["confidence"]) == {"uncalibrated", "calibrated"}
    drawn = ("accuracy", "reliability", "training", "curves", "path", "hardest_1", "hardest_2", "hardest_3")
    for name in (f"{name}.png" for name in drawn):
        assert f"({name})" in page
        Image.open(Path("run/report") / name).verify()

    run(capsys, evaluate, episodes=20, output="run/again.json", compare_to="run/metrics.json")
    again = json.loads(Path("run/again.json").read_text())
    for name in FIGURES | {"episode_hash", "accuracy_by_step"}:
        assert again[name] == metrics[name], name
    assert again["comparison"] == {"accuracy": metrics["accuracy"], "difference": 0.0, "difference_ci95": 0.0}

    data = {**pictures, "data_dir": "pictures", "episodes": 25}
    out = run(capsys, saved_model, **data, metrics="run/metrics.json")
    assert out.endswith("run/saved/1: SavedModel, model card, example requests.\n")
    card = Path("run/saved/1/MODEL_CARD.md").read_text()
    assert metrics["summary"] in card
    assert "Probabilities are calibrated on validation classes" in card
    # float32: so small and little trained a model does not survive int8, and the export would say so.
    out = run(capsys, tflite, precision="float32", **data)
    assert "| model.tflite | float32 |" in out
    assert out.endswith("float32, static shapes.\n")
    out = run(capsys, verify, output="run/verify.json", report="run/report/report.md", **data)
    assert [line.split("|")[1].strip() for line in out.splitlines()[2:]] == ["trained model", "saved/1", "model.tflite"]
    assert [verdict["failures"] for verdict in json.loads(Path("run/verify.json").read_text())] == [[], []]
    out = run(capsys, benchmark_litert, calls=10, rounds=1, report="run/report/report.md")
    assert "| model.tflite | 2 |" in out
    page = Path("run/report/report.md").read_text()
    assert page.index("## Exported files") < page.index("## Latency on this machine")
