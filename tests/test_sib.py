"""The model: initialisation, the step in closed form, its gradients, masks, order, and independence of episodes."""

import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from sib_tf import checkpoints
from sib_tf.config import SIBConfig
from sib_tf.episodes import Episode
from sib_tf.errors import InputError
from sib_tf.layers import classifier_gradient, unit_rows
from sib_tf.sib import MASKED_LOGIT, SIB

DIM = 16
KINDS = {
    "joint": {"gradient_network": "joint"},
    "per_class": {},
    "support_gradient": {"separate_steps": True, "support_gradient": True, "inner_learning_rate": 5e-3},
    "prior": {"prior": "gaussian", "kl_weight": 0.5},
    "posterior": {"prior": "gaussian", "posterior": "gaussian", "posterior_samples": 3, "inner_learning_rate": 3e-3},
}
each_network = pytest.mark.parametrize("network", KINDS)
# Each of both with what it meets: what a network gives is added up, and with a prior KL has the same share.
each_reduction = pytest.mark.parametrize(
    ("network", "reduction"),
    [
        ("joint", "sum"),
        ("per_class", "mean"),
        ("support_gradient", "shrunk_mean"),
        ("prior", "mean"),
        ("posterior", "sum"),
        ("posterior", "shrunk_mean"),
    ],
)


@functools.cache
def build(network="per_class", way=5, seed=0, **config) -> SIB:
    """A model of one of the `KINDS` whose every parameter was moved away from its initial value; not to be changed."""
    keras.utils.set_random_seed(seed)
    settings = {"gradient_network": "per_class", "num_steps": 3, "inner_learning_rate": 1e-2} | KINDS[network] | config
    model = SIB(SIBConfig(feature_dim=DIM, way=way, **settings))
    model.build()
    random = np.random.RandomState(seed)
    for variable in model.trainable_variables:
        variable.assign(variable + 0.1 * random.normal(size=variable.shape))
    return model


def episode(way=5, shot=2, queries=20, episodes=2, seed=0) -> Episode:
    random = np.random.RandomState(seed)
    centres = random.normal(size=(episodes, way, DIM))
    labels = np.tile(np.repeat(np.arange(way), shot), (episodes, 1))
    query_labels = random.randint(way, size=(episodes, queries))

    def features(of):
        noise = random.normal(size=(*of.shape, DIM))
        return (np.take_along_axis(centres, of[..., None], 1) + 0.8 * noise).astype("f")

    def whole(of):
        return features(of), of.astype("i"), np.ones(of.shape, bool)

    return Episode(*whole(labels), *whole(query_labels))


def run(model, e: Episode, way=5):
    return model(
        e.support, e.support_labels, e.query, support_mask=e.support_mask, query_mask=e.query_mask, way=way
    ).numpy()


def padded(e: Episode, support: int, query: int, seed=9) -> Episode:
    """The same episodes with masked rows of noise at the end."""
    random = np.random.RandomState(seed)

    def pad(x, labels, mask, count):
        noise = np.broadcast_to(1e2 * random.normal(size=(count, DIM)), (len(x), count, DIM)).astype(x.dtype)
        tail = ((0, 0), (0, count))
        return np.concatenate([x, noise], axis=1), np.pad(labels, tail), np.pad(mask, tail)

    return Episode(*pad(*e[:3], support), *pad(*e[3:], query))


def test_zero_steps_are_nearest_prototypes():
    e = episode(queries=30)
    model = SIB(SIBConfig(feature_dim=DIM, way=5, num_steps=0))
    model.build()

    def normalised(x):
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    for b in range(2):
        prototypes = [normalised(e.support[b][e.support_labels[b] == c]).mean(0) for c in range(5)]
        expected = 10 * normalised(e.query[b]) @ normalised(np.stack(prototypes)).T
        np.testing.assert_allclose(run(model, e)[b], expected, atol=1e-5)


def test_one_step_worked_by_hand():
    """One query q = (0.6, 0.8), theta = (2, 0), scale 10, g = 1: G = (6, 8); less its part along theta, over 2."""
    gradient = classifier_gradient(
        tf.constant([[[2.0, 0.0]]]), unit_rows(tf.constant([[[3.0, 4.0]]])), tf.constant([[[1.0]]]), 10.0
    )
    np.testing.assert_allclose(gradient, [[[0, 4]]], atol=1e-6)


