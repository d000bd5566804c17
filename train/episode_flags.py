"""The flags that say what an episode looks like, shared by meta-training and evaluation."""

import re

from absl import flags

from sib_tf.commands import cli, record_flags
from sib_tf.config import EpisodeSpec
from sib_tf.records import ALPHA, alpha_text, range_text

_DEFAULT, _TEXTS = EpisodeSpec(), EpisodeSpec.help_texts()
_SIZES, _LABELS = ("way", "shot", "query"), ("shot_distribution", "flipped_labels")


def define(values: flags.FlagValues) -> None:
    """Defines what `define_support` does, --query_distribution and --dirichlet_alpha on `values`."""
    define_support(values)
    record_flags.define(values, _DEFAULT, {"query_distribution": _TEXTS["query_distribution"]})
    alpha = alpha_text(_DEFAULT.alpha_range)
    flags.DEFINE_string("dirichlet_alpha", alpha, _TEXTS["dirichlet_alpha"], flag_values=values)


def define_support(values: flags.FlagValues) -> None:
    """Defines --way, --shot, --query, --shot_distribution and --flipped_labels on `values`."""
    for name in _SIZES:
        flags.DEFINE_string(name, range_text(getattr(_DEFAULT, name)), _TEXTS[name], flag_values=values)
    record_flags.define(values, _DEFAULT, {name: _TEXTS[name] for name in _LABELS})


def support(values: flags.FlagValues) -> dict:
    """Returns the fields of a specification that the flags of `define_support` give."""
    ranges = {name: cli.number_range(name, values[name].value) for name in _SIZES}
    return ranges | {name: values[name].value for name in _LABELS}


def spec(values: flags.FlagValues, **fields) -> EpisodeSpec:
    """Returns the specification that the flags give; `fields` go over them."""
    alpha = alpha_range("dirichlet_alpha", values.dirichlet_alpha)
    given = {"query_distribution": values.query_distribution, "dirichlet_alpha": alpha}
    return EpisodeSpec(**{**support(values), **given, **fields})


def mixture(values: flags.FlagValues, **fields) -> tuple[EpisodeSpec, ...]:
    """Returns the further specifications that --mixture gives, each "field=value field=value".

    What a text leaves out is as `fields` say, or else the flags.

    Raises:
        InputError: a text of another form.
    """
    return tuple(spec(values, **{**fields, **_fields(text)}) for text in values.mixture)


def _fields(text: str) -> dict:
    given = {}
    for part in text.split():
        name, sign, value = part.partition("=")
        if not sign or name not in _PARSERS or name in given:
            raise cli.InputError(
                f"mixture must be FIELD=VALUE pairs with spaces between, each FIELD once and out of "
                f"{', '.join(_PARSERS)}; got {text!r}."
            )
        try:
            given[name] = _PARSERS[name](name, value)
        except ValueError as error:
            raise cli.InputError(f"mixture: {error}") from error
    if not given:
        raise cli.InputError("mixture must name at least one field that differs; got nothing.")
    return given


def _number(kind: type):
    def parse(name: str, text: str):
        try:
            return kind(text)
        except ValueError as error:
            expected = "a whole number" if kind is int else "a number"
            raise cli.InputError(f"{name} must be {expected}; got {text!r}.") from error

    return parse


def alpha_range(name: str, text: str) -> float | tuple[float, float]:
    """Parses "2" into 2.0 and "0.1-5" into (0.1, 5.0).

    Raises:
        InputError: neither; names the flag.
    """
    try:
        # The sign between two numbers, not that of an exponent.
        numbers = [float(number) for number in re.split(r"(?<=[0-9.])-", text.strip(), maxsplit=1)]
        return tuple(numbers) if len(numbers) > 1 else numbers[0]
    except ValueError as error:
        raise cli.InputError(f"{name} must be {ALPHA}; got {text!r}.") from error


_PARSERS = {
    **dict.fromkeys(("way", "shot", "query"), cli.number_range),
    **dict.fromkeys(("query_distribution", "shot_distribution"), lambda name, text: text),
    "dirichlet_alpha": alpha_range,
    **dict.fromkeys(("balanced_fraction", "flipped_labels"), _number(float)),
    **dict.fromkeys(("total_query", "query_classes"), _number(int)),
}
