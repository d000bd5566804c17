"""The search for settings: its ranges, what it writes, that it goes on, and that failures are told from wild values."""

import csv
import functools
import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import running
from conftest import CHECKOUT
from PIL import Image
from test_cli import check_error

from sib_tf import meta_training
from sib_tf.config import EpisodeSpec, MetaTrainConfig, SIBConfig
from sib_tf.errors import InputError
from sib_tf.meta_training import DivergenceError
from sib_tf.storage import atomic
from sib_tf.tuning import processes as parallel
from sib_tf.tuning import search_space
from sib_tf.tuning.search_space import Search
from train import meta_train, meta_train_flags, tune

SMALL = {
    "features_dir": "features",
    "output_dir": "tune",
    "way": 3,
    "query": 4,
    "num_steps": 1,
    "gradient_network": "per_class",
    "search": "inner_learning_rate,hidden_units,learning_rate",
    "trials": 5,
    "trial_steps": 4,
    "validate_every": 2,
    "steps_per_call": 2,
    "validation_episodes": 20,
}
SEARCHED = SMALL["search"].split(",")
run = functools.partial(running.run, tune, SMALL)


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No variables of keras-tuner, whatever the shell has."""
    for name in parallel.VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def features(tiny_features, tmp_path):
    pytest.importorskip("keras_tuner", reason="needs the extra: pip install 'sib_tf[tune]'")
    (tmp_path / "features").symlink_to(tiny_features)


class StandIn(list):
    """Stands in for meta-training: accuracies are a smooth function of the values. A list of its calls.

    Attributes:
        errors: what the trials of these numbers end in, once.
    """

    def __init__(self):
        self.errors = {}

    def __call__(self, cache, model, config, folder):
        if error := self.errors.pop(int(Path(folder).name.removeprefix("trial_")), None):
            raise error
        self.append((Path(folder), model, config))
        distance = np.log10(model.inner_learning_rate / 1e-2) ** 2 + np.log10(config.learning_rate / 1e-3) ** 2
        accuracy = 0.7 - 0.05 * float(distance) - 0.001 * float(config.optimizer == "adam")
        rows = [f"{step},1.0,{accuracy - lost},0.01" for step, lost in ((2, 0.01), (4, 0.0))]
        Path(folder).mkdir(parents=True, exist_ok=True)
        history = "\n".join(["step,loss,validation_accuracy,validation_ci95", *rows]) + "\n"
        (Path(folder) / "history.csv").write_text(history)
        return accuracy


@pytest.fixture
def trainer(monkeypatch):
    monkeypatch.setattr(meta_training, "meta_train", StandIn())
    return meta_training.meta_train


@pytest.fixture
def whole(capsys, features, trainer) -> list[dict]:
    """The table of a search that nothing broke off."""
    assert run(output_dir="whole") == 0
    trainer.clear()
    capsys.readouterr()
    return table("whole")


def table(folder: str = "tune") -> list[dict]:
    """The trials, without their times."""
    with (Path(folder) / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["seconds"]
    return rows


def best() -> int:
    """The number of the best trial, the first of equals."""
    return np.argmax([float(row["accuracy"]) for row in table()])


def settings_of(flagfile: str, *more: str) -> tuple[SIBConfig, MetaTrainConfig]:
    meta_train.FLAGS.unparse_flags()
    meta_train.FLAGS(["meta_train", f"--flagfile={flagfile}", "--features_dir=x", "--output_dir=y", *more])
    return meta_train_flags.settings(meta_train.FLAGS)


# Ranges and flags: nothing here needs keras-tuner.


def searched(text: str) -> search_space.Searched:
    (field,) = search_space.space([text.partition("=")[0]], [text])
    return field


@pytest.mark.parametrize(
    ("text", "choices", "low", "high"),
    [
        ("inner_learning_rate=1e-3:0.5", (), 1e-3, 0.5),
        ("inner_learning_rate=0.1,0.2", (0.1, 0.2), 1e-4, 1e-1),
        ("num_steps=0:3", (), 0, 3),
        ("num_steps=1, 3, 7", (1, 3, 7), 1, 5),
        ("hidden_units=8:512", (), 8, 512),
        ("optimizer=adam,sgd", ("adam", "sgd"), 0, 0),
    ],
)
def test_ranges_are_parsed(text, choices, low, high):
    field = searched(text)
    assert (field.choices, field.low, field.high) == (choices, low, high)
    assert all(type(value) is field.kind for value in (*field.choices, *field.ends()))


@pytest.mark.parametrize(
    ("text", "value", "nearest"),
    [
        ("inner_learning_rate=1e-3:1e-1", 0.012341, 0.01234),
        ("inner_learning_rate=1e-3:1e-1", 5.0, 0.1),
        ("inner_learning_rate=1e-3:1e-1", 0.0, 1e-3),
        ("inner_learning_rate=0.33333333:1", 0.1, 0.33333333),
        ("inner_learning_rate=0.1,0.2", 0.19, 0.2),
        ("hidden_units=16,32,64", 40, 32),
        ("num_steps=1:5", 9, 5),
        ("optimizer=adam,sgd", "sgd", "sgd"),
        ("optimizer=adam,sgd", "adamw", "adam"),
    ],
)
def test_a_value_is_moved_into_its_range(text, value, nearest):
    field = searched(text)
    assert field.nearest(value) == nearest
    if field.kind is float and not field.choices:  # What comes back through keras-tuner's 32-bit messages.
        assert field.nearest(float(np.float32(nearest))) == nearest


def test_the_first_trial_has_the_given_values():
    """Moved into the usual ranges: 8 * way = 40 hidden units are nearest to 32, and adam has no weight decay."""
    episodes = EpisodeSpec(query_distribution="dirichlet", dirichlet_alpha=(1.0, 4.0))
    space = search_space.space(search_space.FIELDS)
    first = Search(SIBConfig(way=5), MetaTrainConfig(episodes, weight_decay=0.0), space).first()
    assert list(first.items()) == [
        *(("inner_learning_rate", 1e-3), ("num_steps", 3), ("hidden_units", 32), ("optimizer", "sgd")),
        *(("learning_rate", 1e-3), ("weight_decay", 1e-6), ("balanced_fraction", 0.0), ("dirichlet_alpha", 2.0)),
    ]
    space = search_space.space(["optimizer", "weight_decay"], ["optimizer=adam,adamw"])
    assert Search(SIBConfig(), MetaTrainConfig(episodes), space).first() == {"optimizer": "adam"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search": "colour"}, r"search must be different names out of inner_learning_rate, .*; got 'colour'\."),
        ({"search": ""}, r"search must be different names .*; got ''\."),
        ({"search": "num_steps,num_steps"}, r"search must be different names .*; got 'num_steps,num_steps'\."),
        ({"range": "num_steps=1:3"}, r"range must be NAME=LOW:HIGH or NAME=A,B,C with .*; got 'num_steps=1:3'\."),
        ({"range": "learning_rate"}, r"range must be NAME=LOW:HIGH or NAME=A,B,C .*; got 'learning_rate'\."),
        ({"range": "learning_rate=1:0.1"}, r"range of learning_rate must be LOW:HIGH .* below HIGH; got 1:0\.1\."),
        ({"range": "learning_rate=0:1"}, r"range of .* must be .* LOW above 0 \(the scale is log.*; got 0:1\."),
        ({"range": "learning_rate=nan:1"}, r"range of learning_rate must be LOW:HIGH .*; got nan:1\."),
        ({"range": "learning_rate=1:inf"}, r"range: learning_rate must be above 0 and finite; got inf\."),
        ({"range": "learning_rate=0.1"}, r"range of learning_rate must be two or more different values; got 0\.1\."),
        ({"range": "learning_rate=1,1"}, r"range of learning_rate must be two or more different values; got 1,1\."),
        ({"range": "learning_rate=low:high"}, r"range of learning_rate: 'low' is not a number\."),
        ({"range": "hidden_units=1.5:8"}, r"range of hidden_units: '1\.5' is not a whole number\."),
        ({"range": "hidden_units=0:8"}, r"range: hidden_units must be at least 1; got 0\."),
        ({"search": "num_steps", "range": "num_steps=1:200"}, r"range: num_steps must be in \[0, 100\] .*; got 200\."),
        ({"search": "optimizer", "range": "optimizer=sgd,lion"}, r"range: optimizer must be one of .*; got 'lion'\."),
        ({"search": "optimizer", "range": "optimizer=a:b"}, r"range of optimizer must be two or more .*; got a:b\."),
        ({"search": "dirichlet_alpha"}, r"search names dirichlet_alpha, which counts with query_distribution=dirich"),
        ({"search": "weight_decay", "optimizer": "adam"}, r"search names weight_decay, which optimizer=adam has not;"),
        ({"trials": 0}, "flag --trials=0: 0 is not a positive integer"),
        ({"trial_steps": 0}, "flag --trial_steps=0: 0 is not a positive integer"),
        ({"tuner": "hyperband"}, r"flag --tuner=hyperband: value should be one of <random\|bayesian>"),
        ({"validation_balanced_fraction": 2}, "flag --validation_balanced_fraction=2"),
        ({"validation_dirichlet_alpha": "few"}, r"validation_dirichlet_alpha must be above 0 .*; got 'few'\."),
    ],
)
def test_wrong_values_are_named_before_anything_is_read(capsys, tmp_path, changes, message):
    check_error(capsys, run(**changes), message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("chief", "127.0.0.1", ""), r"KERASTUNER_TUNER_ID, .* belong together; KERASTUNER_ORACLE_PORT not set\."),
        (("worker0", "", ""), r".* belong together; KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT not set\."),
        (("chief", "127.0.0.1", "http"), r"KERASTUNER_ORACLE_PORT must be a number in \[1, 65535\]; got 'http'\."),
        (("chief", "127.0.0.1", "70000"), r"KERASTUNER_ORACLE_PORT must be a number in \[1, 65535\]; got '70000'\."),
    ],
)
def test_wrong_variables_are_named(capsys, monkeypatch, values, message):
    for name, value in zip(parallel.VARIABLES, values, strict=True):
        monkeypatch.setenv(name, value)
    check_error(capsys, run(), message)


@pytest.mark.parametrize(
    ("missing", "tuner", "package"), [("keras_tuner", "random", "keras-tuner"), ("sklearn", "bayesian", "scikit-learn")]
)
def test_a_missing_extra_is_one_line(capsys, monkeypatch, missing, tuner, package):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found("sys"))
    check_error(capsys, run(tuner=tuner), rf"A {tuner} search needs {package}: pip install 'sib_tf\[tune\]'\.$")


# Searches with meta-training stood in for.


def test_a_search_writes_table_page_and_the_best_as_flags(capsys, features, trainer):
    assert run("--range=hidden_units=8,24", "--range=learning_rate=1e-4:1e-2", momentum=0.8, seed=7, steps=50) == 0
    out = capsys.readouterr().out.splitlines()
    rows = table()
    assert [row["trial"] for row in rows] == list("01234")
    assert {row["state"] for row in rows} == {"completed"}
    # The given values, moved into their ranges: 32 hidden units are nearest to 24.
    assert [rows[0][name] for name in SEARCHED] == ["0.001", "24", "0.001"]
    for row, (folder, model, config) in zip(rows, trainer, strict=True):
        assert folder == Path(f"tune/trials/trial_{row['trial']}")
        used = model.inner_learning_rate, model.hidden_units, config.learning_rate
        assert used == tuple(float(row[name]) for name in SEARCHED)
        assert model.hidden_units in (8, 24)
        assert 1e-4 <= config.learning_rate <= 1e-2
        assert (config.steps, config.momentum, config.seed, model.num_steps) == (4, 0.8, 7, 1)
        assert (row["ci95"], row["step"], row["cause"]) == ("0.01", "4", "")
    percent = f"{100 * float(rows[best()]['accuracy']):.2f} +-1.00 %"
    summary = f"Best of 5 trials (random): {percent} on 20 validation episodes at step 4 of 4; trial {best()}, seed 7."
    assert out[-3:] == [summary, "Flags:  tune/best.flags", "Report: tune/report.md"]
    assert re.fullmatch(r"Trial 0 \(inner_learning_rate=0\.001, hidden_units=24, .*\): 65\.00 \+-1\.00 %", out[0])
    command = "python -m train.meta_train --flagfile=tune/best.flags --features_dir=features"
    head = [f"# {summary}", f"# Command:  {command}", "#           --output_dir=sib"]
    assert Path("tune/best.flags").read_text().splitlines()[:3] == head
    _, model, config = trainer[best()]
    assert settings_of("tune/best.flags")[1].steps == 50
    expected = SIBConfig(**{**vars(model), "feature_dim": 256}), config
    assert settings_of("tune/best.flags", "--steps=4") == expected
    page = Path("tune/report.md").read_text()
    assert summary in page
    assert "| learning_rate | 0.0001:0.01 (log) |" in page
    accuracies = [float(x) for x in re.findall(r"^\| \d+ \| ([\d.]+) \+-", page, re.MULTILINE)]
    assert accuracies == sorted((round(100 * float(row["accuracy"]), 2) for row in rows), reverse=True)
    Image.open("tune/trials.png").verify()
    assert not list(Path("tune").rglob(".partial-*"))


def test_the_seed_decides_the_values(features, trainer):
    assert run(output_dir="a", trials=3) == run(output_dir="b", trials=3, seed=1) == 0
    assert table("a")[1:] != table("b")[1:]


def test_a_long_search_goes_on_in_fresh_processes(monkeypatch, whole):
    started = []

    def execv(path, command):
        started.append(command[1:3])
        raise SystemExit(path)  # What runs now ends, and does nothing more.

    monkeypatch.setattr(tune, "_TRIALS_A_PROCESS", 2)
    monkeypatch.setattr(tune.os, "execv", execv)
    for _ in range(2):
        with pytest.raises(SystemExit, match="python"):
            run()
        assert not Path("tune/best.flags").exists()
    assert run() == 0
    assert started == [["-m", "train.tune"]] * 2
    assert table() == whole
    assert Path("tune/best.flags").read_text() == Path("whole/best.flags").read_text().replace("whole/", "tune/")


@pytest.mark.parametrize(("number", "noted"), [(0, True), (1, False), (2, True)])
def test_a_search_that_was_broken_off_goes_on_to_the_same_trials(trainer, whole, number, noted):
    """Also where a process ended between writing the trial and writing the oracle's state."""
    trainer.errors[number] = KeyboardInterrupt()
    assert run() == 130
    assert len(trainer) == len(list(Path("tune").rglob("result.json"))) == number
    if not noted:
        path = Path("tune/trials/oracle.json")
        state = atomic.read_json(path, "Search")
        assert state["ongoing_trials"] == {"tuner0": str(number)}
        atomic.write_json(path, {**state, "ongoing_trials": {}})
    assert run() == 0
    assert len(trainer) == 5
    assert table() == whole
    first, page = Path("tune/trials.csv").read_text(), Path("tune/report.md").read_text()
    assert run() == 0  # A finished search is left as it is.
    assert len(trainer) == 5
    assert (Path("tune/trials.csv").read_text(), Path("tune/report.md").read_text()) == (first, page)
    assert run(trials=12) == 0  # More trials are added.
    assert [row["trial"] for row in table()] == [str(i) for i in range(12)]
    assert table()[:5] == whole


