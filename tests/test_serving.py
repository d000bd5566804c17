"""The SavedModel's signatures, in Python and through the C++ session that servers use: answers, tenants, refusals."""

import resource

import numpy as np
import pytest
import tensorflow as tf
from exported import load_run, pictures, run_folder, saved_model
from serving_double import ServedModel

TOLERANCE = {"rtol": 0, "atol": 1e-5}


class Exported:
    """A run, its SavedModel in Python and in a C++ session, and the Keras models' own answers."""

    def __init__(self, network: str):
        self.run = load_run(run_folder(network))
        self.dim = self.run.sib.config.feature_dim
        self.loaded = tf.saved_model.load(str(saved_model(network)))
        self.served = ServedModel("sib", saved_model(network))

    def call(self, path: str, signature: str, inputs: dict) -> dict:
        """Runs a signature in "python" or "c++"; NumPy in, NumPy out."""
        if path == "c++":
            return self.served.predict(signature, inputs)
        constants = {name: tf.constant(value) for name, value in inputs.items()}
        return {name: value.numpy() for name, value in self.loaded.signatures[signature](**constants).items()}

    def features(self, images):
        """`[episodes, rows, D]` of the backbone, which fails on no pictures."""
        flat = images.reshape(-1, 32, 32, 3).astype(np.float32)
        rows = np.array(self.run.backbone(flat)) if len(flat) else np.zeros((0, self.dim), np.float32)
        return rows.reshape(*images.shape[:2], self.dim)

    def reference(self, episode: dict, way: int) -> np.ndarray:
        """Probabilities `[1, queries, way]` of one episode without padding, by `SIB` on the backbone's features."""
        support, query = self.features(episode["support_images"]), self.features(episode["query_images"])
        logits = self.run.sib(support, episode["support_labels"], query, way=way)
        return np.array(tf.nn.softmax(logits))


@pytest.fixture(scope="module")
def per_class():
    return Exported("per_class")


@pytest.fixture(scope="module")
def joint():
    return Exported("joint")


@pytest.fixture(params=["per_class", "joint"])
def exported(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["python", "c++"])
def path(request):
    return request.param


def episode(way=5, shot=1, queries=7, seed=0) -> dict:
    """One episode of `serving_default`, nothing masked; classes in mixed order."""
    random = np.random.RandomState(seed)
    images = pictures(way * shot + queries, seed)[None]
    labels = random.permutation(np.repeat(np.arange(way), shot)).astype(np.int32)[None]
    return {
        "support_images": images[:, : way * shot],
        "support_labels": labels,
        "support_mask": np.ones((1, way * shot), bool),
        "query_images": images[:, way * shot :],
        "query_mask": np.ones((1, queries), bool),
    }


def of_features(model: Exported, images: dict) -> dict:
    """The same episode for `adapt`."""
    support, query = model.features(images["support_images"]), model.features(images["query_images"])
    rest = {name: images[name] for name in ("support_labels", "support_mask", "query_mask")}
    return {"support": support, "query": query, **rest}


def tenants(joint_model: bool) -> tuple[list[dict], list[int]]:
    ways = [5, 5, 5] if joint_model else [5, 3, 2]
    shapes = zip(ways, (1, 2, 5), (7, 11, 3), strict=True)
    return [episode(way, shot, queries, seed=way + shot) for way, shot, queries in shapes], ways


def padded(episodes: list[dict], seed: int) -> tuple[dict, list[dict]]:
    """One batch; each episode's rows at random places of it, the others masked and full of noise; and the places."""
    random = np.random.RandomState(seed)
    batch, places = {}, []
    for side in ("support", "query"):
        rows = max(each[f"{side}_mask"].shape[1] for each in episodes) + 2
        where = [np.sort(random.permutation(rows)[: each[f"{side}_mask"].shape[1]]) for each in episodes]
        shape = (len(episodes), rows)
        batch[f"{side}_images"] = random.randint(0, 256, (*shape, 32, 32, 3)).astype(np.uint8)
        batch[f"{side}_mask"] = np.zeros(shape, bool)
        if side == "support":
            batch["support_labels"] = random.randint(-(10**9), 10**9, shape).astype(np.int32)
        for number, (each, row) in enumerate(zip(episodes, where, strict=True)):
            for name in [name for name in batch if name.startswith(side)]:
                batch[name][number, row] = each[name][0]
        places.append(where)
    return batch, [{"support": s, "query": q} for s, q in zip(*places, strict=True)]


