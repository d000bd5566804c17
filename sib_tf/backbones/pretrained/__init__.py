"""Backbones that others have trained: a module for each place that they come from.

Each module has `SOURCES`, the forms of --source that it takes ("NAME", "module:NAME" or "FILE.suffix"), and
`build(request) -> Imported`. A further one is a further module, and nothing else.
"""

import dataclasses
import importlib
import math
import os
import pkgutil
from pathlib import Path
from types import ModuleType

import numpy as np

from sib_tf import backbones
from sib_tf.backbones.pretrained.request import Imported, Request
from sib_tf.config import BackboneConfig
from sib_tf.errors import InputError

_NO_SOURCES = ("request", "litert_normalization")
# Probabilities of a quantised model add up to 1 with this.
_ROUNDING = 0.02


def import_backbone(request: Request, output_dir: str | os.PathLike) -> tuple[BackboneConfig, dict]:
    """Builds a pretrained backbone, tries it, and writes it as `pretraining.pretrain` writes one.

    Args:
        request: which one.
        output_dir: a new folder, or that of an import, which is replaced.

    Returns:
        The backbone's configuration, and what is known of its weights (JSON values), as in `output_dir/config.json`.

    Raises:
        InputError: there is no such source, its weights cannot be had, or it does not turn pictures into vectors.
    """
    backbones.check_free(output_dir, "imported")  # Before what may take minutes.
    imported = module_of(request.source).build(request)
    _try(imported)
    config = BackboneConfig(
        name=imported.model.name, source=request.source, image_size=imported.model.input_shape[1], larger="reduce"
    )
    facts = {name: value for name, value in imported._asdict().items() if name != "model"}
    # A .tflite file is kept as bytes, which are no parameters.
    floats = sum(math.prod(weight.shape) for weight in imported.model.weights if "float" in weight.dtype)
    facts |= {"feature_dim": imported.model.output_shape[-1], "parameters": floats or None}
    facts |= {"alpha": request.alpha} if request.alpha is not None else {}
    record = {"backbone": dataclasses.asdict(config), "imported": facts}
    backbones.write(output_dir, imported.model, record, "imported")
    return config, facts


def sources() -> list[str]:
    """The forms of --source."""
    return [form for module in _modules() for form in module.SOURCES]


def module_of(source: str) -> ModuleType:
    """Returns the module that takes a source.

    Raises:
        InputError: none does; the message lists the forms.
    """
    for module in _modules():
        if any(_is_of(form, source) for form in module.SOURCES):
            return module
    raise InputError(f"source must be one of {', '.join(sources())}; got {source!r}.")


def _is_of(form: str, source: str) -> bool:
    if form.startswith("FILE."):
        return Path(source).suffix == Path(form).suffix
    return source.partition(":")[:2] == form.partition(":")[:2]


def _modules() -> list[ModuleType]:
    names = [module.name for module in pkgutil.iter_modules(__path__) if module.name not in _NO_SOURCES]
    return [importlib.import_module(f"{__name__}.{name}") for name in names]


def _try(imported: Imported) -> None:
    """Raises an InputError unless the model turns two unlike pictures into two unlike, finite vectors of features."""
    model = imported.model
    if len(model.output_shape) != 2 or model.output_shape[-1] is None:
        raise InputError(f"{model.name} must give one vector a picture; it gives {model.output_shape}.")
    if (kind := model.output.dtype) != "float32":
        raise InputError(f"{model.name} must give float32 numbers; it gives {kind}. Save it without what does.")
    pictures = np.random.RandomState(0).randint(0, 256, (2, *model.input_shape[1:]), np.uint8).astype(np.float32)
    pictures[1] = pictures[1] * 0.2 + 100
    features = np.asarray(model(pictures, training=False))
    if not np.isfinite(features).all() or np.array_equal(features[0], features[1]):
        raise InputError(f"{model.name} gives the same vector for any picture, or none that is finite; is it whole?")
    if (features >= 0).all() and np.abs(features.sum(axis=1) - 1).max() < _ROUNDING:
        raise InputError(
            f"{model.name} ends in class probabilities: they add up to 1. Take the model without its last layers."
        )