@pytest.mark.parametrize("network", ["joint", "per_class", "support_gradient"])
def test_closed_form_is_the_tape_gradient(network):
    """theta^(k+1) - theta^k of every step against tapes: through the logits with the synthetic gradients held, and
    through the support's cross-entropy (of 2 shots: half the sum over its rows)."""
    model, e = build(network), episode()
    path, class_mask = model.adapt(e.support, e.support_labels, e.query, way=5)
    counts = tf.reduce_sum(tf.one_hot(e.support_labels, 5), axis=1)
    for k, (before, after) in enumerate(itertools.pairwise(path)):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(before)
            logits = model.classify(before, e.query)
            support = tf.nn.sparse_softmax_cross_entropy_with_logits(
                e.support_labels, model.classify(before, e.support)
            )
        g = model.gradient_networks[k % len(model.gradient_networks)](logits, counts, None, class_mask)
        expected = before - model.config.inner_learning_rate * tape.gradient(logits, before, output_gradients=g)
        if network == "support_gradient":
            expected -= model.support_rates[k] * tape.gradient(support, before) / 2
        np.testing.assert_allclose(after, expected, atol=2e-6)


@pytest.mark.parametrize("reduction", ["sum", "mean", "shrunk_mean"])
@pytest.mark.parametrize("network", ["prior", "posterior"])
def test_a_step_with_a_prior_is_the_tape_gradient_of_one_objective(network, reduction):
    """theta^1 against a tape through E_q[sum of g * logits] + kl_weight * KL, g held; 20 queries, 5 classes."""
    model, e = build(network, step_reduction=reduction, num_steps=1), episode()
    (theta, after), class_mask = model.adapt(e.support, e.support_labels, e.query)
    counts = tf.reduce_sum(tf.one_hot(e.support_labels, 5), axis=1)
    samples = 3 if network == "posterior" else 1
    with tf.GradientTape() as tape:
        tape.watch(theta)
        logits = model.sampled_logits(theta, e.query)
        flat = tf.reshape(logits, (2 * samples, 20, 5))
        g = model.gradient_networks[0](tf.stop_gradient(flat), tf.repeat(counts, samples, 0), None, None)
        data = tf.reduce_sum(flat * tf.stop_gradient(g)) / samples
        objective = data + model.config.kl_weight * tf.reduce_sum(model.kl(theta, class_mask))
    rate = model.config.inner_learning_rate * {"sum": 1, "mean": 1 / 20, "shrunk_mean": 1 / 20 * 19 / 24}[reduction]
    gradient = rate * tape.gradient(objective, theta)
    expected = theta - (gradient if model.posterior is None else model.posterior.scaled(gradient))
    np.testing.assert_allclose(after, expected, atol=3e-6)


def test_the_outer_loss_is_minus_the_bound_per_query():
    """Of two samples, by hand: the mean cross-entropy of both, and KL / n; kl_weight weighs it."""
    model, e = build("posterior", posterior_samples=2, kl_weight=0.3), episode()
    noise = np.random.RandomState(8).normal(size=(2, 2, 5, DIM)).astype("f")
    path, class_mask = model.adapt(e.support, e.support_labels, e.query, noise=noise)
    mean, log_scale = np.split(path[-1].numpy(), 2, axis=-1)
    losses = []
    for i in range(2):
        logits = model.weights_logits(mean + np.exp(log_scale) * noise[:, i], e.query)
        losses.append(tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(e.query_labels, logits)))
    expected = np.mean(losses) + 0.3 * np.mean(model.kl(path[-1], class_mask)) / 20
    assert float(model.outer_loss(e, 5, noise)) == pytest.approx(expected, rel=1e-5)


def test_predictions_of_samples_are_the_mean_of_their_probabilities():
    model, e = build("posterior"), episode()
    path, class_mask = model.adapt(e.support, e.support_labels, e.query)
    sampled = model.sampled_logits(path[-1], e.query, class_mask)
    found = model.classify(path[-1], e.query, class_mask)
    np.testing.assert_allclose(tf.nn.softmax(found), tf.reduce_mean(tf.nn.softmax(sampled), axis=1), atol=1e-6)
    energy = tf.reduce_mean(tf.reduce_logsumexp(sampled, axis=-1), axis=1)
    np.testing.assert_allclose(tf.reduce_logsumexp(found, axis=-1), energy, atol=1e-5)
    # Without samples it is the mean that classifies.
    mean = build("posterior", posterior_samples=0)
    path, _ = mean.adapt(e.support, e.support_labels, e.query)
    expected = mean.weights_logits(mean.mean_weights(path[-1]), e.query)
    np.testing.assert_array_equal(mean.classify(path[-1], e.query), expected)