def test_the_steps_one_by_one(exported, path):
    """embed, adapt and classify do together what serving_default does."""
    inputs = episode(shot=2)
    flat = np.concatenate([inputs["support_images"][0], inputs["query_images"][0]])
    features = exported.call(path, "embed", {"images": flat})["features"]
    support, query = features[None, :10], features[None, 10:]
    np.testing.assert_allclose(support, exported.features(inputs["support_images"]), **TOLERANCE)
    masks = {name: inputs[name] for name in ("support_labels", "support_mask", "query_mask")}
    adapted = exported.call(path, "adapt", {"support": support, "query": query, **masks})
    expected, _ = exported.run.sib.adapt(support, inputs["support_labels"], query, way=5)
    np.testing.assert_allclose(adapted["weights_by_step"], tf.stack(expected, axis=1), **TOLERANCE)
    np.testing.assert_array_equal(adapted["weights"], adapted["weights_by_step"][:, -1])
    answer = exported.call(path, "classify", {"query": query, "weights": adapted["weights"]})
    np.testing.assert_allclose(answer["probabilities"], exported.reference(inputs, way=5), **TOLERANCE)
    np.testing.assert_allclose(tf.nn.softmax(answer["logits"]), answer["probabilities"], **TOLERANCE)
    np.testing.assert_array_equal(answer["predicted_class"], answer["probabilities"].argmax(-1))


