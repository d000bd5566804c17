"""Who takes part in a setting: peers with their authors' constants and with tuned ones, and meta-trained SIB models."""

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

import tensorflow as tf

from benchmarks.measurement import Method, peer_method, sib_method
from benchmarks.peers import PEERS, SLOW, Peer, authors
from benchmarks.settings import Setting
from sib_tf import runs
from sib_tf.errors import InputError
from sib_tf.features import FeatureCache, weights_fingerprint
from sib_tf.sib import SIB
from sib_tf.storage import atomic


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
        return self.name if self.constants == "meta-trained" else f"{self.name}, {self.constants}"

    @property
    def slow(self) -> bool:
        """Whether it is measured on fewer episodes."""
        return self.name in SLOW


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A meta-trained SIB model.

    Attributes:
        name: as tables call it.
        folder: name of its folder, without the way there.
        sib: the model.
        trained_on: its training episodes in words; empty where the folder does not say.
    """

    name: str
    folder: str
    sib: SIB
    trained_on: dict

    def fits(self, setting: Setting) -> bool:
        """Whether the model takes the setting's way."""
        return self.sib.config.fixed_way is None or setting.spec.way == (self.sib.config.way,) * 2

    def entrant(self) -> Entrant:
        """The model as it takes part."""
        config = {**dataclasses.asdict(self.sib.config), "weights": weights_fingerprint(self.sib)}
        return Entrant(
            self.name,
            "meta-trained",
            {"folder": self.folder, "model": config, "episodes": self.trained_on},
            sib_method(self.sib),
        )


def load_models(given: Iterable[str], cache: FeatureCache) -> list[Model]:
    """Loads the models that `--models` names.

    Args:
        given: texts of the form name=FOLDER, each folder that of a meta-training.
        cache: the features that they are measured on.

    Raises:
        InputError: a text of another form, a name given twice or that of a peer, or a model of other features.
    """
    models: dict[str, Model] = {}
    for text in given:
        name, _, folder = text.partition("=")
        if not name or not folder or name in models or name in PEERS:
            raise InputError(f"models must be name=FOLDER pairs with names of their own; got {text!r}.")
        models[name] = _load(name, folder, cache)
    return list(models.values())


def _load(name: str, folder: str | os.PathLike, cache: FeatureCache) -> Model:
    sib, record = runs.load_model(folder)
    runs.check_backbone(record, cache.manifest["backbone"]["weights"], folder, f"those in {cache.folder}")
    if sib.config.feature_dim != cache.feature_dim:
        raise InputError(
            f"The model in {folder} takes features of length {sib.config.feature_dim}; those in {cache.folder} have "
            f"{cache.feature_dim}. Name features of the backbone that it was meta-trained with."
        )
    training = record.get("meta_training")
    return Model(name, Path(folder).resolve().name, sib, training["episodes"] if isinstance(training, dict) else {})


def load_tuned(path: str | os.PathLike | None, cache: FeatureCache) -> dict | None:
    """Reads what `benchmarks.tune_peers` wrote; None without a path.

    Raises:
        InputError: the file is none of these, or of other features.
    """
    if path is None:
        return None
    record = atomic.read_json(path, "tuned")
    if not isinstance(record, dict) or "chosen" not in record:
        raise InputError(f"tuned {path} holds no constants; write it with benchmarks.tune_peers.")
    if record.get("features") != cache.identity:
        raise InputError(f"tuned {path} is of other features than {cache.folder}; run benchmarks.tune_peers on these.")
    return record["chosen"]


def peer_entrants(names: Iterable[str], tuned: dict | None, setting: Setting, base_mean: tf.Tensor) -> list[Entrant]:
    """The peers of `names`, with every kind of constants there is for `setting`."""
    shot = setting.spec.shot[1]
    found = []
    for name in names:
        found.append(_entrant(name, "authors", authors(name, shot), base_mean))
        # What has no constants cannot be tuned.
        for constants, kind in _TUNED.items() if tuned and dataclasses.fields(PEERS[name]) else ():
            kind = kind or _kind(setting)
            chosen = tuned[kind]["1" if shot == 1 else "5"].get(name)
            if chosen is not None:
                found.append(_entrant(name, constants, PEERS[name](**chosen), base_mean))
    return found


_TUNED = {"tuned": "mixture", "tuned to setting": None}


def _kind(setting: Setting) -> str:
    """Which of the tuned kinds of episodes is the setting's own."""
    return "dirichlet" if setting.value != "balanced" and setting.group in _IMBALANCED else "balanced"


_IMBALANCED = ("imbalance", "missing_classes")


def _entrant(name: str, constants: str, peer: Peer, base_mean: tf.Tensor) -> Entrant:
    return Entrant(name, constants, dataclasses.asdict(peer), peer_method(peer, base_mean))
