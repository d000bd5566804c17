"""ResNet-18: its size, keras-hub's weights, and weights that cannot be had."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from pacs_folder import make_pacs

from sib_tf.commands import cli
from sib_tf.errors import InputError
from sib_tf.zero_shot.domain_adaptation import resnet18
from train import domain_adaptation as entry_point


def test_resnet18_is_the_size_it_should_be():
    """11,176,512 weights that are learned (torchvision's, without its classifier), and 512 features."""
    model = resnet18.build(32)
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == 11_176_512
    assert model.output_shape == (None, 512)


def test_resnet18_takes_the_weights_of_keras_hub():
    """By number, where keras-hub is installed: an untrained model of its own, with statistics that are not 0 and 1."""
    keras_hub = pytest.importorskip("keras_hub")
    hub = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=[2, 2, 2, 2],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        use_pre_activation=False,
        image_shape=(64, 64, 3),
    )
    random = np.random.RandomState(0)
    hub.set_weights([w + np.abs(0.1 * random.normal(size=w.shape)) * (w.ndim == 1) for w in hub.get_weights()])
    model = resnet18.build(64)
    resnet18.copy_weights(hub, model)
    pictures = random.uniform(0, 255, (2, 64, 64, 3)).astype("f")
    expected = hub((pictures - resnet18.MEAN) / resnet18.STD).numpy().mean(axis=(1, 2))
    np.testing.assert_allclose(model(pictures), expected, rtol=1e-3, atol=1e-3)


def test_imagenet_without_keras_hub_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(InputError, match=r"needs keras-hub.*pip install 'sib_tf\[domains\]', name a file"):
        resnet18.load_imagenet(None)


@pytest.mark.slow
def test_resnet18_learns_pacs_from_the_command_line():
    """Two steps of SIB-Rot at 32 pixels, its weights drawn at random: every picture of the target gets a class."""
    make_pacs(Path("data"))
    given = {"dataset": "pacs", "data_dir": "data", "cache_dir": "cache", "target": "photo", "output_dir": "run"}
    given |= {"weights": "random", "image_size": 32, "minibatch": 4, "steps": 2, "validations": 1, "methods": "sib_rot"}
    arguments = [f"--{name}={value}" for name, value in given.items()]
    assert cli.run(entry_point.main, entry_point.FLAGS, "", ["train.domain_adaptation", *arguments]) == 0
    config = json.loads(Path("run/config.json").read_text())["domain_adaptation"]
    assert config["backbone"] == "resnet18" and config["learning_rate"] == 1e-4 and config["mirror"]
    predicted = np.load("run/photo/sib_rot-0/predictions.npz")["chosen"]
    assert predicted.shape == (6, 4) and set(predicted.ravel()) <= set(range(7))
