"""Where training starts: the backbone of a run and its weights."""

from pathlib import Path

import keras
import numpy as np

from sib_tf import backbones, checkpoints
from sib_tf.config import BackboneConfig
from sib_tf.datasets.loading import channel_statistics
from sib_tf.errors import InputError
from sib_tf.zero_shot.config import DomainAdaptationConfig
from sib_tf.zero_shot.domain_adaptation import resnet18
from sib_tf.zero_shot.domain_adaptation.tasks import Sources


def backbone(config: DomainAdaptationConfig, sources: Sources, weights: str) -> keras.Model:
    """Builds the backbone: pictures `[pictures, size, size, 3]` (RGB, 0-255) -> features `[pictures, F]`.

    conv4 is normalised by the sources' training pictures, ResNet-18 by ImageNet's.

    Args:
        config: which one.
        sources: whose pictures it will see.
        weights: "imagenet" (resnet18 only), "random", or a .keras or .weights.h5 file of the same backbone.

    Raises:
        InputError: the weights cannot be had or do not fit.
    """
    size = sources.target.shape[1]
    if config.backbone == "resnet18":
        model = resnet18.build(size)
    else:
        statistics = [channel_statistics(rows.pictures.images[rows.rows]) for rows in sources.train.values()]
        mean, std = (tuple(map(float, each)) for each in np.mean(statistics, axis=0))
        model = backbones.build(BackboneConfig(width=config.width, image_size=size, mean=mean, std=std))
    if weights == "imagenet":
        if config.backbone != "resnet18":
            raise InputError(f"weights=imagenet is for backbone=resnet18; got {config.backbone}: --weights=random.")
        resnet18.load_imagenet(model)
    elif weights != "random":
        _load_file(model, Path(weights))
    return model


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
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"{path} holds no weights for {model.name} ({reason}); name another file.") from error
