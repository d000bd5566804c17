"""What a search for settings tries: which fields of the model and its meta-training, and the range of each.

Importing this module is cheap, like `config`: a wrong range is said before TensorFlow is loaded.
"""

import dataclasses
import math
from collections.abc import Iterable

from sib_tf.config import OPTIMIZERS, MetaTrainConfig, SIBConfig
from sib_tf.errors import InputError, require_choice

TUNERS = ("random", "bayesian")
_DECAYING = ("sgd", "adamw")  # adam has no weight decay.
# Values are used as written in tables: four digits, which also outlive the 32-bit floats between processes.
_DIGITS = 4


@dataclasses.dataclass(frozen=True)
class Searched:
    """A field and what it may be: one of `choices` or, where there are none, anything in [low, high].

    Attributes:
        name: of a field of `SIBConfig`, `MetaTrainConfig` or `EpisodeSpec` (of the training episodes).
        kind: int, float or str.
        choices: two or more values, in order.
        low, high: of the range, both included; numbers only.
        log: whether the range is drawn from evenly in its logarithm.
    """

    name: str
    kind: type
    choices: tuple = ()
    low: float = 0
    high: float = 0
    log: bool = False

    def narrowed(self, text: str) -> "Searched":
        """Returns the field with the values of `text`: "low:high", or "a,b,c"; an InputError if it is no range."""
        low, colon, high = text.partition(":")
        if not colon or self.kind is str:
            choices = tuple(map(self._parse, text.split(",")))
            if len(set(choices)) < max(2, len(choices)):
                raise InputError(f"range of {self.name} must be two or more different values; got {text}.")
            return dataclasses.replace(self, choices=choices)
        low, high = self._parse(low), self._parse(high)
        if not low < high or (self.log and low <= 0):
            above = " above 0 (the scale is logarithmic)" if self.log else ""
            raise InputError(f"range of {self.name} must be LOW:HIGH with LOW{above} below HIGH; got {text}.")
        return dataclasses.replace(self, choices=(), low=low, high=high)

    def nearest(self, value):
        """Returns the value nearest to `value` that the field may have."""
        if self.kind is str:
            return value if value in self.choices else self.choices[0]
        if self.choices:
            return min(self.choices, key=lambda choice: abs(choice - value))
        rounded = int(value) if self.kind is int else float(f"{value:.{_DIGITS}g}")
        return min(max(rounded, self.low), self.high)  # Rounding may not lead out of the range.

    def ends(self) -> tuple:
        """The values that must be allowed for all to be."""
        return self.choices or (self.low, self.high)

    def describe(self) -> str:
        """Returns the range as `narrowed` reads it, and its scale."""
        if self.choices:
            return ",".join(map(str, self.choices))
        return f"{self.low:g}:{self.high:g}" + (" (log)" if self.log else "")

    def _parse(self, text: str):
        try:
            return self.kind(text.strip())
        except ValueError as error:
            expected = "a whole number" if self.kind is int else "a number"
            raise InputError(f"range of {self.name}: {text.strip()!r} is not {expected}.") from error


# In the order of tables. The optimiser stands before what depends on it. Step sizes are for step_reduction=sum.
FIELDS = {
    field.name: field
    for field in (
        Searched("inner_learning_rate", float, low=1e-4, high=1e-1, log=True),
        Searched("num_steps", int, low=1, high=5),
        Searched("hidden_units", int, choices=(16, 32, 64, 128)),
        Searched("optimizer", str, choices=OPTIMIZERS),
        Searched("learning_rate", float, low=1e-4, high=3e-2, log=True),
        Searched("weight_decay", float, low=1e-6, high=1e-2, log=True),
        Searched("balanced_fraction", float, low=0.0, high=1.0),
        Searched("dirichlet_alpha", float, low=0.5, high=10.0, log=True),
    )
}


def space(names: Iterable[str], ranges: Iterable[str] = ()) -> tuple[Searched, ...]:
    """Returns the fields called `names` with their usual ranges, or those of `ranges` ("name=low:high", "name=a,b,c").

    Raises an InputError for a name that is not in `FIELDS`, twice the same, or a range that is none.
    """
    names = list(names)
    if not names or len(set(names)) < len(names) or not set(names) <= set(FIELDS):
        expected = f"different names out of {', '.join(FIELDS)}"
        raise InputError(f"search must be {expected}; got {','.join(names)!r}.")
    chosen = {name: FIELDS[name] for name in FIELDS if name in names}
    for text in ranges:
        name, sign, values = text.partition("=")
        if not sign or name not in chosen:
            raise InputError(f"range must be NAME=LOW:HIGH or NAME=A,B,C with a NAME out of search; got {text!r}.")
        chosen[name] = chosen[name].narrowed(values)
    return tuple(chosen.values())


@dataclasses.dataclass(frozen=True)
class Search:
    """What is searched, and what stays as it is.

    Attributes:
        model: the model; of the searched fields, the values that the first trial starts from.
        training: likewise, of one trial; `training.validation` is never searched: all trials are measured alike.
        space: the searched fields; an InputError if a range goes beyond what its field may be, or one has no effect.
        tuner: "random", or "bayesian": a Gaussian process suggests values.
    """

    model: SIBConfig
    training: MetaTrainConfig
    space: tuple[Searched, ...]
    tuner: str = "random"

    def __post_init__(self):
        require_choice("tuner", self.tuner, TUNERS)
        names = [field.name for field in self.space]
        distribution = self.training.episodes.query_distribution
        for name in {"balanced_fraction", "dirichlet_alpha"} & set(names):
            if distribution != "dirichlet":
                raise InputError(f"search names {name}, which counts with query_distribution=dirichlet only.")
        if "weight_decay" in names and not self.decaying:
            raise InputError("search names weight_decay, which optimizer=adam has not; leave it out.")
        for field in self.space:
            for value in field.ends():
                try:
                    self.configs({field.name: value})
                except InputError as error:
                    raise InputError(f"range: {error}") from error

    @property
    def decaying(self) -> tuple[str, ...]:
        """The optimisers in question that have a weight decay."""
        searched = {field.name: field.choices for field in self.space}
        return tuple(name for name in searched.get("optimizer", (self.training.optimizer,)) if name in _DECAYING)

    def configs(self, values: dict) -> tuple[SIBConfig, MetaTrainConfig]:
        """Returns the model and its training with `values`, by field name, in place."""
        model, episodes, training = (
            dataclasses.replace(part, **{name: value for name, value in values.items() if name in vars(part)})
            for part in (self.model, self.training.episodes, self.training)
        )
        return model, dataclasses.replace(training, episodes=episodes)

    def first(self) -> dict:
        """Returns the first trial's values, by field name: those of `model` and `training`, moved into their ranges."""
        values = {**vars(self.training), **vars(self.training.episodes), **vars(self.model)}
        values["hidden_units"] = self.model.hidden_width
        values["dirichlet_alpha"] = math.prod(self.training.episodes.alpha_range) ** 0.5
        found = self.decode(values)
        if found.get("optimizer", self.training.optimizer) not in _DECAYING:
            found.pop("weight_decay", None)
        return found

    def decode(self, values: dict) -> dict:
        """Returns `values` as they are used, by field name: floats that came from keras-tuner have too many digits."""
        return {field.name: field.nearest(values[field.name]) for field in self.space if field.name in values}