def test_every_tenant_gets_what_it_gets_alone_from_the_keras_models_too(exported, path):
    """Whatever lies in the padding."""
    episodes, ways = tenants(exported.run.sib.config.gradient_network == "joint")
    batch, places = padded(episodes, seed=1)
    together = exported.call(path, "serving_default", batch)
    for number, (each, way, place) in enumerate(zip(episodes, ways, places, strict=True)):
        alone, expected = exported.call(path, "serving_default", each), exported.reference(each, way)
        np.testing.assert_allclose(alone["probabilities"], expected, **TOLERANCE)
        np.testing.assert_array_equal(alone["predicted_class"], expected.argmax(-1))
        np.testing.assert_allclose(alone["confidence"], expected.max(-1), **TOLERANCE)
        for name, value in together.items():
            mine = value[number, place["query"]]
            mine = mine[:, :way] if name == "probabilities" else mine
            np.testing.assert_allclose(mine, alone[name][0], **TOLERANCE, err_msg=name)
            assert value.dtype == ("int32" if name == "predicted_class" else "float32")
        assert (together["probabilities"][number, :, way:] == 0).all()
    masked = ~batch["query_mask"]
    assert (together["predicted_class"][masked] == -1).all()
    assert (together["confidence"][masked] == 0).all()
    assert (together["probabilities"][masked] == 0).all()
    for side in ("support", "query"):
        batch[f"{side}_images"][~batch[f"{side}_mask"]] = 0
    batch["support_labels"][~batch["support_mask"]] = 0
    for name, value in exported.call(path, "serving_default", batch).items():
        np.testing.assert_allclose(together[name], value, rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("how", ["none", "masked"])
def test_without_queries_nothing_is_learned_from_them(exported, path, how):
    inputs = episode()
    if how == "masked":
        inputs["query_mask"][:] = False
    else:
        inputs["query_images"], inputs["query_mask"] = inputs["query_images"][:, :0], inputs["query_mask"][:, :0]
    answer = exported.call(path, "serving_default", inputs)
    assert answer["predicted_class"].shape == inputs["query_mask"].shape
    assert (answer["predicted_class"] == -1).all() and (answer["probabilities"] == 0).all()
    weights = exported.call(path, "adapt", of_features(exported, inputs))["weights_by_step"]
    assert np.isfinite(weights).all()
    np.testing.assert_allclose(weights, np.broadcast_to(weights[:, :1], weights.shape), rtol=0, atol=1e-7)


def test_a_class_that_is_left_out_gets_nothing(per_class, path):
    """Labels 0 and 2: class 1 has probability 0, the others what they would have as 0 and 1."""
    inputs = episode(way=2, shot=3)
    expected = per_class.call(path, "serving_default", inputs)["probabilities"]
    answer = per_class.call(path, "serving_default", {**inputs, "support_labels": 2 * inputs["support_labels"]})
    np.testing.assert_allclose(answer["probabilities"][..., [0, 2]], expected, **TOLERANCE)
    assert (answer["probabilities"][..., 1] == 0).all()


def refused(message: str):
    return pytest.raises(tf.errors.InvalidArgumentError, match=f"(?s){message}")


def inputs_of(model: Exported, signature: str, changes: dict) -> dict:
    """Inputs of a signature, some of them replaced by what a function makes of them."""
    images = episode()
    adapt = of_features(model, images)
    inputs = {
        "serving_default": images,
        "embed": {"images": images["query_images"][0]},
        "adapt": adapt,
        "classify": {"query": adapt["query"], "weights": adapt["support"]},
    }[signature]
    return {**inputs, **{name: change(inputs[name]) for name, change in changes.items()}}


def zeros(*shape):
    return lambda x: np.zeros(shape, x.dtype)


def with_nan(x):
    return np.where(np.arange(x.size).reshape(x.shape) == 20, np.float32("nan"), x)


DIM = 16
ONE = r"must have at least one row with support_mask True"
EACH = "every episode must have a support row of each of 5 classes"
# Shapes and types first: Python would refuse them before the call; a server's session does not.
REFUSED = [
    ("serving_default", {"support_images": lambda x: x[:, :, ::2, ::2]}, r"support_images.*\[1,5,16,16,3\].*32,32,3"),
    ("serving_default", {"query_images": zeros(1, 7, 64, 16, 3)}, r"query_images.*\[1,7,64,16,3\]"),
    ("serving_default", {"support_images": lambda x: x[0]}, r"support_images.*\[5,32,32,3\]"),
    ("serving_default", {"query_images": lambda x: x[..., :1]}, r"query_images.*\[1,7,32,32,1\]"),
    ("serving_default", {"query_images": zeros(1, 0)}, r"query_images.*\[1,0\]"),
    ("serving_default", {"query_images": lambda x: x.astype(np.float32)}, "uint8 but float"),
    ("serving_default", {"support_labels": lambda x: x[0]}, r"support_labels.*\[5\]"),
    ("serving_default", {"support_labels": lambda x: np.eye(5, dtype=np.int32)[x]}, r"support_labels.*\[1,5,5\]"),
    ("serving_default", {"query_mask": zeros(1, 7, 32)}, r"query_mask.*\[1,7,32\]"),
    ("adapt", {"support": zeros(1, 5, 7)}, r"adapt_support.*\[1,5,7\]"),
    ("adapt", {"support_labels": zeros(1, 5, 1)}, r"adapt_support_labels.*\[1,5,1\]"),
    ("classify", {"weights": zeros(1, 5, 3)}, r"classify_weights.*\[1,5,3\]"),
    ("classify", {"weights": zeros(DIM)}, r"classify_weights.*\["),
    ("embed", {"images": zeros(2, 64, 16, 3)}, r"embed_images.*\[2,64,16,3\]"),
    ("embed", {"images": zeros(0)}, r"embed_images.*\[0\]"),
    # Shapes that do not fit together.
    ("serving_default", {"support_labels": lambda x: x[:, :4]}, r"support_labels must have the shape.*\[1 4\] \[1 5\]"),
    ("serving_default", {"support_mask": lambda x: np.ones((1, 6), bool)}, r"support_mask must have the shape"),
    ("serving_default", {"query_mask": lambda x: x[:, 1:]}, r"query_mask must have the shape.*\[1 6\] \[1 7\]"),
    (
        "serving_default",
        {"query_images": lambda x: x.repeat(2, 0), "query_mask": lambda x: x.repeat(2, 0)},
        r"query_images must have as many episodes as support_images; got and expected:\] \[?2\]? \[?1",
    ),
    ("adapt", {"query": zeros(2, 7, DIM), "query_mask": zeros(2, 7)}, "query must have as many episodes as support"),
    ("adapt", {"query": zeros(1, 6, DIM)}, "query_mask must have the shape"),
    ("classify", {"query": zeros(2, 3, DIM)}, "query must have as many episodes as weights"),
    # Nothing at all, and values.
    ("serving_default", {"support_mask": lambda x: x & False}, ONE),
    ("serving_default", {f"support_{name}": lambda x: x[:, :0] for name in ("images", "labels", "mask")}, ONE),
    ("serving_default", {name: lambda x: x[:0] for name in episode()}, r"every episode, at least one,"),
    ("embed", {"images": zeros(0, 32, 32, 3)}, "images must hold at least one picture"),
    ("serving_default", {"support_labels": lambda x: x - 1}, r"support_labels must be in \[0, way\).*\[?-1\]? \[?3"),
    ("serving_default", {"support_labels": lambda x: x + 1}, r"support_labels must be in \[0, way\).*\[?1\]? \[?5"),
    ("serving_default", {"support_labels": lambda x: x + 10**9}, r"support_labels must be in \[0, way\).*1000000004"),
    ("serving_default", {"support_labels": lambda x: x | 2**31 - 1}, r"support_labels must be in .*2147483647"),
    ("classify", {"query": with_nan}, "query must be finite"),
    ("classify", {"weights": with_nan}, "weights must be finite"),
]


@pytest.mark.parametrize(("signature", "changes", "message"), REFUSED)
def test_what_cannot_be_answered_is_refused(per_class, signature, changes, message):
    with refused(message):
        per_class.served.predict(signature, inputs_of(per_class, signature, changes))


@pytest.mark.parametrize(
    ("signature", "changes", "message"),
    [
        ("serving_default", {"support_labels": lambda x: np.minimum(x, 3)}, EACH),
        ("serving_default", {"support_mask": lambda x: np.arange(5)[None] != 2}, EACH),
        ("serving_default", {"support_labels": lambda x: x + 1}, "support_labels must be in .*way = 5"),
        ("classify", {"weights": lambda x: x[:, :4]}, r"classify_weights.*\[1,4,"),
    ],
)
def test_a_joint_model_needs_each_of_its_classes_and_no_others(joint, signature, changes, message):
    with refused(message):
        joint.served.predict(signature, inputs_of(joint, signature, changes))


def test_a_huge_label_takes_no_memory(per_class):
    """It took all there was, and the server with it: ops whose inputs are there run before a check is through."""
    inputs = inputs_of(per_class, "serving_default", {"support_labels": lambda x: x + 10**9})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(20):
        with refused("support_labels must be in"):
            per_class.served.predict("serving_default", inputs)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_one_bad_tenant_is_named_as_bad(per_class):
    batch, _ = padded(tenants(False)[0], seed=4)
    batch["support_mask"][1] = False
    with refused(f"every episode, at least one, {ONE}"):
        per_class.served.predict("serving_default", batch)
