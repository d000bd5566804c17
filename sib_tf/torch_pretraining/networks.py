"""The backbones of the released code in PyTorch, their states under its names, which `sib_tf.released` reads."""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional

from sib_tf.config import BackboneConfig


def build(config: BackboneConfig) -> nn.Module:
    """Builds the backbone that `config` describes, as `sib_tf.backbones.build` does.

    Returns:
        A module `[pictures, 3, image_size, image_size]` (float32, RGB, 0-255) -> `[pictures, D]`. Features of conv4 are
        flattened in [channel, height, width] order (released code).
    """
    network = (_Conv4 if config.name == "conv4" else _WideResNet)(config)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


class CosineClassifier(nn.Module):
    """`sib_tf.layers.CosineClassifier`: `[pictures, D]` -> `[pictures, classes]`."""

    def __init__(self, dim: int, classes: int, initial_scale: float = 10.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, dim))
        self.scale = nn.Parameter(torch.tensor(float(initial_scale)))

    def forward(self, features):
        return self.scale * functional.normalize(features, dim=-1) @ functional.normalize(self.weight, dim=-1).T


class _Backbone(nn.Module):
    """Normalises pictures; its state says with what, and their size, which that of the released code does not."""

    def __init__(self, config: BackboneConfig):
        super().__init__()
        for name in ("mean", "std", "image_size"):
            self.register_buffer(name, torch.tensor(getattr(config, name)))

    def forward(self, pictures):
        mean, std = (value.reshape(3, 1, 1) for value in (self.mean, self.std))
        return self.features((pictures - mean) / std)


class _Conv4(_Backbone):
    def __init__(self, config: BackboneConfig):
        super().__init__(config)
        self.conv_blocks = nn.Sequential(*(_Block(3 if i == 0 else config.width, config.width) for i in range(4)))
        self.dim = config.width * (config.image_size // 16) ** 2

    def features(self, x):
        return self.conv_blocks(x).flatten(1)


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        layers = {"Conv": _conv(inputs, outputs, 3, 1), "BatchNorm": nn.BatchNorm2d(outputs)}
        self.layers = nn.Sequential(OrderedDict(layers | {"MaxPool": nn.MaxPool2d(2), "ReLU": nn.ReLU()}))

    def forward(self, x):
        return self.layers(x)


class _WideResNet(_Backbone):
    def __init__(self, config: BackboneConfig):
        super().__init__(config)
        self.conv1, inputs = _conv(3, 16, 3, 1), 16
        for group, stride in enumerate((1, 2, 2) if config.image_size <= 32 else (2, 2, 2)):
            outputs = 16 * config.width * 2**group
            setattr(self, f"block{group + 1}", _Group((config.depth - 4) // 6, inputs, outputs, stride))
            inputs = outputs
        self.bn1, self.dim = nn.BatchNorm2d(inputs), inputs

    def features(self, x):
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return torch.relu(self.bn1(x)).mean((2, 3), dtype=torch.float32)


class _Group(nn.Module):
    def __init__(self, blocks: int, inputs: int, outputs: int, stride: int):
        super().__init__()
        first, others = _Residual(inputs, outputs, stride), (_Residual(outputs, outputs, 1) for _ in range(blocks - 1))
        self.layer = nn.Sequential(first, *others)

    def forward(self, x):
        return self.layer(x)


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), _conv(inputs, outputs, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs), _conv(outputs, outputs, 3, 1)
        changes_shape = inputs != outputs or stride != 1
        self.convShortcut = _conv(inputs, outputs, 1, stride) if changes_shape else None

    def forward(self, x):
        active = torch.relu(self.bn1(x))
        y = self.conv2(torch.relu(self.bn2(self.conv1(active))))
        return y + (x if self.convShortcut is None else self.convShortcut(active))


def _conv(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
