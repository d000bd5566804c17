"""Properties of exported files on generated episodes: a SavedModel's signatures as a server calls them, and runners.

From whatever is finite come finite answers: probabilities that add up to one, exactly none for classes without
labelled pictures, whatever lies in the padding. What has no answer is refused, by the name of the argument.
"""

import numpy as np
import tensorflow as tf

from fuzz import recipes
from fuzz.faults import FAULTS
from sib_tf.errors import InputError

# The squares of anything larger are infinite; it is refused.
MAGNITUDES = tuple(scale for scale in recipes.MAGNITUDES if scale < 1e19)
SIZE = 32
# Between runtimes, of probabilities. Ordinary episodes; a few queries' statistics enlarge rounding.
TOLERANCE = 1e-2
_SUM = 1e-5


class Served:
    """The signatures of a SavedModel, called as they are, with batches.

    Args:
        folder: of the SavedModel.
        joint: whether it needs every class.
    """

    def __init__(self, folder, joint: bool = False):
        self._loaded = tf.saved_model.load(str(folder))
        self.joint = joint
        self.dim = self._width("classify", "query")

    def check(self, chosen: list[recipes.Recipe], seed: int) -> None:
        """`adapt` and `classify` on features, with NaN and infinity in the padding.

        Raises:
            AssertionError: a property does not hold.
        """
        inputs = self._inputs(chosen)
        adapted = self._call("adapt", inputs)
        assert np.isfinite(adapted["weights_by_step"]).all(), "weights are finite"
        classified = self._call("classify", {"query": inputs["query"], "weights": adapted["weights"]})
        assert np.isfinite(classified["logits"]).all(), "logits are finite"
        _check_probabilities(classified["probabilities"], _present(inputs), np.ones(inputs["query"].shape[:2], bool))
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
        """`serving_default` on raw pictures.

        Raises:
            AssertionError: a property does not hold.
        """
        inputs = self._inputs(chosen)
        masks = {name: inputs[name] for name in ("support_labels", "support_mask", "query_mask")}
        images = {
            f"{side}_images": pictures(chosen[0].look, inputs[side].shape[:2], seed + i)
            for i, side in enumerate(("support", "query"))
        }
        answer = self._call("serving_default", {**images, **masks})
        mask = inputs["query_mask"]
        _check_probabilities(answer["probabilities"], _present(inputs), mask)
        assert (answer["probabilities"][~mask] == 0).all() and (answer["predicted_class"][~mask] == -1).all()
        best = answer["probabilities"][mask]
        np.testing.assert_array_equal(answer["predicted_class"][mask], best.argmax(-1), "the most probable class")

    def check_fault(self, chosen: list[recipes.Recipe], name: str, seed: int) -> None:
        """One spoiled batch is refused.

        Raises:
            AssertionError: it was answered, or the error names another argument.
        """
        fault, inputs = FAULTS[name], self._inputs(chosen)
        inputs["support_mask"][:, 0] = inputs["query_mask"][:, 0] = True
        spoiled = fault.spoil(inputs, np.random.RandomState(seed))
        try:
            self._call("adapt", spoiled)
        except tf.errors.InvalidArgumentError as error:
            assert f"{fault.argument} must" in str(error), f"{name}: the error must name {fault.argument}: {error}"
        else:
            raise AssertionError(f"{name} was answered")

    def _inputs(self, chosen: list[recipes.Recipe]) -> dict[str, np.ndarray]:
        episodes = recipes.batch(chosen, self.dim)
        names = ("support", "support_labels", "support_mask", "query", "query_mask")
        # A server's classes are as many as the highest label of the batch says: masked labels do not count.
        inputs = {name: np.array(getattr(episodes, name)) for name in names}
        for side in ("support", "query"):
            inputs[side][~inputs[f"{side}_mask"]] = 0
        return inputs

    def _call(self, signature: str, inputs: dict) -> dict[str, np.ndarray]:
        constants = {name: tf.constant(value) for name, value in inputs.items()}
        return {name: value.numpy() for name, value in self._loaded.signatures[signature](**constants).items()}

    def _width(self, signature: str, name: str) -> int:
        return self._loaded.signatures[signature].structured_input_signature[1][name].shape[-1]


class Runner:
    """A model with the methods of `sib_tf.prediction.models.Model`, one episode at a time.

    Args:
        model: a `LiteRTModel`, `SavedModel` or `KerasModel`.
        reference: another of the same weights, which has to agree on ordinary episodes; or None.
    """

    def __init__(self, model, reference=None):
        self.model, self.reference = model, reference
        self.dim = model.description["feature_dim"]

    def check(self, recipe: recipes.Recipe) -> None:
        """`adapt` and `classify` on features.

        Raises:
            AssertionError: a property does not hold.
        """
        inputs = self._inputs(recipe)
        probabilities = self._answer(self.model, inputs)
        if self.reference is not None and recipe.ordinary:
            expected = self._answer(self.reference, inputs)
            np.testing.assert_allclose(probabilities, expected, rtol=0, atol=TOLERANCE, err_msg="as the reference")

    def check_pictures(self, recipe: recipes.Recipe) -> None:
        """`embed`, `adapt` and `classify` on raw pictures.

        Raises:
            AssertionError: a property does not hold.
        """
        inputs = self._inputs(recipe)
        images = pictures(recipe.look, (len(inputs["support"]) + len(inputs["query"]),), recipe.seed)
        features = self.model.embed(images)
        assert np.isfinite(features).all(), "features are finite"
        support, query = np.split(features, [len(inputs["support"])])
        self._answer(self.model, {**inputs, "support": support, "query": query})

    def check_fault(self, recipe: recipes.Recipe, name: str) -> None:
        """One spoiled episode is refused.

        Raises:
            AssertionError: it was answered, another error came, or one that names another argument.
        """
        fault = FAULTS[name]
        inputs = self._inputs(recipe)
        if fault.argument == "query" and not len(inputs["query"]):
            inputs["query"] = inputs["support"][:1]
        try:
            self.model.adapt(**fault.spoil(inputs, np.random.RandomState(recipe.seed)))
        except InputError as error:
            assert str(error).startswith(fault.argument), f"{name}: the error must name {fault.argument}: {error}"
        else:
            raise AssertionError(f"{name} was answered")

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
    noise = random.randint(0, 256, (*shape, SIZE, SIZE, 3))
    if look in ("same", "antipodal"):
        flat = 0 if look == "same" else 255
        noise = np.full_like(noise, flat)
    if look in ("duplicates", "axes"):
        noise[...] = random.randint(0, 256, (*shape, 1, 1, 3))
    return noise.astype(np.uint8)


def _check_probabilities(probabilities: np.ndarray, present: np.ndarray, mask: np.ndarray) -> None:
    """`[..., queries, way]`; `present` `[..., WAY]`, of which the answer has the first `way` columns."""
    present = present[..., : probabilities.shape[-1]]
    assert np.isfinite(probabilities).all() and (probabilities >= 0).all(), "probabilities are numbers"
    np.testing.assert_allclose(probabilities.sum(-1)[mask], 1, rtol=0, atol=_SUM, err_msg="probabilities add up to one")
    absent = np.broadcast_to(~present[..., None, :], probabilities.shape)
    assert (probabilities[absent] == 0).all(), "a class without labelled pictures has no probability"


def _present(inputs: dict) -> np.ndarray:
    one_hot = inputs["support_labels"][..., None] == np.arange(recipes.WAY)
    return (one_hot & inputs["support_mask"][..., None]).any(axis=1)