@pytest.mark.parametrize("name", ["oracle.json", "trial_0/trial.json", "trial_0/result.json"])
def test_damaged_files_of_a_search_are_named(capsys, features, trainer, name):
    assert run(trials=1) == 0
    path = Path("tune/trials") / name
    whole = path.read_text()
    digit = next(i for i, character in enumerate(whole) if character in "0246")
    altered = whole[:digit] + chr(ord(whole[digit]) ^ 1) + whole[digit + 1 :]
    for damaged in ("", whole[: len(whole) // 2], altered, "{}", "[]"):
        path.write_text(damaged)
        capsys.readouterr()
        expected = "tune/trials/trial_0/result.json" if "result" in name else "; remove tune to start anew."
        check_error(capsys, run(trials=2), f".*{expected}")


def test_another_search_in_the_same_folder_is_refused(capsys, features, trainer):
    assert run(trials=1) == 0
    capsys.readouterr()
    for changes, name in (
        ({"momentum": 0.5}, r"meta_training\.momentum: 0\.9 there, 0\.5 asked"),
        ({"range": "learning_rate=1e-3:1e-2"}, r"search\.learning_rate: 0\.0001:0\.03 \(log\) there, 0\.001:0\.01"),
        ({"trial_steps": 8}, r"meta_training\.steps: 4 there, 8 asked"),
    ):
        check_error(capsys, run(trials=1, **changes), rf"tune holds a run with other settings \({name}")


def test_a_trial_that_fails_ends_the_search_and_is_taken_up_again(capsys, trainer, whole):
    trainer.errors[2] = InputError("The folder is full.")
    assert run() == 2
    given = ", ".join(f"{name}={whole[2][name]}" for name in SEARCHED)
    assert table() == whole[:2]
    way_out = "The same command takes the trial up again."
    assert capsys.readouterr().err == f"error: Trial 2 ({given}): The folder is full. {way_out}\n"
    trainer.errors[2] = RuntimeError("a bug")
    with pytest.raises(RuntimeError, match="a bug"):
        run()
    assert run() == 0
    assert table() == whole


def test_a_trial_that_diverges_is_recorded_and_the_search_goes_on(features, trainer):
    trainer.errors[1] = DivergenceError("The loss became nan at step 31; lower learning_rate.", 31)
    assert run() == 0
    rows = table()
    assert [row["state"] for row in rows] == ["completed", "diverged", "completed", "completed", "completed"]
    assert (rows[1]["accuracy"], rows[1]["step"]) == ("", "31")
    assert rows[1]["cause"] == "The loss became nan at step 31."
    assert all(rows[1][name] for name in SEARCHED)
    page = Path("tune/report.md").read_text()
    assert re.search(r"^\| 1 \| diverged \| .* \| The loss became nan at step 31\. \|$", page, re.MULTILINE)
    assert run() == 0  # It is not tried again.
    assert len(trainer) == 4


def test_a_search_without_any_accuracy_says_so(capsys, features, trainer):
    trainer.errors |= {number: DivergenceError("The loss became inf at step 1; lower it.", 1) for number in range(5)}
    assert run() == 2
    message = r"error: All 5 trials diverged; tune/trials\.csv has their values\. Lower.*\n"
    assert re.fullmatch(message, capsys.readouterr().err)
    assert [row["state"] for row in table()] == ["diverged"] * 5


def test_episodes_that_cannot_be_are_refused_before_any_trial(capsys, features, trainer):
    check_error(capsys, run(way=9), "way=9, shot=1, query=4 need 9 classes")
    check_error(capsys, run(query=24), "way=3, shot=1, query=24 need 3 classes of at least")
    assert not trainer
    assert not Path("tune").exists()


def test_a_small_space_ends_the_search_early(capsys, features, trainer):
    assert run(range="hidden_units=8,16", search="hidden_units", trials=9) == 0
    assert "The space holds no more than these" in capsys.readouterr().out
    assert {row["hidden_units"] for row in table()} == {"8", "16"}


def test_the_validation_list_does_not_move_with_what_is_searched(features, trainer):
    fields = "dirichlet_alpha,balanced_fraction"
    changes = {"query_distribution": "dirichlet", "dirichlet_alpha": "1-4", "search": fields}
    assert run(**changes) == 0
    assert {config.validation.dirichlet_alpha for _, _, config in trainer} == {(1.0, 4.0)}
    assert len({config.episodes.dirichlet_alpha for _, _, config in trainer}) == 5
    assert settings_of("tune/best.flags", "--steps=4")[1] == trainer[best()][2]
    assert run(**changes, output_dir="other", validation_dirichlet_alpha=2, validation_balanced_fraction=0.5) == 0
    assert (trainer[-1][2].validation.dirichlet_alpha, trainer[-1][2].validation.balanced_fraction) == (2.0, 0.5)
    assert settings_of("other/best.flags")[1].validation == trainer[-1][2].validation


def test_weight_decay_is_searched_where_there_is_one(features, trainer):
    assert run(search="optimizer,weight_decay", trials=12) == 0
    rows = table()
    assert {row["optimizer"] for row in rows} == {"sgd", "adam", "adamw"}
    assert all((row["weight_decay"] == "") == (row["optimizer"] == "adam") for row in rows)


@pytest.mark.slow
def test_a_gaussian_process_gets_nearer_to_the_best_than_chance(features, trainer):
    """The stand-in is best at inner_learning_rate = 0.01, learning_rate = 0.001."""
    pytest.importorskip("sklearn", reason="needs the extra: pip install 'sib_tf[tune]'")
    search = {"search": "inner_learning_rate,learning_rate", "trials": 8}
    assert run(range="inner_learning_rate=1e-4,1e-3,1e-2,1e-1", tuner="bayesian", **search) == 0
    accuracies = [float(row["accuracy"]) for row in table()]
    assert np.mean(accuracies[4:]) > np.mean(accuracies[:4]) + 0.01  # The first four are drawn at random.
    assert {row["inner_learning_rate"] for row in table()} <= {"0.0001", "0.001", "0.01", "0.1"}


# Real trainings.


@pytest.mark.slow
def test_best_flags_train_the_very_same_model(capsys, features):
    assert run(search="inner_learning_rate,optimizer", trials=1) == 0
    assert running.run(meta_train, flagfile="tune/best.flags", features_dir="features", output_dir="sib", steps=4) == 0
    trial = Path("tune/trials/trial_0")
    assert Path("sib/history.csv").read_text() == (trial / "history.csv").read_text()
    assert json.loads(Path("sib/config.json").read_text()) == json.loads((trial / "config.json").read_text())


@pytest.fixture
def start():
    """Starts a process of a search by its name; those that are still there at the end are ended."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = "127.0.0.1", str(probe.getsockname()[1])
    started = []

    def one(name: str) -> subprocess.Popen:
        variables = dict(zip(parallel.VARIABLES, (name, *address), strict=True))
        environment = {**os.environ, **variables, "PYTHONPATH": str(CHECKOUT)}
        flags = [f"--{name}={value}" for name, value in {**SMALL, "trials": 3}.items()]
        command = [sys.executable, "-m", "train.tune", *flags]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, env=environment, text=True, **pipes))
        return started[-1]

    yield one
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.sweep
def test_a_chief_and_workers_do_what_one_process_does(capsys, features, start):
    """The first worker fails; it goes on under its own name, with another one."""
    assert run(output_dir="alone", trials=3) == 0
    summary = capsys.readouterr().out.splitlines()[-3]
    another = Path("tune/trials/trial_1/config.json")
    another.parent.mkdir(parents=True)
    another.write_text('{"model": "another"}')
    chief, worker = start("chief"), start("worker0")
    _, error = worker.communicate(timeout=300)
    assert worker.returncode == 2
    assert re.search(r"error: Trial 1 \(.*\): tune/trials/trial_1 holds a run with other settings", error)
    another.unlink()
    together = start("worker0"), start("worker1"), chief
    ends = [process.communicate(timeout=300) for process in together]
    assert [process.returncode for process in together] == [0, 0, 0], ends
    assert ends[-1][0].splitlines()[0] == summary
    for number, (out, _) in enumerate(ends[:2]):
        assert out.splitlines()[-1] == f"worker{number}: no more trials; the chief has the results."
    assert table() == table("alone")
    assert Path("tune/report.md").is_file()


def test_a_port_that_is_taken_is_named(capsys, monkeypatch, features):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for name, value in zip(parallel.VARIABLES, ("chief", "127.0.0.1", str(taken.getsockname()[1])), strict=True):
            monkeypatch.setenv(name, value)
        assert run() == 2
    assert re.search(r"error: The chief cannot listen at 127\.0\.0\.1:\d+ \(", capsys.readouterr().err)
