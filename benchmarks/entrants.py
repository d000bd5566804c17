"""Who takes part in a setting: peers with their authors' constants and with tuned ones, and meta-trained SIB models."""

import dataclasses
import functools
import os
from collections.abc import Iterable
from pathlib import Path

import tensorflow as tf

from benchmarks.measurement import Method, sib_method
from benchmarks.peers import PEERS, authors
from benchmarks.settings import Setting
from sib_tf import runs
from sib_tf.errors import InputError
from sib_tf.features import FeatureCache, weights_fingerprint
from sib_tf.storage import atomic

META_TRAINED = "meta-trained"


@dataclasses.dataclass(frozen=True, eq=False)
class Entrant:
    """A method as it takes part.

    Attributes:
        name: of the peer or the model.
        constants: "authors", "tuned" (on a mixture of balanced and imbalanced validation episodes), "tuned to setting"
            (on validation episodes of the setting's own kind) or "meta-trained".
        config: JSON values that say what is measured; equal ones need not be measured again.
        method: what is measured.
    """

    name: str
    constants: str
    config: dict
    method: Method

    @property
    def label(self) -> str:
        """Name and constants, unique within a setting."""
        return self.name if self.constants == META_TRAINED else f"{self.name}, {self.constants}"


def models(given: Iterable[str], cache: FeatureCache, way: int | None = None) -> list[Entrant]:
    """Loads the models that `--models` names, `given` as name=FOLDER, that take `way` classes; None: all.

    An InputError says what is wrong with a text, a name given twice or that of a peer, or a model of other features.
    """
    found: dict[str, Entrant | None] = {}
    for text in given:
        name, _, folder = text.partition("=")
        if not name or not folder or name in found or name in PEERS:
            raise InputError(f"models must be name=FOLDER pairs with names of their own; got {text!r}.")
        found[name] = _model(name, folder, cache, way)
    return [entrant for entrant in found.values() if entrant]


def _model(name: str, folder: str, cache: FeatureCache, way: int | None) -> Entrant | None:
    sib, record = runs.load_model(folder, cache.manifest["backbone"]["weights"], f"those in {cache.folder}")
    if way is not None and not sib.config.takes_way(way):
        return None
    config = {
        "folder": Path(folder).resolve().name,  # Without the way there.
        "model": {**dataclasses.asdict(sib.config), "weights": weights_fingerprint(sib)},
        "episodes": record.get("meta_training", {}).get("episodes", {}),
    }
    return Entrant(name, META_TRAINED, config, sib_method(sib))


def load_tuned(path: str | os.PathLike | None, cache: FeatureCache) -> dict | None:
    """Reads what `benchmarks.tune_peers` wrote, of these very features; None without a path."""
    if path is None:
        return None
    record = atomic.read_json(path, "tuned")
    if not isinstance(record, dict) or "chosen" not in record:
        raise InputError(f"tuned {path} holds no constants; write it with benchmarks.tune_peers.")
    if record.get("features") != cache.identity:
        raise InputError(f"tuned {path} is of other features than {cache.folder}; run benchmarks.tune_peers on these.")
    return record["chosen"]


def peers(names: Iterable[str], tuned: dict | None, setting: Setting, base_mean: tf.Tensor) -> list[Entrant]:
    """The peers of `names`, with every kind of constants there is for `setting`."""
    shot = setting.spec.shot[1]
    imbalanced = setting.group in ("imbalance", "missing_classes") and setting.value != "balanced"
    kinds = {"tuned": "mixture", "tuned to setting": "dirichlet" if imbalanced else "balanced"}
    found = []
    for name in names:
        own = {"authors": authors(name, shot)}
        for constants, kind in kinds.items() if tuned else ():
            # What has no constants cannot be tuned.
            if chosen := tuned[kind]["1" if shot == 1 else "5"].get(name):
                own[constants] = PEERS[name](**chosen)
        for constants, peer in own.items():
            method = functools.partial(peer, base_mean=base_mean)
            found.append(Entrant(name, constants, dataclasses.asdict(peer), method))
    return found
