"""Nothing that the project reads is executed: no pickles, no eval, no unpacking by the names inside an archive."""

import ast
from collections.abc import Iterator

import pytest
from conftest import CHECKOUT

MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml"}
BUILT_IN = {"eval", "exec"}
# Their unpicklers admit tensors or arrays alone, which tests/test_torch_file.py and test_array_pickle.py attack.
RESTRICTED = ("torch_file.py", "array_pickle.py")
METHODS = {"extractall", "unpack_archive", "enable_unsafe_deserialization"}
# Of loaders that run code, or read more than they say, unless they are told not to.
NEEDED = {
    "torch.load": ("weights_only", True),
    "keras.saving.load_model": ("safe_mode", True),
    "keras.models.load_model": ("safe_mode", True),
    "np.load": ("allow_pickle", False),
}


def unsafe(source: str) -> Iterator[str]:
    """Yields what is unsafe in Python code, with the line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names]
            yield from (f"{node.lineno}: import {name}" for name in names if name.split(".")[0] in MODULES)
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            values = {each.arg: each.value.value for each in node.keywords if isinstance(each.value, ast.Constant)}
            name, needed = NEEDED.get(called, ("allow_pickle", values.get("allow_pickle") or None))
            forbidden = called in BUILT_IN or called.split(".")[-1] in METHODS
            if forbidden or values.get(name) is not needed or values.get("allow_pickle"):
                yield f"{node.lineno}: {called}"


@pytest.mark.parametrize("package", ["sib_tf", "train", "export", "benchmarks"])
def test_the_project_loads_nothing_unsafely(package):
    files = [path for path in (CHECKOUT / package).rglob("*.py") if "node_modules" not in path.parts]
    assert len(files) > 5
    found = [f"{path.name}:{what}" for path in files for what in unsafe(path.read_text(encoding="utf-8"))]
    assert [each for each in found if not each.startswith(RESTRICTED)] == []


def test_arrays_are_loaded_in_one_place():
    files = [path for path in (CHECKOUT / "sib_tf").rglob("*.py") if "np.load(" in path.read_text(encoding="utf-8")]
    assert [path.name for path in files] == ["array_files.py"]


@pytest.mark.parametrize(
    "code",
    [
        "import os, pickle", "from pickle import load", "eval(text)", "archive.extractall(folder)", "torch.load(path)",
        "torch.load(path, weights_only=False)", "keras.saving.load_model(path)", "np.load(path)",
        "np.load(path, allow_pickle=True)", "np.fromfile(path, allow_pickle=True)",
        "keras.saving.load_model(path, safe_mode=False)", "keras.config.enable_unsafe_deserialization()",
    ],
)  # fmt: skip
def test_unsafe_code_would_be_seen(code):
    assert len(list(unsafe(code))) == 1


@pytest.mark.parametrize(
    "code", ["torch.load(path, weights_only=True)", "np.load(path, allow_pickle=False)", "model.eval()"]
)
def test_safe_code_is_not(code):
    assert not list(unsafe(code))
