"""Flags of a backbone that is trained from scratch: its kind and shape, in Keras and in PyTorch alike."""

from absl import flags

from sib_tf.commands import record_flags
from sib_tf.config import BACKBONES, BackboneConfig
from sib_tf.errors import InputError

TEXTS = BackboneConfig.help_texts()
_WIDTHS = {"conv4": 64, "wide_resnet": 10}


def define(values: flags.FlagValues) -> None:
    """Defines --backbone, --width and --depth on `values`."""
    flags.DEFINE_enum("backbone", "conv4", BACKBONES, "Kind of backbone.", flag_values=values)
    flags.DEFINE_integer("width", None, TEXTS["width"], 1, flag_values=values)
    record_flags.define(values, BackboneConfig(), {"depth": TEXTS["depth"]})


def config(values: flags.FlagValues, **given) -> BackboneConfig:
    """The backbone that the flags and what is `given` describe; an InputError if they contradict each other."""
    kind = values["backbone"].value
    if kind == "conv4" and values["depth"].present:
        raise InputError("depth is that of --backbone=wide_resnet; conv4 has 4 layers: leave it out.")
    given = record_flags.fields(values, BackboneConfig) | given
    return BackboneConfig(name=kind, **given | {"width": values["width"].value or _WIDTHS[kind]})
