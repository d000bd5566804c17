"""Every flagfile parses with its entry point, and says on top what command it belongs to."""

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "train/flagfiles"
FILES = sorted(path for path in FOLDER.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_flagfile_parses_and_names_its_command(path):
    module = next(m for m in ("pretrain", "extract_features", "meta_train", "evaluate") if path.name.startswith(m))
    assert f"python -m train.{module} --flagfile=train/flagfiles/{path.parent.name}/{path.name}" in path.read_text()
    flags = importlib.import_module(f"train.{module}").FLAGS
    flags.unparse_flags()
    required = {f"--{name}=x" for name in ("output_dir", "features_dir", "backbone_dir", "model_dir") if name in flags}
    if module == "evaluate":
        required = {"--features_dir=x", "--model_dir=x", "--output=x.json"}
    assert flags(["program", f"--flagfile={path}", *sorted(required)]) == ["program"]
