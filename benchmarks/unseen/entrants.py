"""Who takes part: the head, the one for balanced piles, and every peer, as it is and behind the head's normaliser."""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from benchmarks.measurement import sib_method
from benchmarks.peers import PEERS, UNEM, authors
from benchmarks.peers.scikit_learn import CLASSICAL, ScikitLearn
from benchmarks.unseen import normalizers
from benchmarks.unseen.cells import Cell
from sib_tf import calibration, runs
from sib_tf.calibration import Calibration
from sib_tf.episodes import Episode
from sib_tf.errors import InputError
from sib_tf.features import weights_fingerprint
from sib_tf.sib import SIB

HEAD, BALANCED_HEAD = "head", "balanced head"
BASELINE = "prototypes"
# Every so manieth episode alone is measured, where one takes long.
SPARSE = {"tim_adm": 4, "pt_map": 2, "logistic_regression": 4, "self_training": 20, "alpha_tim": 10, "tim_gd": 10}
_LEAST = 10
# A thousand steps an episode: only by name.
BY_NAME = ("tim_gd", "alpha_tim")
DEFAULT_PEERS = [name for name in (*PEERS, *CLASSICAL) if name not in BY_NAME]


@dataclasses.dataclass(frozen=True, eq=False)
class Entrant:
    """A method as it takes part.

    Attributes:
        name: "head", "balanced head", or that of a peer.
        normalized: whether rows pass through the normaliser first.
        config: JSON values that say what is measured; equal ones need not be measured again.
        scores: (episode of NumPy arrays, way, base mean `[D]`) -> `[episodes, query_rows, way]`.
        takes: whether it can take a cell.
        calibration: of a head that has one.
        steps: K, of a head.
    """

    name: str
    normalized: bool
    config: dict
    scores: Callable[[Episode, int, np.ndarray], np.ndarray]
    takes: Callable[[Cell], bool] = lambda cell: True
    calibration: Calibration | None = None
    steps: int | None = None

    @property
    def label(self) -> str:
        """Unique within a cell."""
        return f"{self.name}, normalised" if self.normalized else self.name

    def count(self, episodes: int) -> int:
        """How many of so many episodes it is measured on."""
        return min(episodes, max(_LEAST, episodes // SPARSE.get(self.name, 1)))


def heads(folder: str, balanced: str | None) -> tuple[list[Entrant], normalizers.Normalizer, str]:
    """The head, and the one for balanced piles if there is one; the head's normaliser, and what it is called."""
    model, entrant = _head(HEAD, folder)
    normalizer = normalizers.of_head(model)
    of_model = normalizer is not normalizers.shrunk_centre
    name = f"of {entrant.config['weights'][:16]}" if of_model else normalizer.__name__
    found = [entrant]
    if balanced is not None:
        found.append(_head(BALANCED_HEAD, balanced)[1])
    return found, normalizer, name


def peers(
    names: Iterable[str], unem: dict[str, UNEM], normalizer: normalizers.Normalizer, called: str
) -> list[Entrant]:
    """Every peer of `names`, with its authors' constants, by itself and behind `normalizer`, which is `called` so.

    `unem` holds the numbers of UNEM for "raw" and for "normalised" rows.
    """
    if unknown := [name for name in names if name not in (*PEERS, *CLASSICAL)]:
        raise InputError(f"peers must be among {', '.join((*PEERS, *CLASSICAL))}; got {', '.join(unknown)}.")
    found = []
    for name in dict.fromkeys([BASELINE, *names]):
        for normalized in (False, True):
            through = normalizer if normalized else None
            config = {"normalizer": called} if normalized else {}
            if name in CLASSICAL:
                found.append(_entrant(name, normalized, CLASSICAL[name](), config, through))
                continue
            if name == "unem":
                methods = {None: unem["normalised" if normalized else "raw"]}
            else:
                # alpha-TIM has constants for 1 shot and for more.
                methods = {shot: authors(name, shot) for shot in ((1, 5) if name == "alpha_tim" else (None,))}
            found += [_entrant(name, normalized, peer, config, through, shot) for shot, peer in methods.items()]
    return found


def _entrant(name, normalized, peer, config, normalizer, shot=None) -> Entrant:
    makes = _eager if isinstance(peer, ScikitLearn) else _traced
    takes = (lambda cell: True) if shot is None else (lambda cell: (cell.shot == "1") == (shot == 1))
    constants = {**dataclasses.asdict(peer), **config}
    return Entrant(name, normalized, constants, makes(peer, normalizer), takes)


def _traced(peer: Callable, normalizer) -> Callable:
    """One graph for every shape of episodes; it is not compiled by XLA, which would take longer than it saves."""
    tf.get_logger().setLevel("ERROR")  # No warning that much is traced: every method is, for every shape.

    @functools.cache
    def of_way(way: int):
        @tf.function(autograph=False)
        def scores(episode, base_mean):
            if normalizer is not None:
                episode, base_mean = normalizer(episode, way), tf.zeros_like(base_mean)
            return peer(episode, way, base_mean)

        return scores

    def call(episode: Episode, way: int, base_mean: np.ndarray) -> np.ndarray:
        return of_way(way)(Episode(*map(tf.constant, episode)), tf.constant(base_mean)).numpy()

    return call


def _eager(peer: ScikitLearn, normalizer) -> Callable:
    if normalizer is None:
        return peer
    normalize = tf.function(normalizer, autograph=False)

    def call(episode: Episode, way: int, base_mean: np.ndarray) -> np.ndarray:
        normalized = normalize(Episode(*map(tf.constant, episode)), way)
        return peer(Episode(*(field.numpy() for field in normalized)), way)

    return call


def _head(name: str, folder: str) -> tuple[SIB, Entrant]:
    model, _ = runs.load_model(folder)
    weights = weights_fingerprint(model)
    config = {"folder": Path(folder).resolve().name, "model": dataclasses.asdict(model.config), "weights": weights}
    model = any_length(model)
    method = sib_method(model)
    return model, Entrant(
        name,
        False,
        config,
        _traced(lambda episode, way, base_mean: method(episode, way), None),
        takes=lambda cell: _takes(model, cell),
        calibration=calibration.load(folder, weights),
        steps=model.config.num_steps,
    )


def _takes(model: SIB, cell: Cell) -> bool:
    feature_dim = model.config.feature_dim
    return feature_dim in (None, cell.data_set.rows.shape[1]) and model.config.takes_way(cell.spec.way[1])


def any_length(model: SIB) -> SIB:
    """A model that was trained on features of one length for those of any; itself if it learned anything of theirs."""
    scale = keras.ops.convert_to_numpy(model.initialization.feature_scale)
    if model.config.feature_dim is None or model.config.prior != "none" or np.ptp(scale):
        return model
    found = SIB(dataclasses.replace(model.config, feature_dim=None), name=model.name)
    found.build()
    for here, there in zip(model.weights, found.weights, strict=True):
        there.assign(keras.ops.reshape(here, (-1,))[0] if here is model.initialization.feature_scale else here)
    return found
