"""The exporters: what cannot be exported is said in one line, and no file is left that differs from the model."""

import json
import shutil
from pathlib import Path

import exported
import pytest
from running import run
from test_cli import check_error

from export import conversion, precisions, tflite, verify
from sib_tf.commands import dataset_flags
from sib_tf.storage import atomic


@pytest.fixture
def flags(tiny_dataset, monkeypatch):
    monkeypatch.setattr(dataset_flags, "load", lambda *_: tiny_dataset)
    run = exported.run_folder()
    return {"model_dir": run / "sib", "backbone_dir": run / "backbone", "episodes": 3}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "full_int8"}, "precision full_int8 is refused: a head quantised to int8 gives logits of zero"),
        ({"precision": "int4"}, r"precision must be one of float32, float16, int8; got int4\."),
        ({"precision": "float32,int4"}, r"precision must be one of float32, float16, int8; got int4\."),
        ({"precision": "float32,float16"}, "output must be a folder for several precisions, .* got --output=model"),
        ({"precision": "int8,int8", "output": "files"}, ".*each given once; got --output=files --precision=int8,int8"),
        ({"precision": ""}, "output must be a folder for several precisions"),
        ({"output": "model.bin"}, r"output must end in \.tflite; got model\.bin\."),
        ({"shapes": "dynamic", "way": 5}, "--way belong to --shapes=static; a dynamic file takes any number"),
        ({"way": 7, "max_support": 5}, r"max_support must be at least way = 7, a picture of each class; got 5\."),
        ({"way": 7, "max_query": 5}, r"max_query must be at least way = 7"),
        ({"way": 1}, "flag --way=1"),
        ({"model_dir": "none"}, r"Configuration none/config\.json cannot be read"),
        ({"backbone_dir": "none"}, r"Configuration none/config\.json cannot be read"),
    ],
)
def test_what_tflite_refuses(capsys, flags, tmp_path, changes, message):
    flags = {**flags, "output": "model.tflite", **changes}
    check_error(capsys, run(tflite, flags), message)
    assert not list(tmp_path.rglob("*.tflite"))


def test_a_joint_model_keeps_its_way(capsys, flags):
    run_folder = exported.run_folder("joint")
    joint = {**flags, "model_dir": run_folder / "sib", "backbone_dir": run_folder / "backbone", "output": "m.tflite"}
    check_error(capsys, run(tflite, joint, way=4), "way must be 5, which this joint model was built for; got 4")
    assert run(tflite, joint) == 0
    assert "ok" in capsys.readouterr().out


def test_a_model_of_another_backbone_is_refused(capsys, flags, tmp_path):
    shutil.copytree(exported.run_folder() / "sib", tmp_path / "other" / "sib")
    record = atomic.read_json("other/sib/config.json", "Configuration")
    record["features"]["backbone"]["weights"] = "0" * 64
    atomic.write_json("other/sib/config.json", record)
    flags = {**flags, "model_dir": "other/sib", "output": "m.tflite"}
    check_error(capsys, run(tflite, flags), "The model in other/sib was meta-trained on features of another backbone")


def test_an_imported_run_needs_its_data_set_named(capsys, flags, tmp_path):
    shutil.copytree(flags["backbone_dir"], tmp_path / "backbone")
    record = json.loads((tmp_path / "backbone/config.json").read_text())
    (tmp_path / "backbone/config.json").write_text(json.dumps({"backbone": record["backbone"]}))
    flags = {**flags, "backbone_dir": "backbone", "output": "m.tflite"}
    check_error(capsys, run(tflite, flags), "dataset must be given: the run does not say which data set")


def test_a_file_that_differs_is_not_left(capsys, flags, tmp_path, monkeypatch):
    static = exported.static_file()  # Before writing is another thing.
    strict = precisions.Precision("", precisions.Limits(-1.0, -1.0, -1.0, -1.0))
    monkeypatch.setitem(precisions.PRECISIONS, "float32", strict)
    monkeypatch.setattr(conversion, "write", lambda path, *_: shutil.copy(static, path))
    message = r"The float32 file does not do what the model does \(features.*Try another precision\."
    check_error(capsys, run(tflite, flags, output="m.tflite"), message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shapes", ["static", "dynamic"])
def test_exports_and_compares(capsys, flags, shapes):
    assert run(tflite, flags, output=f"{shapes}.tflite", shapes=shapes) == 0
    assert capsys.readouterr().out.endswith(f"kB, float32, {shapes} shapes.\n")
    flags = {**flags, "exported": f"{shapes}.tflite"}
    Path("report.md").write_text("# A run\n\nText.\n\n## Latency\n\nSlow.\n")
    for _ in range(2):
        assert run(verify, flags, report="report.md") == 0
    page = Path("report.md").read_text()
    assert page.startswith("# A run\n\nText.\n\n## Latency\n\nSlow.\n\n## Exported files\n\n")
    assert page.count(f"{shapes}.tflite") == 1 and "| trained model | Keras float32 |" in page
    assert f"| {shapes}.tflite | float32 |" in capsys.readouterr().out
    check_error(capsys, run(verify, flags, output="v.txt"), r"output must end in \.json; got v\.txt\.")
    check_error(capsys, run(verify, flags, exported="none"), "model none is neither a .tflite file")
    check_error(capsys, run(verify, flags, report="none.md"), ".*There is no report none.md")


def test_several_precisions_at_once_are_what_each_is_alone(flags, capsys):
    assert run(tflite, flags, precision="float32,float16", output="files") == 0
    for precision in ("float32", "float16"):
        assert run(tflite, flags, precision=precision, output="alone.tflite") == 0
        assert Path("alone.tflite").read_bytes() == Path(f"files/{precision}.tflite").read_bytes()
    assert sorted(path.name for path in Path("files").iterdir()) == ["float16.tflite", "float32.tflite"]


def test_verify_fails_for_a_file_of_another_model(capsys, flags):
    other = exported.load_run(exported.run_folder(num_steps=0))
    exported.write_tflite(other, Path("other.tflite"), way=5, max_support=5, max_query=25)
    code = run(verify, flags, exported="other.tflite", output="figures.json")
    streams = capsys.readouterr()
    assert code == 2
    assert "weights inf" in streams.out
    (figures,) = json.loads(Path("figures.json").read_text())
    assert (figures["name"], figures["weights"]) == ("other.tflite", None)
    assert figures["bytes"] == Path("other.tflite").stat().st_size
    assert "other.tflite differ from the trained model by more than allowed" in streams.err
