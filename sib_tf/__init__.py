"""Transductive few-shot learning with synthetic gradients (SIB, Hu et al., ICLR 2020) in Keras and TensorFlow."""

import importlib

__version__ = "0.1.0"

# The public names, and the module of each. Modules load when a name is first asked for: most need TensorFlow.
_PUBLIC = {
    "InputError": "errors",
    "BackboneConfig": "config",
    "EpisodeSpec": "config",
    "MetaTrainConfig": "config",
    "PretrainConfig": "config",
    "SIBConfig": "config",
    "SIB": "sib",
    "Episode": "episodes",
    "EpisodeSampler": "episodes",
    "FeatureCache": "features",
    "extract": "features.extraction",
    "pretrain": "pretraining",
    "meta_train": "meta_training",
    "calibrate": "calibration",
    "meta_test": "reports.meta_test",
    "load_dataset": "datasets",
    "SIBClassifier": "estimator.classifier",
    "LiteRTModel": "prediction.litert",
    "LiteRTClassifier": "prediction.litert",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'sib_tf' has no attribute {name!r}")
    module = importlib.import_module(f"sib_tf.{_PUBLIC[name]}")
    return getattr(module, "load" if name == "load_dataset" else name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
