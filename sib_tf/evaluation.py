"""Meta-testing: accuracy after every step k on a fixed list of episodes, with intervals and paired differences."""

import dataclasses
import functools
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from sib_tf import runs
from sib_tf.config import EpisodeSpec, SIBConfig
from sib_tf.episodes import Episode, EpisodeRows, one_by_one
from sib_tf.errors import InputError
from sib_tf.features import FeatureCache, large
from sib_tf.prediction import open_set
from sib_tf.sib import SIB

# Episodes of one compiled call: several cores share a list of a thousand evenly.
_CALL = 50


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """What a model did on a list of episodes.

    Attributes:
        accuracy: `[K + 1, episodes]` float64 in [0, 1]: query accuracy of every episode under theta^k.
        loss: `[episodes]` float64: mean query cross-entropy (nats) under theta^K.
        seconds: wall time, without compiling.
    """

    accuracy: np.ndarray
    loss: np.ndarray
    seconds: float


class Evaluator:
    """Evaluates SIB models on one fixed list of episodes, which `cores` share (None: all); only speed depends on it."""

    def __init__(self, rows: EpisodeRows, cores: int | None = None):
        self.rows, self.cores = rows, cores
        self.way = _way(rows)

    def __call__(self, model: SIB, table) -> Evaluation:
        """Evaluates `model` on features `table` `[pictures, D]` float32 of the episodes' split.

        Raises an InputError if the model's D or way is not that of the table and the episodes.
        """
        self.prepare(model, table)
        table, start = large.held(table), time.perf_counter()
        found = _in_calls(_measuring(model)(self.way), self.rows, table, self.cores).astype(np.float64)
        seconds, queries = time.perf_counter() - start, self.rows.query_mask.sum(axis=1)
        return Evaluation(found[:, :-1].T / queries, found[:, -1] / queries, seconds)

    def prepare(self, model: SIB, table) -> None:
        """Compiles what calling this with the same arguments runs, where it was not compiled before; raises as that."""
        if model.config.feature_dim not in (None, table.shape[1]):
            raise InputError(
                f"The model was built for features of length {model.config.feature_dim}; these have {table.shape[1]}. "
                "Evaluate it on features of the backbone that it was meta-trained with."
            )
        _measuring(model)(self.way)(*_fetched(large.held(table), self.rows.part(0, _CALL)))


# Few models at a time are of interest, but each at all the ways of its lists; lists of the same shape share one.
@functools.lru_cache(maxsize=4)
def _measuring(model: SIB):
    """Of a way: compiles right queries after every k, and their loss (nats, summed) at theta^K: `[episodes, K + 2]`."""
    return functools.cache(functools.partial(_measuring_of_way, model))


def _measuring_of_way(model: SIB, way: int):

    def measure(episode: Episode):
        logits, counts = _logits(model, way, episode), tf.cast(episode.query_mask, tf.float32)
        right = tf.argmax(logits, axis=-1, output_type=tf.int32) == episode.query_labels[:, None]
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(episode.query_labels, logits[:, -1])
        # Sums: whole numbers are exact in float32, their quotients are not.
        figures = tf.concat([tf.cast(right, tf.float32), loss[:, None]], axis=1)
        return tf.reduce_sum(figures * counts[:, None], axis=-1)

    return _compiled(measure)


def _logits(model: SIB, way: int, episode: Episode):
    """Logits of the queries under theta^0 .. theta^K, `[episodes, K + 1, queries, way]`."""
    support, support_labels, support_mask, query, _, query_mask = episode
    path, class_mask = model.adapt(support, support_labels, query, support_mask, query_mask, way)
    return tf.stack([model.classify(theta, query, class_mask) for theta in path], axis=1)


def load(features_dir: str | os.PathLike, model_dir: str | os.PathLike, spec: EpisodeSpec) -> tuple[FeatureCache, SIB]:
    """Opens a feature cache and loads the best model that was meta-trained on features of its backbone.

    Raises an InputError if they do not belong together, or the model does not take the ways of `spec`.
    """
    cache = FeatureCache.open(features_dir)
    made_by, size = cache.manifest["backbone"]["weights"], cache.manifest.get("image_size")
    model, _ = runs.load_model(model_dir, made_by, f"those in {cache.folder}", size)
    model.config.check_takes(spec)
    return cache, model


def _way(rows: EpisodeRows) -> int:
    return int(max(rows.support_labels.max(), rows.query_labels.max())) + 1


def episode_logits(model: SIB, rows: EpisodeRows, table) -> np.ndarray:
    """Returns logits `[K + 1, episodes, queries, way]` of the queries under theta^0 .. theta^K.

    The model takes the way of the episodes; `table` `[pictures, D]` float32 has the features of their split.
    """
    run = _compiled(functools.partial(_logits, model, _way(rows)))
    return _in_calls(run, rows, large.held(table)).swapaxes(0, 1)


