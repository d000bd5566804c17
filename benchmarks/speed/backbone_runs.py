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
# Pictures a step: the released batch; a wide network's steps are long enough at fewer.
_BATCHES = {"conv4": 64, "wide_resnet": 8}
_WORDS = {"conv4": "Conv-4-64", "wide_resnet": "WRN-28-10"}


def training(rounds: int, names: tuple[str, ...] = ("conv4", "wide_resnet")) -> Comparison:
    """Times training steps, all of a step but augmentation."""
    return _compare(
        "Training a backbone", "forward, backward and the optimiser's step", rounds, names, _training, _torch_training
    )


def inference(rounds: int, names: tuple[str, ...] = ("conv4", "wide_resnet")) -> Comparison:
    """Times embedding pictures."""
    return _compare(
        "Embedding pictures", "inference, as features are extracted", rounds, names, _inference, _torch_inference
    )


def _compare(title: str, work: str, rounds: int, names, ours, peer) -> Comparison:
    times, ratios = {}, {}
    for name in names:
        batch = _BATCHES[name]
        contestants = {
            OURS: ours(name, batch, "float32"),
            f"{OURS}, bfloat16": ours(name, batch, "mixed_bfloat16"),
            PEER: peer(name, batch),
        }
        setting = f"{_WORDS[name]}, {batch} pictures"
        times[setting] = timing.in_turns(contestants, rounds)
        ratios[setting] = [(PEER, OURS), (f"{OURS}, bfloat16", OURS)]
    return Comparison(
        title,
        f"32 px, {work}; batches are in memory. The peer is the same network in PyTorch, channels last, float32; both "
        "use all cores. bfloat16: mixed precision, weights in float32; it is meant for accelerators.",
        "picture",
        times,
        ratios,
    )


def _model(name: str, precision: str) -> tuple[keras.Model, keras.Model]:
    keras.config.set_dtype_policy(precision)
    try:
        config = BackboneConfig(name=name, width=64 if name == "conv4" else 10)
        backbone = backbones.build(config)
        return backbone, keras.Sequential([backbone, CosineClassifier(_CLASSES, dtype="float32")])
    finally:
        keras.config.set_dtype_policy("float32")


def _training(name: str, batch: int, precision: str) -> Contestant:
    _, model = _model(name, precision)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(CoupledDecaySGD(0.01, coupled_weight_decay=5e-4), loss, jit_compile=False)
    images, labels = tf.constant(pictures(batch), tf.float32), tf.constant(np.arange(batch) % _CLASSES)
    steps = max(64 // batch // 8, 1)

    def run():
        for _ in range(steps):
            model.train_on_batch(images, labels)

    return Contestant(run, steps * batch)


def _inference(name: str, batch: int, precision: str) -> Contestant:
    backbone, _ = _model(name, precision)
    images = tf.constant(pictures(batch), tf.float32)
    forward = tf.function(lambda x: backbone(x, training=False), autograph=False)
    return Contestant(lambda: forward(images).numpy(), batch)


def _torch_training(name: str, batch: int) -> Contestant:
    import torch

    from benchmarks.speed import torch_backbones

    network = torch_backbones.build(name, _CLASSES).to(memory_format=torch.channels_last).train()
    outer = torch.optim.SGD(network.parameters(), 0.01, 0.9, weight_decay=5e-4, nesterov=True)
    images, labels = _torch_pictures(batch), torch.arange(batch) % _CLASSES

    def run():
        outer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        outer.step()

    return Contestant(run, batch)


def _torch_inference(name: str, batch: int) -> Contestant:
    import torch

    from benchmarks.speed import torch_backbones

    network = torch_backbones.build(name).to(memory_format=torch.channels_last).eval()
    images = _torch_pictures(batch)

    def run():
        with torch.inference_mode():
            return network(images)

    return Contestant(run, batch)


def _torch_pictures(batch: int):
    import torch

    images = torch.from_numpy(pictures(batch)).permute(0, 3, 1, 2).float()
    return images.contiguous(memory_format=torch.channels_last)
