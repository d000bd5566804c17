"""What an episode may be spoiled with, and the argument that the error has to name."""

import dataclasses
from collections.abc import Callable

import numpy as np

Inputs = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Fault:
    """One way to spoil the inputs of `adapt`.

    Attributes:
        argument: whose name the error begins with.
        spoil: (inputs, random) -> inputs of which one is wrong.
        in_graph: whether a server's signature refuses it too; else it cannot be said there (types, shapes).
    """

    argument: str
    spoil: Callable[[Inputs, np.random.RandomState], Inputs]
    in_graph: bool = False


def _of(name: str, change: Callable[[np.ndarray, np.random.RandomState], np.ndarray], in_graph: bool = False) -> Fault:
    return Fault(name, lambda inputs, random: {**inputs, name: change(inputs[name], random)}, in_graph)


def _put(values: np.ndarray, place: tuple, value: float) -> np.ndarray:
    values = np.array(values)
    values[place] = value
    return values


NUMBERS = {"NaN": np.nan, "infinity": np.inf, "minus infinity": -np.inf, "near infinity": 1e30}
LABELS = "support_labels"
FAULTS = {
    # In the first row, which counts.
    **{
        f"{text} in {name}": _of(name, lambda x, r, v=value: _put(x, (..., 0, r.randint(x.shape[-1])), v), True)
        for text, value in NUMBERS.items()
        for name in ("support", "query")
    },
    **{
        f"label {value}": _of(LABELS, lambda x, _, v=value: _put(x, (..., 0), v), True)
        for value in (-1, -(2**31), 2**31 - 1, 1000)
    },
    **{
        f"{name} in {dtype}": _of(name, lambda x, _, dtype=dtype: np.zeros_like(x, dtype))
        for name in ("support", "query")
        for dtype in ("float64", "float16", "int32")
    },
    **{f"{name} too narrow": _of(name, lambda x, _: x[:, 1:]) for name in ("support", "query")},
    **{f"{name} flat": _of(name, lambda x, _: x.ravel()) for name in ("support", "query")},
    "no support": Fault(LABELS, lambda inputs, _: {**inputs, "support": inputs["support"][:0], LABELS: []}),
    "fractions": _of(LABELS, lambda x, _: x + 0.25),
    "NaN labels": _of(LABELS, lambda x, _: np.where(x == 0, np.nan, x)),
    "text": _of(LABELS, lambda x, _: x.astype(str)),
    "a label too few": _of(LABELS, lambda x, _: x[1:]),
    "one-hot labels": _of(LABELS, lambda x, _: np.eye(9)[x]),
    "a class left out": _of(LABELS, lambda x, _: x + 1),
}