def test_the_support_gradient_worked_by_hand():
    """Two classes of one picture each, along the axes, scale 1: probabilities e/(e+1) and 1/(e+1), and c = 1/(e+1) is
    missing from the right ones. theta_1 = (1, 0) is pulled by c times the difference of the pictures, of which the part
    across it is left: (0, -c); with a rate of 0.5 it gets (1, 0.5 c)."""
    model = SIB(SIBConfig(feature_dim=2, way=2, num_steps=1, inner_learning_rate=1e-9, support_gradient=True))
    model.build()
    model.logit_scale.assign(1.0)
    model.support_rates.assign([0.5])
    pictures, labels = np.eye(2, dtype="f")[None], np.int32([[0, 1]])
    c = 1 / (np.e + 1)
    path, _ = model.adapt(pictures, labels, pictures)
    np.testing.assert_allclose(path[1][0], [[1, -0.5 * c], [-0.5 * c, 1]], atol=1e-6)


@each_reduction
def test_meta_gradient_by_finite_differences(network, reduction):
    """The gradient of the outer loss through K steps, along random directions of each variable, in float64."""
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    try:
        # Steps that long throw a sum's samples of w far apart: too curved for finite differences.
        rate = 5e-3 if network == "posterior" else 5e-2
        model = build.__wrapped__(network, inner_learning_rate=rate, step_reduction=reduction)
        e = episode(queries=12)
        e = e._replace(support=e.support.astype("d"), query=e.query.astype("d"))
        with tf.GradientTape() as tape:
            loss = model.outer_loss(e, 5)
        gradients = tape.gradient(loss, model.trainable_variables)
        random = np.random.RandomState(3)
        again = tf.function(lambda: model.outer_loss(e, 5), autograph=False)  # Many times.
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
            direction = random.normal(size=variable.shape)
            value, h = variable.numpy(), 1e-7  # Small: a ReLU must not change its side in between.
            variable.assign(value + h * direction)
            above = float(again())
            variable.assign(value - h * direction)
            below = float(again())
            variable.assign(value)
            expected = (above - below) / (2 * h)
            found = float(np.sum(gradient * direction))
            assert found == pytest.approx(expected, rel=1e-4, abs=1e-7), variable.path
    finally:
        keras.config.set_dtype_policy(previous)


@each_reduction
def test_padding_moves_no_logit(network, reduction):
    model, e = build(network, step_reduction=reduction), episode()
    plain, with_padding = run(model, e), run(model, padded(e, support=3, query=11))
    np.testing.assert_allclose(with_padding[:, :20], plain, atol=1e-5)


@pytest.mark.parametrize("network", ["per_class", "support_gradient", "prior", "posterior"])
def test_padded_classes_move_no_logit_and_get_none(network):
    """A 3-way episode in an 8-way graph."""
    model, e = build(network, way=None), episode(way=3)
    wide = run(model, padded(e, 4, 5), way=8)
    np.testing.assert_allclose(wide[:, :20, :3], run(model, e, way=3), atol=1e-5)
    np.testing.assert_array_equal(wide[:, :, 3:], np.float32(MASKED_LOGIT))


@each_network
def test_a_neighbour_episode_moves_no_logit(network):
    model, e, other = build(network), episode(seed=0), episode(seed=5)
    mixed = Episode(
        *(np.stack([a[0], 50 * b[1] if b.dtype == np.float32 else b[1]]) for a, b in zip(e, other, strict=True))
    )
    np.testing.assert_allclose(run(model, mixed)[0], run(model, e)[0], atol=1e-5)
    alone = Episode(*(field[:1] for field in e))
    np.testing.assert_allclose(run(model, alone)[0], run(model, e)[0], atol=1e-5)


@each_network
def test_query_order_permutes_the_logits_and_support_order_moves_nothing(network):
    model, e, random = build(network), episode(), np.random.RandomState(4)
    queries, supports = random.permutation(20), random.permutation(10)
    shuffled = e._replace(
        query=e.query[:, queries], support=e.support[:, supports], support_labels=e.support_labels[:, supports]
    )
    # Sums of another order: what a step makes of their rounding, the prior's most.
    np.testing.assert_allclose(run(model, shuffled), run(model, e)[:, queries], atol=5e-5)


