"""ResNet-18: its size, keras-hub's weights, and weights that cannot be had."""

import sys

import numpy as np
import pytest

from sib_tf.domain_adaptation import resnet18
from sib_tf.errors import InputError


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