def _compiled(function):
    """Compiles `function` of an `Episode`, a float32 tensor with episodes in front: (table, rows) -> that tensor."""

    @tf.function(jit_compile=True, autograph=False)
    def run(table, rows: EpisodeRows):
        return one_by_one(lambda some: function(some.gather(table)), rows)

    return run


def _in_calls(run, rows: EpisodeRows, table, cores: int | None = None) -> np.ndarray:
    """Results of a compiled function for all episodes `rows` of features `table`; every core takes calls."""
    count = len(rows.support)
    size = min(_CALL, count)

    def call(first: int) -> np.ndarray:
        start = min(first, count - size)  # The last call overlaps with the one before, to have the same shape.
        return run(*_fetched(table, rows.part(start, start + size))).numpy()[first - start :]

    with ThreadPoolExecutor(cores or os.cpu_count()) as pool:
        return np.concatenate(list(pool.map(call, range(0, count, size))))


def _fetched(table, rows: EpisodeRows) -> tuple:
    taken, (found,) = large.fetched(table, [rows])
    return taken, found


def evidence_bounds(model: SIB, rows: EpisodeRows, table) -> np.ndarray:
    """Returns the evidence lower bound of every episode's query labels under theta^K, `[episodes]`, in nats.

    E_q[sum over the queries of log p(y | x, w)] - KL(q || p(w)), whatever `kl_weight` the model was trained with. The
    model has a prior and a gaussian posterior (that of a point is minus infinity); `table` as in `episode_logits`.
    """
    run = _compiled(functools.partial(model.negative_bound, way=_way(rows), kl_weight=1.0))
    return -_in_calls(run, rows, large.held(table)).astype(np.float64)


def known_score(logits: np.ndarray, rows: EpisodeRows) -> np.ndarray:
    """Returns `open_set.score` `[episodes, queries]` of logits `[episodes, queries, way]` under theta^0."""
    # Classes that an episode does not have are out of the question.
    of_class = rows.support_labels[..., None] == np.arange(logits.shape[-1])
    present = (of_class & rows.support_mask[..., None]).any(axis=1, keepdims=True)
    centred = logits - open_set.centre(logits, rows.query_mask)
    return open_set.score(np.where(present, centred, -np.inf), 0.0)


def prototypes(feature_dim: int, way: int) -> SIB:
    """The model that classifies by nearest prototypes: SIB with K = 0, untrained."""
    model = SIB(SIBConfig(feature_dim=feature_dim, way=way, num_steps=0))
    model.build()
    return model


def mean_and_ci95(values: np.ndarray) -> tuple[float, float]:
    """Mean of `[episodes]` values and half-width of its 95 % interval, 1.96 * std / sqrt(episodes)."""
    values = np.asarray(values, dtype=np.float64)
    spread = values.std(ddof=1) if len(values) > 1 else 0.0
    return float(values.mean()), float(1.96 * spread / np.sqrt(len(values)))


def summary(evaluation: Evaluation, baseline: Evaluation) -> dict:
    """Returns the figures of `metrics.json`: means and 95 % half-widths over episodes, in [0, 1].

    Differences to `baseline`, nearest prototypes on the same episodes, are paired, episode by episode.
    """
    final, prototype = evaluation.accuracy[-1], baseline.accuracy[-1]
    pairs = {
        ("accuracy", "ci95"): final,
        ("baseline_accuracy", "baseline_ci95"): prototype,
        ("difference", "difference_ci95"): final - prototype,
        ("difference_to_step_0", "difference_to_step_0_ci95"): final - evaluation.accuracy[0],
    }
    result = {}
    for names, values in pairs.items():
        result.update(zip(names, mean_and_ci95(values), strict=True))
    steps = [mean_and_ci95(values) for values in evaluation.accuracy]
    result["accuracy_by_step"], result["ci95_by_step"] = (list(column) for column in zip(*steps, strict=True))
    return {**result, "loss": float(evaluation.loss.mean()), "seconds": evaluation.seconds}


def compare(metrics: dict, accuracy: np.ndarray, other: dict, other_accuracy: np.ndarray) -> dict:
    """The paired difference to another run's accuracies `[episodes]`; an InputError if its episodes are others."""
    if metrics["episode_hash"] != other.get("episode_hash"):
        raise InputError(
            f"compare_to must be of the same episodes ({metrics['episode_hash'][:12]}); it is of "
            f"{str(other.get('episode_hash'))[:12]}. Evaluate both with the same data set, flags and seed."
        )
    if accuracy.shape != other_accuracy.shape:
        raise InputError(
            f"compare_to must have accuracies of {len(accuracy)} episodes; it has {len(other_accuracy)}. Evaluate that "
            "model again."
        )
    difference, half = mean_and_ci95(accuracy - other_accuracy)
    return {"accuracy": other["accuracy"], "difference": difference, "difference_ci95": half}
