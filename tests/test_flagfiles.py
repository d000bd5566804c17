"""Every flagfile parses with its entry point, and says on top what command it belongs to."""

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "train/flagfiles"
REQUIRED = {
    "train.pretrain": ["output_dir"],
    "train.extract_features": ["backbone_dir", "output_dir"],
    "train.meta_train": ["features_dir", "output_dir"],
    "train.evaluate": ["features_dir", "model_dir", "output"],
    "export.verify": ["model_dir", "backbone_dir", "exported"],
    "export.benchmark_litert": ["tflite"],
}
FILES = sorted(path for path in FOLDER.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_flagfile_parses_and_names_its_command(path):
    module = next(name for name in REQUIRED if path.name.startswith(name.split(".")[1]))
    assert f"python -m {module} --flagfile=train/flagfiles/{path.parent.name}/{path.name}" in path.read_text()
    flags = importlib.import_module(module).FLAGS
    flags.unparse_flags()
    required = [f"--{name}=x" for name in REQUIRED[module]]
    assert flags(["program", f"--flagfile={path}", *required]) == ["program"]