@pytest.mark.parametrize("network", ["per_class", "support_gradient", "prior"])
def test_class_order_permutes_the_columns_of_per_class_and_not_of_joint(network):
    new_name = np.array([3, 0, 4, 1, 2])
    e = episode()
    renamed = e._replace(support_labels=new_name[e.support_labels])
    np.testing.assert_allclose(run(build(network), renamed)[..., new_name], run(build(network), e), atol=5e-5)
    joint = build("joint")
    assert np.abs(run(joint, renamed)[..., new_name] - run(joint, e)).max() > 1e-3


@pytest.mark.parametrize(("reduction", "share"), [("mean", 1 / 20), ("shrunk_mean", 1 / 20 * 19 / 24)])
def test_other_reductions_are_a_share_of_the_sum(reduction, share):
    """Of 20 queries and 5 classes. Padding to 31 and 8 counts for nothing."""
    e = episode(queries=20)
    expected = run(build(way=None, inner_learning_rate=1e-3), e)
    model = build(way=None, inner_learning_rate=1e-3 / share, step_reduction=reduction)
    np.testing.assert_allclose(run(model, e), expected, atol=1e-5)
    wide = run(model, padded(e, support=3, query=11), way=8)
    np.testing.assert_allclose(wide[:, :20, :5], expected, atol=1e-5)


def test_an_initialisation_that_is_not_learned_stays_as_it_is():
    for learned in (True, False):
        model = build(learned_initialization=learned)
        names = [variable.path for variable in model.trainable_variables]
        assert any("feature_scale" in name for name in names) == learned
        assert len(names) == len(model.variables) - (not learned)


@pytest.mark.parametrize("network", ["joint", "per_class"])
def test_one_query_alone_moves_nothing_with_shrunk_mean(network):
    model, e = build(network, step_reduction="shrunk_mean", inner_learning_rate=1.0), episode(queries=1)
    path, _ = model.adapt(e.support, e.support_labels, e.query)
    for theta in path[1:]:
        np.testing.assert_array_equal(theta, path[0])


@each_network
def test_queries_that_are_few_or_alike_and_zero_features_stay_finite(network):
    model, e = build(network), episode()
    one_class = e._replace(query=np.repeat(e.query[:, :1], 20, axis=1))
    zeros = e._replace(query=np.zeros_like(e.query), support=np.zeros_like(e.support))
    for case in (episode(queries=1), episode(queries=2), one_class, zeros):
        assert np.isfinite(run(model, case)).all()
        with tf.GradientTape() as tape:
            loss = model.outer_loss(case, 5)
        assert all(np.isfinite(g).all() for g in tape.gradient(loss, model.trainable_variables))


@pytest.mark.filterwarnings("ignore:You are using a softmax")
def test_one_class_is_enough_for_per_class():
    logits = run(build(way=None), episode(way=1), way=1)
    assert logits.shape == (2, 20, 1)
    assert np.isfinite(logits).all()


@each_reduction
def test_eager_graph_and_xla_agree(network, reduction):
    """The graph knows neither how many episodes there are nor how many rows."""
    model, e = build(network, step_reduction=reduction), episode()
    rows, labels = tf.TensorSpec([None, None, DIM]), tf.TensorSpec([None, None], tf.int32)
    for kind, rtol in (({"input_signature": [rows, labels, rows]}, 1e-7), ({"jit_compile": True}, 5e-6)):
        compiled = tf.function(lambda s, lab, q: model(s, lab, q, way=5), autograph=False, **kind)
        found = compiled(e.support, e.support_labels, e.query)
        np.testing.assert_allclose(found, run(model, e), rtol=rtol, atol=1e-5)


@each_network
def test_saved_and_loaded_in_safe_mode_it_is_the_same(network, tmp_path):
    model, e = build(network, way=5 if network == "joint" else None), episode()
    checkpoints.save_model(model, tmp_path / "sib.keras")
    again = checkpoints.load_model(tmp_path / "sib.keras", SIB)
    assert again.config == model.config
    np.testing.assert_array_equal(run(again, e), run(model, e))


def test_errors_name_the_way():
    e = episode()
    with pytest.raises(InputError, match="way must be 5, which this joint model was built for; got 7"):
        run(build("joint"), e, way=7)
    with pytest.raises(InputError, match="way must be given"):
        run(build(way=None), e, way=None)


def test_no_variable_is_written_by_a_call():
    model, e = build(), episode()
    before = [v.numpy().copy() for v in model.variables]
    run(model, e)
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())
    assert len(model.non_trainable_variables) == 0
