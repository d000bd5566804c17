"""Flags that fill a record: kinds, choices and defaults are the record's, and stand there alone."""

import dataclasses
import typing
from collections.abc import Mapping

from absl import flags

from sib_tf.records import Record

_DEFINE = {bool: flags.DEFINE_bool, int: flags.DEFINE_integer, float: flags.DEFINE_float, str: flags.DEFINE_string}


def define(values: flags.FlagValues, record: Record, texts: Mapping[str, str]) -> None:
    """Defines a flag on `values` for each field of `record`, its default, that `texts` has a help text of.

    Fields are of the kinds bool, int, float or str, or optional ones.
    """
    hints, choices = typing.get_type_hints(type(record)), record.choices()
    for name, text in texts.items():
        default = getattr(record, name)
        if name in choices:
            flags.DEFINE_enum(name, default, choices[name], text, flag_values=values)
        else:
            kind = next(kind for kind in (*typing.get_args(hints[name]), hints[name]) if kind in _DEFINE)
            _DEFINE[kind](name, default, text, flag_values=values)


def fields(values: flags.FlagValues, record: type[Record]) -> dict:
    """Returns the values of the flags on `values` that are called as fields of `record` are."""
    return {field.name: values[field.name].value for field in dataclasses.fields(record) if field.name in values}
