"""Entry points: whatever cannot be used is said in one line that names it, with exit code 2."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from conftest import CHECKOUT
from exported import write_sib
from PIL import Image
from running import run

from export import benchmark_litert, onnx, saved_model, serving_client, tflite, verify
from sib_tf.commands import cli, dataset_flags
from sib_tf.config import BackboneConfig
from sib_tf.datasets import folder
from train import (
    average_views,
    calibrate,
    domain_adaptation,
    evaluate,
    extract_features,
    import_backbone,
    import_checkpoint,
    import_features,
    meta_train,
    pack_pictures,
    predict,
    pretrain,
    pretrain_torch,
    spinning_lines,
    tune,
)

OPTIONAL = {"data_dir": "pictures", "cache_dir": "cache"}
FOLDER = {"dataset": "folder", **OPTIONAL}
TRAINED = {"model_dir": "sib", "backbone_dir": "backbone"}
CACHED = {"features_dir": "features"}
OUT = {"output_dir": "out"}
QUESTION = {"support": "pictures", "query": "pictures"}
REQUIRED = {
    pretrain: {**FOLDER, **OUT},
    pack_pictures: {**FOLDER, "output": "out.npz"},
    pretrain_torch: {"pictures": "pictures.npz", **OUT},
    extract_features: {**FOLDER, "backbone_dir": "backbone", **OUT},
    meta_train: {**CACHED, **OUT, "steps": "2"},
    calibrate: {**CACHED, "model_dir": "sib", "episodes": "10"},
    tune: {**CACHED, **OUT},
    evaluate: {**CACHED, "model_dir": "sib", "output": "out.json", "episodes": "4"},
    import_backbone: {"source": "efficientnet_lite0", **OUT},
    average_views: {"backbone_dir": "backbone", **OUT},
    import_checkpoint: {"checkpoint": "file.pth", **OUT},
    import_features: {"features": "x.npz", **OUT},
    predict: {"model": "model.tflite", **QUESTION, "output": "out.csv"},
    saved_model: {**TRAINED, **OUT},
    tflite: {**TRAINED, "output": "out.tflite"},
    onnx: {"model_dir": "sib", **CACHED, "head_only": "true", **OUT},
    verify: {**TRAINED, "exported": "model.tflite"},
    benchmark_litert: {"tflite": "model.tflite"},
    spinning_lines: {**OUT, "steps": "1", "test_tasks": "2"},
    domain_adaptation: {"dataset": "glyph_domains", "target": "print", **OUT, "cache_dir": "cache"},
    serving_client: {"server": "http://localhost:1", **QUESTION},
}
NAMES = [module.__name__ for module in REQUIRED]
each_module = pytest.mark.parametrize("module", REQUIRED, ids=NAMES)


def check_error(capsys, code: int, message: str) -> None:
    """One line on standard error that matches `message` from its beginning, exit code 2, no results printed."""
    streams = capsys.readouterr()
    assert code == 2
    # tensorflow-datasets says what it prepares.
    assert re.fullmatch(r"((Downloading and preparing dataset|Dataset \w+ downloaded) .*\n)*", streams.out)
    line = streams.err.rsplit("\r", 1)[-1]  # Behind progress bars, if there were any.
    assert line.count("\n") == 1, streams.err
    assert re.match(f"error: {message}", line), streams.err


@pytest.fixture(scope="session")
def sib_dir(tiny_features, tmp_path_factory):
    """An untrained 5-way joint model for `tiny_features`, as a meta-training leaves it."""
    return write_sib(tmp_path_factory.mktemp("model") / "sib", tiny_features)


@pytest.fixture
def work(tiny_features, sib_dir, tiny_backbone, tiny_dataset, tmp_path):
    """A folder with all that the commands want: features, sib, backbone, pictures (12 classes of 2)."""
    from sib_tf import checkpoints

    shutil.copytree(tiny_features, tmp_path / "features")
    shutil.copytree(sib_dir, tmp_path / "sib")
    checkpoints.save_model(tiny_backbone, tmp_path / "backbone" / "backbone.keras")
    mean, std = tiny_dataset.normalization
    record = {"backbone": {"name": "conv4", "width": 4, "mean": mean, "std": std}}
    (tmp_path / "backbone" / "config.json").write_text(json.dumps(record))
    for name in "abcdefghijkl":
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", (32, 32), (50 * i, 0, ord(name))).save(tmp_path / "pictures" / name / f"{i}.png")
    return tmp_path


@each_module
def test_unknown_flags_stray_arguments_and_missing_flagfiles_are_named(capsys, module):
    check_error(capsys, run(module, REQUIRED[module], colour="red"), "Unknown command line flag 'colour'")
    message = r"Arguments are flags of the form --name=value; got 'red blue'\."
    check_error(capsys, run(module, REQUIRED[module], "red", "blue"), message)
    check_error(capsys, run(module, flagfile="none.flags"), r".*flagfile.*none\.flags")


@each_module
def test_every_required_flag_is_missed_by_name(capsys, module):
    required = [name for name in REQUIRED[module] if module.FLAGS[name].default is None and name not in OPTIONAL]
    assert required
    if module is predict:  # Which it needs depends on the others.
        required.remove("model")
    for name in required:
        message = f"flag --{name}=None: Flag --{name} must"
        if name == "backbone_dir" and module.__name__.startswith("export."):  # Heads alone have none.
            message = "backbone_dir must be given for a whole model; it is missing"
        if module is onnx and name == "features_dir":
            message = "features_dir must be given for the head alone"
        if module is predict or (module is serving_client and name != "server"):
            message = f".*{name}.* must be named"
        check_error(capsys, run(module, REQUIRED[module], **{name: None}), message)


def test_a_flagfile_is_read_and_its_mistakes_are_named(capsys, tmp_path):
    (tmp_path / "my.flags").write_text("# A preset.\n--features_dir=none\n--output_dir=out\n--way=x\n")
    check_error(capsys, run(meta_train, flagfile="my.flags"), "way must be a whole number, or a range .*; got 'x'")
    check_error(capsys, run(meta_train, flagfile="my.flags", way=5), "features_dir none holds no feature cache")
    # Values of one run do not reach the next.
    check_error(capsys, run(meta_train, REQUIRED[meta_train]), "features_dir features holds no feature cache")


@pytest.mark.parametrize(
    ("module", "changes", "message"),
    [
        # One flag of every kind, and bounds that are the flag's.
        (pretrain, {"dataset": "imagenet"}, r"flag --dataset=imagenet: value should be one of <glyphs\|"),
        (pretrain, {"epochs": "2.5"}, "flag --epochs=2.5: invalid literal for int"),
        (pretrain, {"learning_rate": "fast"}, "flag --learning_rate=fast: could not convert string to float"),
        (pretrain, {"augment": "perhaps"}, "flag --augment=perhaps: .*boolean"),
        (pretrain, {"width": "0"}, "flag --width=0: 0 is not a positive integer"),
        (pretrain, {"image_size": "8"}, "flag --image_size=8: 8 is not integer >= 16"),
        (extract_features, {"views": "0"}, "flag --views=0: 0 is not a positive integer"),
        (extract_features, {"stored_size": "4"}, "flag --stored_size=4: 4 is not integer >= 16"),
        (evaluate, {"episodes": "1"}, "flag --episodes=1: 1 is not integer >= 2"),
        (evaluate, {"seed": "-1"}, r"flag --seed=-1: -1 is not a non-negative integer"),
        (evaluate, {"split": "train"}, r"flag --split=train: value should be one of <validation\|test>"),
        (
            import_features,
            {"features": "x.txt"},
            r"features must end in \.npz, \.npy, \.csv or \.parquet; got x\.txt",
        ),
        (import_features, {"all_for": "test", "split_column": "s"}, r"all_for=test and split_column=s exclude each"),
        (
            import_features,
            {"test_fraction": "0.8"},
            r"validation_fraction \+ test_fraction must be below 1; got 1\.0",
        ),
        (import_checkpoint, {"dataset": "omniglot"}, r"flag --dataset=omniglot: value should be one of"),
        # What the records refuse: test_config.py has all of it.
        (pretrain, {"learning_rate": "nan"}, r"learning_rate must be above 0 and finite; got nan\."),
        (pretrain, {"backbone": "wide_resnet", "depth": "12"}, r"depth must be 6 \* blocks \+ 4 .*; got 12\."),
        *(
            (module, {"depth": "16"}, r"depth is that of --backbone=wide_resnet; conv4 has 4 layers: leave it out\.")
            for module in (pretrain, pretrain_torch)
        ),
        (meta_train, {"num_steps": "-1"}, r"num_steps must be in \[0, 100\] .*; got -1\."),
        (meta_train, {"momentum": "1"}, r"momentum must be in \[0, 1\); got 1\.0\."),
        (meta_train, {"way": "20-5"}, r"way must be a whole number of at least 1, or a range .*; got 20-5\."),
        (meta_train, {"way": "5-20"}, r"way must be one number for gradient_network=joint .*; got 5-20\."),
        # What is no field as it stands.
        (meta_train, {"query": "many"}, r"query must be a whole number, or a range such as 5-20; got 'many'\."),
        # As a variable that is not set has it; a folder of that name would be the current one.
        (meta_train, {"query": ""}, r"query must not be empty"),
        (meta_train, {"output_dir": ""}, r"output_dir must not be empty"),
        (meta_train, {"features_dir": ""}, r"features_dir must not be empty"),
        (meta_train, {"validation_way": "7-"}, r"validation_way must be a whole number, or a range .*; got '7-'\."),
        (meta_train, {"validation_way": "7"}, r"validation_way must be 5 for gradient_network=joint, .*; got 7\."),
        (meta_train, {"dirichlet_alpha": "0"}, r"dirichlet_alpha must be above 0 and finite, or .*; got 0\."),
        (meta_train, {"dirichlet_alpha": "few"}, r"dirichlet_alpha must be above 0 .*; got 'few'\."),
        (meta_train, {"dirichlet_alpha": "5-1"}, r"dirichlet_alpha must be above 0 .*; got 5-1\."),
        (meta_train, {"mixture": "shot"}, r"mixture must be FIELD=VALUE pairs .* out of way, shot, .*; got 'shot'\."),
        (meta_train, {"mixture": "shot=5 shot=6"}, r"mixture must be FIELD=VALUE pairs .* each FIELD once"),
        (meta_train, {"mixture": "shots=5"}, r"mixture must be FIELD=VALUE pairs .*; got 'shots=5'\."),
        (meta_train, {"mixture": "total_query=few"}, r"mixture: total_query must be a whole number; got 'few'\."),
        (meta_train, {"mixture": " "}, r"mixture must name at least one field that differs; got nothing\."),
        (meta_train, {"mixture": "way=7"}, r"mixture must keep way=5 for gradient_network=joint; leave way out of"),
        (evaluate, {"output": "metrics.csv"}, r"output must end in \.json; got metrics\.csv\."),
    ],
)
def test_wrong_values_are_named_before_anything_is_read(capsys, tmp_path, module, changes, message):
    check_error(capsys, run(module, REQUIRED[module], **changes), message)
    assert list(tmp_path.iterdir()) == []


MISSING = r"cannot be read \(No such file or directory\)"


@pytest.mark.parametrize(
    ("module", "changes", "message"),
    [
        (pretrain, {"data_dir": None}, r"data_dir is required for data set 'folder': name a folder laid out as"),
        (pretrain, {"data_dir": "pictures/a/0.png"}, r"data_dir must be an existing folder; pictures/a/0\.png is"),
        (pretrain, {"test_fraction": "0.5", "validation_fraction": "0.5"}, r"validation_fraction \+ test_fraction"),
        (pretrain, {"batch_size": "64"}, r"batch_size 64 is more than the 16 training pictures\."),
        (extract_features, {"backbone_dir": "none"}, rf"Configuration none/config\.json {MISSING}"),
        (extract_features, {"backbone_dir": "sib"}, r"sib/config\.json describes no backbone; name the folder of "),
        (meta_train, {"features_dir": "sib/best.keras"}, r"features_dir sib/best\.keras holds no feature cache; make"),
        (meta_train, {"output_dir": "sib"}, r"sib holds a run with other settings \(.+ there, .+ asked.*\); name"),
        (meta_train, {"output_dir": "sib/best.keras"}, r"Cannot write to the folder sib/best\.keras \(File exists\);"),
        (meta_train, {"way": "9"}, r"way=9, shot=1, query=15 need 9 classes of at least 1 \+ 15 = 16 pictures; there"),
        (evaluate, {"model_dir": "none"}, rf"Configuration none/config\.json {MISSING}"),
        (evaluate, {"model_dir": "backbone"}, r"backbone/config\.json describes no SIB model; name the folder of a"),
        (evaluate, {"way": "6"}, r"way must be 5, which this joint model was built for; "),
        (evaluate, {"shot": "1-20"}, r"way=5, shot=20, query=15 need 5 classes of at least 20 \+ 15 = 35 pictures"),
        (evaluate, {"compare_to": "none.json"}, rf"compare_to none\.json {MISSING}\."),
        (evaluate, {"compare_to": "sib/config.json"}, r".*sib/config\.npz cannot be read"),
    ],
)
def test_files_and_specifications_that_do_not_fit_are_named(capsys, caplog, work, module, changes, message):
    check_error(capsys, run(module, REQUIRED[module], **changes), message)
    assert not Path("out").exists()
    assert not Path("out.json").exists()


@pytest.mark.parametrize(
    ("module", "path", "content", "message"),
    [
        (extract_features, "backbone/config.json", b'{"backbone": 3}', r"backbone/config\.json must hold a JSON"),
        (extract_features, "backbone/backbone.keras", b"PK", r"backbone/backbone\.keras cannot be loaded \(.+\);"),
        (evaluate, "features/test_features.npy", None, r"features/test_features\.npy is missing or damaged; make the"),
        (evaluate, "sib/config.json", b"[]", r"sib/config\.json describes no SIB model; name the folder of a meta-tr"),
        (evaluate, "sib/best.keras", b"", r"sib/best\.keras cannot be loaded \(.+\); make it again\."),
    ],
)
def test_damaged_files_are_named(capsys, work, module, path, content, message):
    Path(path).unlink()
    if content is not None:
        Path(path).write_bytes(content)
    check_error(capsys, run(module, REQUIRED[module]), message)


def test_model_and_features_of_different_backbones_are_refused(capsys, work, tiny_dataset):
    import keras

    from sib_tf import backbones
    from sib_tf.config import BackboneConfig
    from sib_tf.features import extraction

    keras.utils.set_random_seed(1)
    extraction.extract(tiny_dataset, backbones.build(BackboneConfig(width=4)), "others")
    extraction.extract(tiny_dataset, backbones.build(BackboneConfig(width=8)), "wider")
    capsys.readouterr()
    message = r"The model in sib was meta-trained on features of another backbone than those in others, or"
    check_error(capsys, run(evaluate, REQUIRED[evaluate], features_dir="others"), message)
    record = json.loads(Path("sib/config.json").read_text())
    Path("sib/config.json").write_text(json.dumps({"model": record["model"]}))
    message = r"The model in sib was meta-trained on .* than those in wider, or its config.json does not say; name"
    check_error(capsys, run(evaluate, REQUIRED[evaluate], features_dir="wider"), message)


def test_a_comparison_with_other_episodes_is_refused(capsys, work):
    Path("other.json").write_text(json.dumps({"episode_hash": "0123456789abcdef", "accuracy": 0.5}))
    np.savez("other.npz", accuracy=np.zeros((4, 4)))
    message = r"compare_to must be of the same episodes \([0-9a-f]{12}\); it is of 0123456789ab\. Evaluate both with"
    check_error(capsys, run(evaluate, REQUIRED[evaluate], compare_to="other.json"), message)


@pytest.mark.parametrize(
    ("module", "changes"),
    [
        (pretrain, {"batch_size": "2"}),
        (extract_features, {}),
        (meta_train, {"way": "3", "query": "4"}),
        (tune, {}),
        (spinning_lines, {}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_folder_that_is_in_use_is_refused(capsys, work, module, changes):
    from sib_tf.storage import run_lock

    with run_lock.held("out", beside=module is extract_features):
        before = sorted(Path().rglob("*out*"))
        code = run(module, REQUIRED[module], **changes)
        assert sorted(Path().rglob("*out*")) == before
    check_error(capsys, code, rf"out is in use by process {os.getpid()} on \S+ \(.*\); wait for it, stop it, or name")


def run_raising(error: BaseException) -> int:
    def main():
        raise error

    return cli.run(main, flags.FlagValues(), "", ["prog"])


def test_a_refusal_of_the_disk_is_one_line_whoever_tells_of_it(capsys):
    import tensorflow as tf

    full = OSError(28, "No space left on device", "out/best.keras")
    message = r"out/best\.keras cannot be read or written \(No space left on device\)\."
    check_error(capsys, run_raising(full), message)
    full = tf.errors.ResourceExhaustedError(None, None, "out/events.v2; No space left on device\n")
    check_error(capsys, run_raising(full), r"out/events\.v2; No space left on device$")
    with pytest.raises(tf.errors.ResourceExhaustedError, match="OOM"):
        run_raising(tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"))


def test_an_interruption_says_that_the_run_can_go_on(capsys):
    assert run_raising(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "interrupted; the same command goes on from what it kept, if anything.\n"


@pytest.mark.parametrize(("text", "expected"), [("5", (5, 5)), ("5-20", (5, 20)), (" 7 ", (7, 7)), ("20-5", (20, 5))])
def test_ranges_are_parsed(text, expected):
    assert cli.number_range("way", text) == expected


@pytest.mark.parametrize("text", ["5-", "-5", "1.5", "x", "5-6-7"])
def test_texts_that_are_no_ranges_are_refused(text):
    with pytest.raises(cli.InputError, match=rf"way must be a whole number, or a range such as 5-20; got '{text}'"):
        cli.number_range("way", text)


def test_flags_of_the_folder_data_set_are_its_options():
    values = flags.FlagValues()
    dataset_flags.define(values)
    values(["prog", "--dataset=folder"])
    assert dataset_flags.folder_options(values) == dataclasses.asdict(folder.FolderOptions())
    imported = BackboneConfig("any", source="FILE.keras", image_size=96, larger="reduce")
    assert dataset_flags.folder_options(values, imported)["image_size"] == 96
    assert dataset_flags.folder_options(values, BackboneConfig(image_size=96))["image_size"] == 32
    values["stored_size"].value = 64
    assert dataset_flags.folder_options(values, imported)["image_size"] == 64


@each_module
def test_help_lists_every_flag(capsys, module):
    for flag in ("--help", "-h"):
        assert run(module, {}, flag) == 0
        text = capsys.readouterr().out
        assert text.startswith(module.__doc__)
        for name in module.FLAGS:
            assert re.search(rf"--(\[no\])?{name}\b", text), name
            assert module.FLAGS[name].help


def test_help_and_wrong_flags_do_not_wait_for_tensorflow():
    program = f"""
