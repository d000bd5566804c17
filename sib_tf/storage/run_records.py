"""Whose run a folder holds: the `config.json` that says all that is needed to do it again."""

import dataclasses
import json
import os
from pathlib import Path

from sib_tf.config import BackboneConfig, EpisodeSpec, MetaTrainConfig, PretrainConfig, SIBConfig
from sib_tf.errors import InputError
from sib_tf.storage import atomic

CONFIG = "config.json"
# Parts of records, which had fewer settings in earlier versions.
_SETTINGS = {
    "backbone": BackboneConfig,
    "pretraining": PretrainConfig,
    "model": SIBConfig,
    "meta_training": MetaTrainConfig,
}


def claim_folder(folder: str | os.PathLike, record: dict) -> None:
    """Makes `folder` the home of the run that `record` (JSON values) describes; an InputError if it is another's.

    Settings that there were not yet when the folder's record was written are at their defaults in it.
    """
    path = Path(folder) / CONFIG
    if not path.exists():
        atomic.write_json(path, record)
        return
    defaults = _flat({name: dataclasses.asdict(kind()) for name, kind in _SETTINGS.items() if name in record})
    found, wanted = defaults | _flat(atomic.read_json(path, "Configuration")), _flat(record)
    differing = [name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]
    if differing:
        changes = ", ".join(f"{n}: {found.get(n)} there, {wanted.get(n)} asked" for n in differing[:4])
        raise InputError(f"{folder} holds a run with other settings ({changes}); name another folder or remove it.")


def _flat(value, prefix: str = "") -> dict:
    """Settings by their dotted names; as JSON gives them back, where tuples become lists."""
    if isinstance(value, dict):
        return {k: v for name, inner in value.items() for k, v in _flat(inner, f"{prefix}{name}.").items()}
    if isinstance(value, list | tuple) and all(isinstance(each, dict) for each in value):
        # Specifications of a mixture had fewer settings too.
        value = [dataclasses.asdict(EpisodeSpec()) | each for each in value]
    return {prefix.rstrip("."): json.loads(json.dumps(value))}
