"""Properties of exported files on generated episodes: a SavedModel's signatures as a server calls them, and runners.

From whatever is finite come finite answers: probabilities that add up to one, exactly none for classes without
labelled pictures, whatever lies in the padding. What has no answer is refused, by the name of the argument. Where a
property does not hold, checks raise an AssertionError.
"""

import functools
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks import untrained
from fuzz import recipes
from fuzz.faults import FAULTS
from sib_tf.errors import InputError
from sib_tf.prediction import trained_run
from sib_tf.prediction.litert import LiteRTModel
from sib_tf.prediction.models import KerasModel, SavedModel

# The squares of anything larger are infinite; it is refused.
MAGNITUDES = tuple(scale for scale in recipes.MAGNITUDES if scale < 1e19)
_SIZE = 32
# Between runtimes, of probabilities. Ordinary episodes; a few queries' statistics enlarge rounding.
_TOLERANCE = 1e-2
_SUM = 1e-5


@functools.cache
def model(folder: Path, kind: str):
    """Runs the tiny per_class model: "Keras", "SavedModel", or "dynamic", "static", "float16" or "int8" of .tflite."""
    run = _run(folder, "per_class")
    if kind == "Keras":
        return KerasModel(run)
    if kind == "SavedModel":
        return SavedModel(_saved(folder, "per_class"))
    sizes = () if kind == "dynamic" else (recipes.WAY, recipes.WAY * recipes.SHOTS, recipes.QUERIES)
    precision = kind if kind in ("float16", "int8") else "float32"
    return LiteRTModel(untrained.write_tflite(run, folder / f"{kind}.tflite", *sizes, precision=precision))


def forget() -> None:
    """Lets go of all that was made."""
    for made in (served, model, _saved, _run):
        made.cache_clear()


@functools.cache
def _saved(folder: Path, kind: str) -> Path:
    return untrained.write_saved_model(_run(folder, kind), folder / f"saved_{kind}")


@functools.cache
def _run(folder: Path, kind: str) -> trained_run.Run:
    return untrained.load_run(untrained.write_run(folder / kind, gradient_network=kind, way=recipes.WAY))


class Served:
    """The signatures of a tiny SavedModel, a "per_class" or "joint" one made in `folder`, called with batches."""

    def __init__(self, folder: Path, kind: str):
        self._signatures = tf.saved_model.load(str(_saved(folder, kind))).signatures
        self.needs_all = kind == "joint"  # Every class.
        self.dim = self._signatures["classify"].structured_input_signature[1]["query"].shape[-1]

    def check(self, chosen: list[recipes.Recipe], seed: int) -> None:
        """`adapt` and `classify` on features, with NaN and infinity in the padding."""
        inputs = self._inputs(chosen)
        adapted = self._call("adapt", inputs)
        assert np.isfinite(adapted["weights_by_step"]).all(), "weights are finite"
        classified = self._call("classify", {"query": inputs["query"], "weights": adapted["weights"]})
        assert np.isfinite(classified["logits"]).all(), "logits are finite"
        every = np.ones(inputs["query"].shape[:2], bool)
        _check_probabilities(classified["probabilities"], _present(inputs), every)
        random = np.random.RandomState(seed)
        padded = {**inputs, "support": inputs["support"].copy(), "query": inputs["query"].copy()}
        for side in ("support", "query"):
            masked = ~inputs[f"{side}_mask"]
            padded[side][masked] = random.choice([np.nan, np.inf, -np.inf, 0, 3e38], (masked.sum(), self.dim))
        padded["support_labels"] = np.where(
            inputs["support_mask"], inputs["support_labels"], random.randint(-(2**31), 2**31 - 1)
        ).astype(np.int32)
        for name, value in self._call("adapt", padded).items():
            np.testing.assert_array_equal(value, adapted[name], f"padding moves no {name}")

    def check_pictures(self, chosen: list[recipes.Recipe], seed: int) -> None:
        """`serving_default` on raw pictures."""
        inputs = self._inputs(chosen)
        for i, side in enumerate(("support", "query")):
            inputs[f"{side}_images"] = pictures(chosen[0].look, inputs.pop(side).shape[:2], seed + i)
        answer, mask = self._call("serving_default", inputs), inputs["query_mask"]
        _check_probabilities(answer["probabilities"], _present(inputs), mask)
        assert (answer["probabilities"][~mask] == 0).all() and (answer["predicted_class"][~mask] == -1).all()
        best = answer["probabilities"][mask]
        np.testing.assert_array_equal(answer["predicted_class"][mask], best.argmax(-1), "the most probable class")

    def check_fault(self, chosen: list[recipes.Recipe], name: str, seed: int) -> None:
        """One spoiled batch is refused, by the name of the argument."""
        fault, inputs = FAULTS[name], self._inputs(chosen)
        inputs["support_mask"][:, 0] = inputs["query_mask"][:, 0] = True
        spoiled, refusal = fault.spoil(inputs, np.random.RandomState(seed)), f"{fault.argument} must"
        np.testing.assert_raises_regex(tf.errors.InvalidArgumentError, refusal, self._call, "adapt", spoiled)

    def _inputs(self, chosen: list[recipes.Recipe]) -> dict[str, np.ndarray]:
        episodes = recipes.batch(chosen, self.dim)
        # A server's classes are as many as the highest label of the batch says: masked labels do not count.
        inputs = {name: np.array(values) for name, values in episodes._asdict().items() if name != "query_labels"}
        for side in ("support", "query"):
            inputs[side][~inputs[f"{side}_mask"]] = 0
        return inputs

    def _call(self, signature: str, inputs: dict) -> dict[str, np.ndarray]:
        constants = {name: tf.constant(value) for name, value in inputs.items()}
        return {name: value.numpy() for name, value in self._signatures[signature](**constants).items()}


