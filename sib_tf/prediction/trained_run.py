"""A trained pair, backbone and SIB model, from its folders, and what every exported file says about it."""

import dataclasses
import os
from pathlib import Path

import keras

from sib_tf import backbones, calibration, runs
from sib_tf.calibration import Calibration
from sib_tf.config import BackboneConfig, backbone_name
from sib_tf.distributions import MOST_CLASSES
from sib_tf.errors import InputError
from sib_tf.features import weights_fingerprint
from sib_tf.prediction.description import FORMAT
from sib_tf.prediction.signatures import Signatures
from sib_tf.sib import SIB
from sib_tf.storage import atomic, run_records


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A backbone and the SIB model that was meta-trained on its features.

    Attributes:
        backbone, backbone_config: stage 1; None where the head is all that is loaded.
        sib: stage 2, the best on validation.
        origin: the backbone's name and the fingerprint of its weights, as descriptions have them.
        dataset: name of the data set that it was trained on: the backbone, or, where its record does not say (it was
            imported), the SIB model; None where neither does.
        calibration: of the SIB model; None where there is none.
        samples: S, of a gaussian posterior, that exported files classify with; 0: its mean.
    """

    backbone: keras.Model | None
    backbone_config: BackboneConfig | None
    sib: SIB
    origin: dict
    dataset: str | None
    calibration: Calibration | None = None
    samples: int = 0

    def signatures(self) -> Signatures:
        """Returns what an exported file of this run computes."""
        return Signatures(self.backbone, self.sib, self.calibration, self.samples)

    def description(self) -> dict:
        """JSON values that runners and model cards read: pictures, steps, limits, origin."""
        sib = self.sib.config
        return {
            "format": FORMAT,
            **self._input(),
            "feature_dim": sib.feature_dim,
            "weights_dim": self.signatures().weights_dim,
            "posterior_samples": self.samples,
            "fixed_way": sib.fixed_way,
            "way": sib.fixed_way,
            # Of sampled posteriors: their noise is a table.
            "most_classes": MOST_CLASSES if sib.posterior == "gaussian" else None,
            "num_steps": sib.num_steps,
            "inner_learning_rate": sib.inner_learning_rate,
            "gradient_network": sib.gradient_network,
            "step_reduction": sib.step_reduction,
            "backbone": self.origin,
            "trained_on": self.dataset,
            "calibrated": self.calibration is not None,
            # Offset and slope of `sib_tf.prediction.open_set.probability`.
            "known": list(self.calibration.known) if self.calibration and self.calibration.known else None,
            "labels": "none built in: classes are numbered by the episode that is adapted to",
        }

    def _input(self) -> dict:
        """What a description says of the input."""
        backbone = self.backbone_config
        if backbone is None:
            return {"head_only": True, "image_size": None, "input": "features of the backbone, which is not inside"}
        return {
            "head_only": False,
            "image_size": backbone.image_size,
            "larger": backbone.larger,
            "input": "RGB pictures, 0 to 255; the file normalises them itself",
            # Of an imported backbone it is not known: any preprocessing may be inside.
            "normalization": None if backbone.source else {"mean": list(backbone.mean), "std": list(backbone.std)},
        }


def load(model_dir: str | os.PathLike, backbone_dir: str | os.PathLike, samples: int = 0) -> Run:
    """Loads both stages and checks that they belong together; `samples` as in `Run`.

    Raises:
        InputError: a folder lacks its model, the SIB model was meta-trained on another backbone's features, or it has
            no posterior to sample from.
    """
    backbone, config = backbones.load(backbone_dir)
    weights = weights_fingerprint(backbone)
    other, dim = f"that in backbone_dir {backbone_dir}", backbone.output_shape[-1]
    head = load_head(model_dir, dim, weights, other, samples, config.image_size)
    backbone = backbones.in_float32(backbone, config)  # Devices have no kernels for half precision of this kind.
    trained_on = atomic.read_json(Path(backbone_dir) / run_records.CONFIG, "Configuration").get("dataset")
    width = None if config.source else config.width
    name = backbone_name(config.name, config.averaged_views)
    origin = {"name": name, "source": config.source, "width": width, "averaged_views": config.averaged_views}
    origin |= {"weights": weights_fingerprint(backbone)}
    dataset = _name(trained_on) or head.dataset
    return dataclasses.replace(head, backbone=backbone, backbone_config=config, origin=origin, dataset=dataset)


def load_head(
    model_dir: str | os.PathLike,
    feature_dim: int | None,
    weights: str | None = None,
    other: str = "",
    samples: int = 0,
    image_size: int | None = None,
) -> Run:
    """Loads stage 2 without its backbone, for features of length `feature_dim`, or None: any; `samples` as in `Run`.

    `weights`, `other` and `image_size` are those of `runs.load_model`.

    Raises:
        InputError: as `load`, or the model was built for one length only.
    """
    sib, record = runs.load_model(model_dir, weights, other, image_size)
    if feature_dim is None and sib.config.feature_dim is not None:
        raise InputError(
            f"feature_dim must be {sib.config.feature_dim} for the model in {model_dir}, which was built for features "
            "of that length; got any. Train one with --any_feature_dim, or with several --features_dir."
        )
    if samples and sib.config.posterior != "gaussian":
        raise InputError(
            f"posterior_samples must be 0 for a model with posterior={sib.config.posterior}; got {samples}."
        )
    features = record["features"] if isinstance(record.get("features"), dict) else {}
    fitted = calibration.load(model_dir, weights_fingerprint(sib))
    sib = sib if feature_dim is None else sib.bound(feature_dim)
    return Run(None, None, sib, features.get("backbone"), _name(features.get("dataset")), fitted, samples)


def _name(dataset: dict | None) -> str | None:
    """The name in a record of a data set; imported models have none."""
    return dataset.get("name") if isinstance(dataset, dict) else None
