"""The two backbones in PyTorch (extra `torch`), layer by layer those of the released code."""

import torch
from torch import nn
from torch.nn import functional


def build(name: str, classes: int | None = None) -> nn.Module:
    """Returns "conv4" (64 filters) or "wide_resnet" (28 layers, ten times as wide); with `classes` a classifier on it."""
    backbone, dim = (_conv4(), 256) if name == "conv4" else (_wide_resnet(), 640)
    layers = [_Normalise(), backbone, nn.Flatten()]
    return nn.Sequential(*layers) if classes is None else nn.Sequential(*layers, _Cosine(dim, classes))


class _Normalise(nn.Module):
    def forward(self, x):
        return (x - 120.0) / 70.0


class _Cosine(nn.Module):
    def __init__(self, dim: int, classes: int):
        super().__init__()
        self.weight, self.scale = nn.Parameter(torch.randn(classes, dim)), nn.Parameter(torch.tensor(10.0))

    def forward(self, x):
        return self.scale * functional.normalize(x, dim=-1) @ functional.normalize(self.weight, dim=-1).T


def _conv4() -> nn.Module:
    blocks = []
    for inputs in (3, 64, 64, 64):
        blocks += [_conv(inputs, 64, 3, 1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*blocks)


def _wide_resnet() -> nn.Module:
    blocks, inputs = [_conv(3, 16, 3, 1)], 16
    for outputs, first_stride in ((160, 1), (320, 2), (640, 2)):
        for block in range(4):
            blocks.append(_Residual(inputs, outputs, first_stride if block == 0 else 1))
            inputs = outputs
    return nn.Sequential(*blocks, nn.BatchNorm2d(640), nn.ReLU(), nn.AdaptiveAvgPool2d(1))


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), _conv(inputs, outputs, 3, stride)
        self.norm2, self.conv2 = nn.BatchNorm2d(outputs), _conv(outputs, outputs, 3, 1)
        self.shortcut = _conv(inputs, outputs, 1, stride) if inputs != outputs else None

    def forward(self, x):
        active = torch.relu(self.norm1(x))
        y = self.conv2(torch.relu(self.norm2(self.conv1(active))))
        return y + (x if self.shortcut is None else self.shortcut(active))


def _conv(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
