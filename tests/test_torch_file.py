"""PyTorch's old files without PyTorch: the same tensors, and nothing else than tensors."""

import io
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from sib_tf.backbones.torch_file import read_tensors
from sib_tf.errors import InputError

torch = pytest.importorskip("torch", reason="PyTorch is not installed; it writes the files (pip install sib_tf[torch])")


def write(path: Path, state) -> Path:
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return path


def tensors() -> OrderedDict:
    """Of all kinds, shared storages and axes in another order among them."""
    torch.manual_seed(0)
    whole = torch.randn(4, 6)
    return OrderedDict(
        kernel=torch.randn(2, 3, 5, 4).permute(3, 0, 2, 1),
        part=whole[1:3],
        column=whole[:, 2],
        scalar=torch.tensor(7),
        half=torch.randn(3).half(),
        double=torch.randn(2, 2).double(),
        none=torch.zeros(0, 3),
    )


def test_tensors_are_those_that_were_saved(tmp_path):
    found, expected = read_tensors(write(tmp_path / "a.pth", tensors())), tensors()
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.numpy().dtype
        np.testing.assert_array_equal(found[name], tensor.numpy())


class Attack:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


@pytest.mark.parametrize("place", range(5))
def test_nothing_that_is_read_is_executed(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    parts = [0x1950A86A20F9469CFC6C, 1001, {}, OrderedDict(), []]
    parts[place] = Attack()
    (tmp_path / "a.pth").write_bytes(b"".join(pickle.dumps(part, 2) for part in parts))
    with pytest.raises(InputError, match=r"a\.pth is no state dict .*it asks for \S+, which no state dict needs"):
        read_tensors(tmp_path / "a.pth")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("length", 1 << 40, r"storage 0 needs 4,398,046,511,104 bytes"),
        ("length", -1, r"storage 0 needs -4 bytes"),
        ("offset", -1, r"a tensor .* goes beyond its storage"),
        ("offset", 3, r"a tensor .* goes beyond its storage"),
        ("shape", (1 << 40,), r"a tensor .* goes beyond its storage"),
        ("strides", (0,), r"a tensor .* goes beyond its storage"),
        ("strides", (-1,), r"a tensor .* goes beyond its storage"),
    ],
)
def test_claims_beyond_the_file_are_refused(tmp_path, field, value, message):
    """A file made by hand, of one tensor [4], with one claim changed; memory is not taken before it is checked."""
    claims = {"length": 4, "offset": 0, "shape": (4,), "strides": (1,), field: value}
    if field == "strides" and value == (0,):
        claims["shape"] = (1 << 20,)
    file = io.BytesIO()
    for part in (0x1950A86A20F9469CFC6C, 1001, {}):
        pickle.dump(part, file, 2)
    pickler = pickle.Pickler(file, 2)
    pickler.persistent_id = lambda one: one.identity if isinstance(one, Storage) else None
    pickler.dump({"a": Tensor(Storage(("storage", torch.FloatStorage, "0", "cpu", claims["length"], None)), claims)})
    pickle.dump(["0"], file, 2)
    file.write(int(claims["length"]).to_bytes(8, "little", signed=True) + np.arange(4, dtype="<f4").tobytes())
    (tmp_path / "a.pth").write_bytes(file.getvalue())
    with pytest.raises(InputError, match=message):
        read_tensors(tmp_path / "a.pth")


class Storage:
    def __init__(self, identity):
        self.identity = identity


class Tensor:
    def __init__(self, storage, claims):
        self.storage, self.claims = storage, claims

    def __reduce__(self):
        rest = (self.claims["offset"], self.claims["shape"], self.claims["strides"], False, OrderedDict())
        return torch._utils._rebuild_tensor_v2, (self.storage, *rest)


def test_files_of_another_kind_are_refused(tmp_path):
    torch.save(tensors(), tmp_path / "new.pth")
    write(tmp_path / "list.pth", [1, 2])
    (tmp_path / "text.pth").write_text("no weights here")
    for name in ("new.pth", "list.pth", "text.pth"):
        with pytest.raises(InputError, match=rf"{name} is no state dict in PyTorch's old format, or is damaged"):
            read_tensors(tmp_path / name)
    with pytest.raises(InputError, match=r"gone\.pth cannot be read \(No such file or directory\)\."):
        read_tensors(tmp_path / "gone.pth")
