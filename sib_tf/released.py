"""The released PyTorch code's checkpoints, read into our models: weights only, nothing in the file is executed."""

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from sib_tf import backbones
from sib_tf.config import BackboneConfig, SIBConfig
from sib_tf.errors import InputError, first_line
from sib_tf.sib import SIB
from sib_tf.storage import digests, zip_files

_MOST = 1024

State = Mapping[str, np.ndarray]  # Arrays in PyTorch's layout, by the released code's names.


def read_checkpoint(path: str | os.PathLike, sha256: str | None = None) -> tuple[dict[str, np.ndarray], dict]:
    """Reads a `.pth` file of either kind: `netFeatBest` (a backbone) or `netSIBBest` (backbone and head).

    Files of PyTorch 1.6 and later are ZIP archives with checksums, which are compared; older ones have none. `sha256`
    is the file's, where it is known.

    Returns:
        (backbone state, head): the head is `{}` for a backbone alone, otherwise it has `state` and `num_steps`.

    Raises:
        InputError: PyTorch is not installed, or the file is damaged, or holds more than weights, or something else.
    """
    try:
        import torch
    except ImportError as error:
        raise InputError("Reading .pth files needs PyTorch: pip install 'sib_tf[torch]'.") from error
    _check_bytes(Path(path), sha256)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged or unsafe files.
        raise InputError(
            f"checkpoint {path} is damaged or holds more than weights ({type(error).__name__}); only files of the "
            "released code and netFeat.pth of train.pretrain_torch are read."
        ) from error
    if not isinstance(content, Mapping):
        raise InputError(f"checkpoint {path} holds a {type(content).__name__}, not weights by name.")
    if "netFeat" not in content:
        return _arrays(content, path), {}
    if missing := {"SIB", "nbStep"} - set(content):
        raise InputError(f"checkpoint {path} lacks {sorted(missing)}.")
    head = {"state": _arrays(content["SIB"], path), "num_steps": content["nbStep"]}
    if not isinstance(head["num_steps"], int):
        raise InputError(f"checkpoint {path} must have a whole number as nbStep; got {content['nbStep']!r}.")
    return _arrays(content["netFeat"], path), head


def _check_bytes(path: Path, sha256: str | None) -> None:
    """What PyTorch does not do: compares the file's digest, and the checksums of an archive's members."""
    if not path.is_file():
        raise InputError(f"checkpoint {path} must be a .pth file; there is no such file.")
    if sha256 is not None and (found := digests.of_file(path)) != sha256.lower():
        raise InputError(f"checkpoint {path} must have the SHA-256 {sha256}; it has {found}. Get it again.")
    try:
        zip_files.check_torch_file(path)
    except Exception as error:  # zipfile raises whatever the broken bytes lead it to.
        raise InputError(f"checkpoint {path} is damaged ({first_line(error)}); get it again.") from error


def pictures(state: State) -> dict:
    """What a file of `train.pretrain_torch` says of its pictures: `image_size`, `mean`, `std`; {} for other files."""
    if "image_size" not in state:
        return {}
    size, mean, std = (
        _checked(_get(state, name), shape, name) for name, shape in (("image_size", ()), ("mean", (3,)), ("std", (3,)))
    )
    size = _size("pictures of size", int(size.real))
    return {"image_size": size, "mean": tuple(map(float, mean.real)), "std": tuple(map(float, std.real))}


