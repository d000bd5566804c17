"""Where training starts: conv4, or keras-hub's ResNet-18 (He et al., CVPR 2016), and its weights.

keras-hub is an extra, imported only where its ResNet-18 is asked for.
"""

import os
from pathlib import Path

import keras
import numpy as np

from sib_tf import backbones, checkpoints
from sib_tf.config import BackboneConfig
from sib_tf.datasets.loading import channel_statistics
from sib_tf.errors import InputError, first_line
from sib_tf.zero_shot.config import DomainAdaptationConfig
from sib_tf.zero_shot.domain_adaptation.tasks import Sources

PRESET = "resnet_18_imagenet"
# Of that preset; written down, so that random weights need no network.
_RESNET18 = {
    "input_conv_filters": [64],
    "input_conv_kernel_sizes": [7],
    "stackwise_num_filters": [64, 128, 256, 512],
    "stackwise_num_blocks": [2, 2, 2, 2],
    "stackwise_num_strides": [1, 2, 2, 2],
    "block_type": "basic_block",
    "use_pre_activation": False,
}
# ImageNet's, RGB, 0-255: what the weights were trained with.
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def build(config: DomainAdaptationConfig, sources: Sources, weights: str) -> keras.Model:
    """Builds a backbone that is trained: pictures `[pictures, size, size, 3]` (RGB, 0-255) -> features `[pictures, F]`.

    conv4 is normalised by the training pictures of `sources`, ResNet-18 by ImageNet's. `weights`: "imagenet" (resnet18
    only), "random", or a .keras or .weights.h5 file of the same backbone.

    Raises:
        InputError: keras-hub is not installed, or the weights cannot be had or do not fit.
    """
    size = sources.target.shape[1]
    if config.backbone == "resnet18":
        model = _resnet18(size, weights)
    elif weights == "imagenet":
        raise InputError(f"weights=imagenet is for backbone=resnet18; got {config.backbone}: --weights=random.")
    else:
        statistics = [channel_statistics(rows.pictures.images[rows.rows]) for rows in sources.train.values()]
        mean, std = (tuple(map(float, each)) for each in np.mean(statistics, axis=0))
        model = backbones.build(BackboneConfig(width=config.width, image_size=size, mean=mean, std=std))
    if weights not in ("imagenet", "random"):
        _load_file(model, Path(weights))
    return model


def imported(folder: str | os.PathLike | None, image_size: int | None) -> keras.Model:
    """Loads a backbone that is not trained, of `train.import_backbone` or `train.pretrain`.

    Raises:
        InputError: there is none, or `image_size` is given and is not its own.
    """
    if folder in (None, "imagenet", "random") or not Path(folder).is_dir():
        raise InputError(
            "weights must be the folder of train.import_backbone or train.pretrain for backbone=imported; got "
            f"{folder}."
        )
    model, config = backbones.load(folder)
    if image_size not in (None, config.image_size):
        raise InputError(f"image_size is that of the imported backbone, {config.image_size}; got {image_size}.")
    return model


def _resnet18(size: int, weights: str) -> keras.Model:
    try:
        import keras_hub
    except ImportError as error:
        raise InputError(
            f"backbone=resnet18 needs keras-hub, which cannot be imported ({first_line(error)}): "
            "pip install 'sib_tf[domains]', or --backbone=conv4."
        ) from error
    if weights == "imagenet":
        try:
            resnet = keras_hub.models.Backbone.from_preset(PRESET)
        except Exception as error:  # Network, disk, Kaggle, Hugging Face: each raises its own.
            raise InputError(
                f"weights=imagenet: {PRESET} cannot be fetched ({first_line(error)}); name a file with "
                "--weights=FILE, or --weights=random."
            ) from error
    else:
        resnet = keras_hub.models.ResNetBackbone(**_RESNET18)
    pictures = keras.Input((size, size, 3), name="pictures")
    x = keras.layers.Normalization(mean=_MEAN, variance=np.square(_STD), name="normalise")(pictures)
    return keras.Model(pictures, keras.layers.GlobalAveragePooling2D(name="feature")(resnet(x)), name="resnet18")


def _load_file(model: keras.Model, path: Path) -> None:
    if not path.is_file():
        raise InputError(f"weights must be imagenet, random or a file; there is no file {path}.")
    if not path.name.endswith((".keras", ".weights.h5")):
        raise InputError(f"weights must be a .keras or .weights.h5 file; got {path}.")
    try:
        if path.suffix == ".keras":
            model.set_weights(checkpoints.load_model(path).get_weights())
        else:
            model.load_weights(path)
    except Exception as error:  # Keras raises many kinds for a damaged file or another model's.
        reason = f"{path} holds no weights for {model.name} ({first_line(error)}); name another file."
        raise InputError(reason) from error