served = functools.cache(Served)


class Runner:
    """A kind of `model`, one episode at a time; the dynamic one has to agree with it on ordinary episodes."""

    def __init__(self, folder: Path, kind: str):
        self.model = model(folder, kind)
        self.reference = None if kind == "dynamic" else model(folder, "dynamic")
        self.dim = self.model.description["feature_dim"]

    def check(self, recipe: recipes.Recipe) -> None:
        """`adapt` and `classify` on features."""
        inputs = self._inputs(recipe)
        probabilities = self._answer(self.model, inputs)
        if self.reference is not None and recipe.ordinary:
            expected = self._answer(self.reference, inputs)
            np.testing.assert_allclose(probabilities, expected, rtol=0, atol=_TOLERANCE, err_msg="as the reference")

    def check_pictures(self, recipe: recipes.Recipe) -> None:
        """`embed`, `adapt` and `classify` on raw pictures."""
        inputs = self._inputs(recipe)
        images = pictures(recipe.look, (len(inputs["support"]) + len(inputs["query"]),), recipe.seed)
        features = self.model.embed(images)
        assert np.isfinite(features).all(), "features are finite"
        support, query = np.split(features, [len(inputs["support"])])
        self._answer(self.model, {**inputs, "support": support, "query": query})

    def check_fault(self, recipe: recipes.Recipe, name: str) -> None:
        """One spoiled episode is refused, by the name of the argument."""
        fault, inputs = FAULTS[name], self._inputs(recipe)
        if fault.argument == "query" and not len(inputs["query"]):
            inputs["query"] = inputs["support"][:1]
        spoiled = fault.spoil(inputs, np.random.RandomState(recipe.seed))
        np.testing.assert_raises_regex(InputError, f"^{fault.argument}", self.model.adapt, **spoiled)

    def _inputs(self, recipe: recipes.Recipe) -> dict[str, np.ndarray]:
        support, labels, query = recipes.features(recipe, self.dim)
        # A runner's classes have no gaps.
        return {"support": support, "support_labels": np.unique(labels, return_inverse=True)[1], "query": query}

    def _answer(self, model, inputs: dict) -> np.ndarray:
        path, query = model.adapt(**inputs), inputs["query"]
        way = inputs["support_labels"].max() + 1
        assert path.shape[1:] == (way, self.dim) and np.isfinite(path).all(), "weights are finite"
        if not len(query):
            np.testing.assert_array_equal(path, np.broadcast_to(path[:1], path.shape), "without queries no step moves")
        logits, probabilities = model.classify(query, path[-1])
        assert logits.shape == (len(query), way) and np.isfinite(logits).all(), "logits are finite"
        _check_probabilities(probabilities, np.ones(way, bool), np.ones(len(query), bool))
        return probabilities


def pictures(look: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """`[*shape, 32, 32, 3]` uint8: black, white, flat, noise, or all the same, by the look of a recipe."""
    random = np.random.RandomState(seed % 2**32)
    values = random.randint(0, 256, (*shape, _SIZE, _SIZE, 3))
    if look in ("same", "antipodal"):
        values[...] = 0 if look == "same" else 255
    if look in ("duplicates", "axes"):
        values[...] = random.randint(0, 256, (*shape, 1, 1, 3))
    return values.astype(np.uint8)


def _check_probabilities(probabilities: np.ndarray, present: np.ndarray, mask: np.ndarray) -> None:
    """`[..., queries, way]`; `present` `[..., WAY]`, of which the answer has the first `way` columns."""
    present = present[..., : probabilities.shape[-1]]
    assert np.isfinite(probabilities).all() and (probabilities >= 0).all(), "probabilities are numbers"
    np.testing.assert_allclose(probabilities.sum(-1)[mask], 1, rtol=0, atol=_SUM, err_msg="probabilities add up to one")
    absent = np.broadcast_to(~present[..., None, :], probabilities.shape)
    assert (probabilities[absent] == 0).all(), "a class without labelled pictures has no probability"


def _present(inputs: dict[str, np.ndarray]) -> np.ndarray:
    return recipes.present(inputs["support_labels"], inputs["support_mask"])