def backbone(
    state: State, image_size: int, mean, std, precision: str = "float32"
) -> tuple[keras.Model, BackboneConfig]:
    """Builds the backbone of a PyTorch state; its kind, depth and width follow from the names and shapes.

    The released code's files do not say the other arguments, which are as in `BackboneConfig`; `pictures` has what ours
    say. Raises an InputError if names or shapes are of no backbone that the released code has.
    """
    pictures = {"image_size": image_size, "mean": mean, "std": std, "precision": precision}
    if (first := "conv_blocks.0.layers.Conv.weight") in state:
        width = _size("a width", len(_get(state, first, axes=4)))
        config = BackboneConfig(name="conv4", width=width, **pictures)
    elif (first := "block1.layer.0.conv1.weight") in state:
        found = [int(m[1]) for name in state if (m := re.match(r"block1\.layer\.(\d{1,9})\.", name))]
        depth = 6 * _size("blocks to a group,", 1 + max(found)) + 4
        width = _size("a width", len(_get(state, first, axes=4)) // 16)
        config = BackboneConfig(name="wide_resnet", width=width, depth=depth, **pictures)
    else:
        raise InputError(f"checkpoint has no backbone of the released code; its names begin with {sorted(state)[:3]}.")
    model = backbones.build(config)
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(_layer_weights(layer, state, _released_name(layer.name)))
    return model, config


def _released_name(layer: str) -> str:
    """The released code's name of a backbone's layer."""
    if layer in (others := {"stem": "conv1", "head_norm": "bn1"}):
        return others[layer]
    if m := re.fullmatch(r"block(\d)_(conv|norm)", layer):
        return f"conv_blocks.{m[1]}.layers.{'Conv' if m[2] == 'conv' else 'BatchNorm'}"
    group, block, part = re.fullmatch(r"group(\d)_block(\d+)_(.*)", layer).groups()
    part = {"1_norm": "bn1", "2_norm": "bn2", "shortcut": "convShortcut"}.get(part, part)
    return f"block{int(group) + 1}.layer.{block}.{part}"


def head(state: State, num_steps: int, inner_learning_rate: float, channels: int | None) -> SIB:
    """Builds the SIB model of a PyTorch state, with K steps of eta (which no file says; the released code's is 1e-3).

    The released code flattens the features of a conv4 backbone, which has so many `channels`, in [channel, height,
    width] order: the learned vector a is put into our [height, width, channel] order. None: no order to change.
    """
    scale = _get(state, "wnLayerFavg.weight", axes=1)
    if channels is not None:
        if len(scale) % channels or math.isqrt(len(scale) // channels) ** 2 * channels != len(scale):
            raise InputError(
                f"checkpoint has a head for features of length {len(scale)}, which is not {channels} squares, as its "
                "backbone gives."
            )
        scale = channels_last(scale, channels)
    config = SIBConfig(
        feature_dim=len(scale),
        way=len(_get(state, "dni.layer3.bias", axes=1)),
        num_steps=num_steps,
        inner_learning_rate=inner_learning_rate,
        hidden_units=len(_get(state, "dni.layer1.0.bias", axes=1)),
    )
    model = SIB(config)
    model.build()
    model.initialization.feature_scale.assign(scale)
    for variable, name in ((model.logit_scale, "scale_cls"), (model.logit_bias, "bias")):
        variable.assign(_checked(_get(state, name), (1,), name)[0])
    network = model.gradient_networks[0]
    layers = (network.dense1, network.norm1, network.dense2, network.norm2, network.dense3)
    names = ("dni.layer1.0", "dni.layer1.2", "dni.layer2.0", "dni.layer2.2", "dni.layer3")
    for layer, name in zip(layers, names, strict=True):
        layer.set_weights(_layer_weights(layer, state, name))
    return model


def channels_last(features: np.ndarray, channels: int) -> np.ndarray:
    """Reorders flattened features `[..., channels * side * side]` from [C, H, W] to [H, W, C]."""
    side = int((features.shape[-1] // channels) ** 0.5)
    square = features.reshape(*features.shape[:-1], channels, side, side)
    return np.moveaxis(square, -3, -1).reshape(features.shape)


def _layer_weights(layer: keras.layers.Layer, state: State, name: str) -> list[np.ndarray]:
    """A layer's weights from PyTorch's of that `name`, in Keras's layout."""
    parts = ("weight", "bias", "running_mean", "running_var")[: len(layer.weights)]
    values = [_get(state, f"{name}.{part}", 4 if isinstance(layer, keras.layers.Conv2D) else None) for part in parts]
    values[0] = values[0].T if values[0].ndim < 4 else values[0].transpose(2, 3, 1, 0)
    return [_checked(v, w.shape, name) for v, w in zip(values, layer.weights, strict=True)]


def _get(state: State, name: str, axes: int | None = None) -> np.ndarray:
    if name not in state:
        raise InputError(f"checkpoint lacks {name}; it is not a whole file of the released code.")
    if axes is not None and state[name].ndim != axes:
        raise InputError(f"checkpoint has {name} of shape {state[name].shape}; {axes} axes are needed.")
    return state[name]


def _checked(value: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    if value.shape != tuple(shape):
        raise InputError(f"checkpoint has {name} of shape {value.shape}; {tuple(shape)} is needed.")
    return value


def _size(what: str, value: int) -> int:
    """Checked before a model of that size is built: what a file claims need not be there."""
    if not 1 <= value <= _MOST:
        raise InputError(f"checkpoint has {what} {value}; backbones of the released code have 1 to {_MOST}.")
    return value


def _arrays(state, path) -> dict[str, np.ndarray]:
    try:
        arrays = {name.removeprefix("module."): value.numpy() for name, value in state.items()}
    except (AttributeError, TypeError, RuntimeError) as error:  # No tensor, or of a kind that NumPy has not.
        raise InputError(
            f"checkpoint {path} holds values that are not arrays of numbers, as a state of training does; name "
            "netFeatBest, netSIBBest or netFeat.pth."
        ) from error
    for name, value in arrays.items():
        if not np.isfinite(value).all():
            raise InputError(f"checkpoint {path} has numbers in {name} that are not finite; get it again.")
    return arrays