import importlib, sys
from sib_tf.commands import cli
for name in {NAMES}:
    module = importlib.import_module(name)
    assert cli.run(module.main, module.FLAGS, module.__doc__, [name, "--help"]) == 0
    assert cli.run(module.main, module.FLAGS, module.__doc__, [name, "--colour=red"]) == 2
slow = {{"tensorflow", "keras", "tensorflow_datasets", "torch", "matplotlib", "ai_edge_litert", "scipy"}}
slow &= set(sys.modules)
assert not slow, slow
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_a_command_ends_with_the_exit_code():
    command = [sys.executable, "-m", "train.evaluate", "--output=x.json", "--model_dir=sib"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "error: flag --features_dir=None: Flag --features_dir must have a value other than None.\n"


FAILING = "import os, sys; os.write(2, b'the cause\\n'); raise ImportError('no library')"


@pytest.mark.parametrize("fake", [None, FAILING])
def test_tensorflow_loads_without_a_word_unless_it_fails(tmp_path, fake):
    if fake:
        (tmp_path / "tensorflow.py").write_text(fake)
    program = "from sib_tf.commands import cli; cli.load_tensorflow(); import tensorflow as tf; tf.constant(1)"
    path = os.pathsep.join([str(tmp_path), str(CHECKOUT)])
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_")} | {"PYTHONPATH": path}
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == (1 if fake else 0)
    assert run.stderr == "" if fake is None else "the cause" in run.stderr


def test_that_tensorflow_is_missing_is_said_with_a_way_out(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    code = run(pack_pictures, dataset="glyphs", cache_dir=tmp_path, output="p.npz")
    check_error(capsys, code, r"This command needs TensorFlow, which is not installed: pip install sib_tf brings it\.")


def test_a_mixture_takes_what_it_does_not_name_from_the_other_flags():
    from sib_tf.config import EpisodeSpec
    from train import meta_train_flags

    texts = ["shot=5", "way=2-20 query_distribution=balanced total_query=15 query_classes=2", "dirichlet_alpha=0.1-1"]
    values = flags.FlagValues()
    meta_train_flags.define(values)
    given = ["", "--gradient_network=per_class", "--query_distribution=dirichlet", "--balanced_fraction=0.5"]
    values([*given, *(f"--mixture={text}" for text in texts)])
    common = {"query_distribution": "dirichlet", "balanced_fraction": 0.5}
    assert meta_train_flags.settings(values)[1].mixture == (
        EpisodeSpec(shot=5, **common),
        EpisodeSpec(way=(2, 20), total_query=15, query_classes=2, balanced_fraction=0.5),
        EpisodeSpec(dirichlet_alpha=(0.1, 1.0), **common),
    )
