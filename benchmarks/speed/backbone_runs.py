"""Training and inference of backbones at 32 pixels, in single and half precision, beside the same ones in PyTorch."""

import keras
import numpy as np
import tensorflow as tf

from benchmarks.speed import timing
from benchmarks.speed.head_steps import OURS, PEER
from benchmarks.speed.synthetic import pictures
from benchmarks.speed.timing import Comparison, Contestant
from sib_tf import backbones
from sib_tf.config import BackboneConfig
from sib_tf.layers import CosineClassifier
from sib_tf.optimizers import CoupledDecaySGD

_CLASSES = 64
# Words, width, and pictures a step: the released batch; a wide network's steps are long enough at fewer.
_BACKBONES = {"conv4": ("Conv-4-64", 64, 64), "wide_resnet": ("WRN-28-10", 10, 8)}


def training(rounds: int) -> Comparison:
    """Times training steps, all of a step but augmentation."""
    return _compare(rounds, _training, _torch_training)


def inference(rounds: int) -> Comparison:
    """Times embedding pictures."""
    return _compare(rounds, _inference, _torch_inference)


def _compare(rounds: int, ours, peer) -> Comparison:
    times, ratios = {}, {}
    half = f"{OURS}, bfloat16"
    for name, (words, _, batch) in _BACKBONES.items():
        contestants = {}
        for label, precision in ((OURS, "float32"), (half, "bfloat16")):
            backbone = backbones.build(_config(name, precision))
            contestants[label] = ours(backbone, batch)
        contestants[PEER] = peer(name, batch)
        setting = f"{words}, {batch} pictures"
        times[setting] = timing.in_turns(contestants, rounds)
        ratios[setting] = [(PEER, OURS), (half, OURS)]
    return Comparison("picture", times, ratios)


def _config(name: str, precision: str = "float32") -> BackboneConfig:
    normalization = {"mean": (120.0,) * 3, "std": (70.0,) * 3}
    return BackboneConfig(name=name, width=_BACKBONES[name][1], precision=precision, **normalization)


def _training(backbone: keras.Model, batch: int) -> Contestant:
    model = keras.Sequential([backbone, CosineClassifier(_CLASSES)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(CoupledDecaySGD(0.01, coupled_weight_decay=5e-4), loss, jit_compile=False)
    images, labels = tf.constant(pictures(batch), tf.float32), tf.constant(np.arange(batch) % _CLASSES)
    return Contestant(lambda: model.train_on_batch(images, labels), batch)


def _inference(backbone: keras.Model, batch: int) -> Contestant:
    images = tf.constant(pictures(batch), tf.float32)
    forward = tf.function(lambda x: backbone(x, training=False), autograph=False)
    return Contestant(lambda: forward(images).numpy(), batch)


def _torch_training(name: str, batch: int) -> Contestant:
    import torch

    network, images = _in_torch(name, batch, _CLASSES)
    outer = torch.optim.SGD(network.train().parameters(), 0.01, 0.9, weight_decay=5e-4, nesterov=True)
    labels = torch.arange(batch) % _CLASSES

    def run():
        outer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        outer.step()

    return Contestant(run, batch)


def _torch_inference(name: str, batch: int) -> Contestant:
    import torch

    network, images = _in_torch(name, batch)
    forward = torch.inference_mode()(network.eval())
    return Contestant(lambda: forward(images), batch)


def _in_torch(name: str, batch: int, classes: int | None = None):
    """The network in PyTorch, and pictures as it takes them."""
    import torch

    from sib_tf.torch_pretraining import networks

    network = networks.build(_config(name))
    if classes is not None:
        network = torch.nn.Sequential(network, networks.CosineClassifier(network.dim, classes))
    images = torch.from_numpy(pictures(batch)).permute(0, 3, 1, 2).float()
    return network.to(memory_format=torch.channels_last), images.contiguous(memory_format=torch.channels_last)
