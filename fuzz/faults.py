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


def _with(name: str, change) -> Callable[[Inputs, np.random.RandomState], Inputs]:
    return lambda inputs, random: {**inputs, name: change(inputs[name], random)}


def _number(value: float):
    """Puts a value at a random place of a row that counts: the first."""

    def change(values, random):
        values = np.array(values)
        values[..., 0, random.randint(values.shape[-1])] = value
        return values

    return change


def _label(value: int):
    """Gives the first row another label."""

    def change(labels, random):
        labels = np.array(labels)
        labels[..., 0] = value
        return labels

    return change


NUMBERS = {"NaN": np.nan, "infinity": np.inf, "minus infinity": -np.inf, "near infinity": 1e30}
FAULTS = {
    **{
        f"{text} in {name}": Fault(name, _with(name, _number(value)), in_graph=True)
        for text, value in NUMBERS.items()
        for name in ("support", "query")
    },
    **{
        f"label {value}": Fault("support_labels", _with("support_labels", _label(value)), in_graph=True)
        for value in (-1, -(2**31), 2**31 - 1, 1000)
    },
    **{
        f"{name} in {dtype}": Fault(name, _with(name, lambda x, random, dtype=dtype: np.zeros_like(x, dtype)))
        for name in ("support", "query")
        for dtype in ("float64", "float16", "int32")
    },
    **{f"{name} too narrow": Fault(name, _with(name, lambda x, random: x[:, 1:])) for name in ("support", "query")},
    **{f"{name} flat": Fault(name, _with(name, lambda x, random: x.ravel())) for name in ("support", "query")},
    "no support": Fault("support_labels", lambda e, random: {**e, "support": e["support"][:0], "support_labels": []}),
    "fractions": Fault("support_labels", _with("support_labels", lambda x, random: x + 0.25)),
    "NaN labels": Fault("support_labels", _with("support_labels", lambda x, random: np.where(x == 0, np.nan, x))),
    "text": Fault("support_labels", _with("support_labels", lambda x, random: x.astype(str))),
    "a label too few": Fault("support_labels", _with("support_labels", lambda x, random: x[1:])),
    "one-hot labels": Fault("support_labels", _with("support_labels", lambda x, random: np.eye(9)[x])),
    "a class left out": Fault("support_labels", _with("support_labels", lambda x, random: x + 1)),
}
