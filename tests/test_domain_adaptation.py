"""SIB-Rot: its steps by hand and by tape, what its tasks are, and who sees what."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from sib_tf.datasets import Split
from sib_tf.datasets.domains import DomainDataset
from sib_tf.errors import InputError
from sib_tf.zero_shot import domain_adaptation
from sib_tf.zero_shot.config import DomainAdaptationConfig
from sib_tf.zero_shot.domain_adaptation import backbone, tasks
from sib_tf.zero_shot.domain_adaptation.model import AdaptiveHead

SMALL = DomainAdaptationConfig(width=4, shared_dim=6, num_steps=2, minibatch=4, steps=2, validations=1, image_size=16)
TASKS, N, F, CLASSES = 3, 5, 7, 4


def build(method="sib_rot", config=SMALL) -> AdaptiveHead:
    """A head none of whose weights is zero."""
    keras.utils.set_random_seed(0)
    head = AdaptiveHead(config, F, CLASSES, method)
    head.build()
    random = np.random.RandomState(0)
    for variable in head.trainable_variables:
        variable.assign(variable + 0.3 * random.normal(size=variable.shape))
    return head


def inputs():
    """Features `[TASKS, N, F]` and those of turned pictures `[TASKS, 4 N, F]`, the first of which are the same."""
    turned = np.random.RandomState(1).normal(size=(TASKS, 4 * N, F)).astype("f")
    return tf.constant(turned[:, :N]), tf.constant(turned)


def small_dataset(per_class=6) -> DomainDataset:
    """Domains a, b and c with classes x and y."""
    random = np.random.RandomState(0)
    labels = np.repeat([0, 1], per_class)
    made = {}
    for i, domain in enumerate("abc"):
        images = random.randint(0, 120, (len(labels), 16, 16, 3)) + 60 * labels[:, None, None, None] + 10 * i
        made[domain] = Split(images.astype(np.uint8), labels, ("x", "y"), np.arange(len(labels)))
    return DomainDataset("small", "digest", made)


def learner_for(dataset, method):
    """What learns with c as the target, and what it sees."""
    sources = tasks.split(dataset, "c", SMALL.validation_fraction)
    keras.utils.set_random_seed(0)
    features = backbone.build(SMALL, sources, "random")
    head = AdaptiveHead(SMALL, features.output_shape[-1], len(dataset.class_names), method)
    return domain_adaptation.Learner(features, head, seed=0), sources


def test_the_first_theta_by_a_tape():
    """theta^0 = lambda - eta_rot * gradient of the rotation loss."""
    head = build("k0")
    features, turned = inputs()
    theta = tf.repeat(head.start[None], TASKS, axis=0)
    with tf.GradientTape() as tape:
        tape.watch(theta)
        loss = tf.reduce_sum(head.rotation_loss(theta, turned))
    gradient = tape.gradient(loss, theta)
    expected = theta - SMALL.rotation_learning_rate * gradient
    np.testing.assert_allclose(head.adapt(features, turned)[0], expected, rtol=1e-4, atol=1e-6)


def test_the_rotation_loss_by_hand():
    """One picture, F = H = 1, theta = (2, 1), kernel (1, 0, 0, 0): h = 2 f + 1 where positive, logits (h, 0, 0, 0)."""
    config = dataclasses.replace(SMALL, shared_dim=1)
    head = AdaptiveHead(config, 1, 2, "k0")
    head.build()
    head.rotation_head.kernel.assign([[1.0, 0.0, 0.0, 0.0]])
    turned = tf.constant([1.0, 0.5, -1.0, 0.0])[None, :, None]
    h = np.array([3.0, 2.0, 0.0, 1.0])
    of_turn = [h[0], 0, 0, 0]  # The logit of each picture's own turn.
    expected = np.mean([np.log(np.exp(a) + 3) - b for a, b in zip(h, of_turn, strict=True)])
    found = head.rotation_loss(tf.constant([[[2.0], [1.0]]]), turned)
    assert float(found[0]) == pytest.approx(expected, rel=1e-5)


def test_the_steps_by_a_tape():
    """theta^(k+1) = theta^k - eta / n * J^T xi: the vector-Jacobian product of the label logits."""
    head = build()
    features, turned = inputs()
    path = head.adapt(features, turned)
    assert len(path) == SMALL.num_steps + 1
    for before, after in zip(path, path[1:], strict=False):
        with tf.GradientTape() as tape:
            tape.watch(before)
            logits = head.label_logits(before, features)
        synthetic = head.gradient_network(logits, tf.zeros((TASKS, CLASSES)))
        gradient = tape.gradient(logits, before, output_gradients=synthetic)
        assert np.abs(gradient).max() > 1e-3
        np.testing.assert_allclose(after, before - SMALL.inner_learning_rate / N * gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("network", ["joint", "per_class"])
def test_gradients_reach_everything(network):
    """The label loss alone moves lambda, both heads (the rotation head through theta^0), and xi."""
    head = build(config=dataclasses.replace(SMALL, gradient_network=network))
    features, turned = inputs()
    with tf.GradientTape() as tape:
        tape.watch([features, turned])
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits([[0, 1, 2, 3, 0]] * TASKS, head(features, turned))
        )
    gradients = tape.gradient(loss, [*head.trainable_variables, features, turned])
    names = [v.path for v in head.trainable_variables]
    still = [name for name, g in zip(names, gradients, strict=False) if g is None or np.abs(g).max() == 0]
    # A bias before the softmax over classes moves nothing where the network centres it.
    assert all("gradient_network" in name for name in still)
    assert len(still) <= 4
    assert np.abs(gradients[-1]).max() > 0


def test_untrained_steps_stay_at_the_first_theta():
    head = AdaptiveHead(SMALL, F, CLASSES, "sib_rot")
    head.build()
    path = head.adapt(*inputs())
    np.testing.assert_array_equal(path[0], path[-1])


@pytest.mark.parametrize("method", ["source_only", "k0", "sib_rot"])
def test_a_minibatch_does_not_see_its_neighbours(method):
    """Predictions from pictures: others beside it, or none, change nothing."""
    learner, sources = learner_for(small_dataset(), method)
    images = tf.constant(sources.target[:12].reshape(3, 4, 16, 16, 3))
    together, alone = (
        learner.head(*learner.embed(some, learner.head.adapts, training=False)) for some in (images, images[1:2])
    )
    np.testing.assert_allclose(alone, together[1:2], rtol=1e-4, atol=1e-5)


def test_turns_are_numpys():
    images = np.random.RandomState(0).randint(0, 255, (2, 3, 5, 5, 3))
    turned = tasks.turn(tf.constant(images)).numpy()
    for turns in range(4):
        np.testing.assert_array_equal(turned[:, turns], np.rot90(images, turns, axes=(2, 3)))


def test_minibatches_hold_every_picture():
    rows = tasks.fixed(np.arange(10), 4)
    assert rows.shape == (3, 4)
    assert set(rows.ravel()) == set(range(10))
    np.testing.assert_array_equal(rows, tasks.fixed(np.arange(10), 4))
    order = tasks.endless(np.arange(6), 4, 0, "a")
    assert sorted(np.concatenate([next(order) for _ in range(3)])) == sorted([*range(6)] * 2)


def test_held_out_pictures_are_of_every_class_and_not_trained_on():
    sources = tasks.split(small_dataset(per_class=10), "b", 0.2)
    assert set(sources.train) == set(sources.validation) == {"a", "c"}
    for domain, held in sources.validation.items():
        np.testing.assert_array_equal(np.bincount(held.pictures.labels[held.rows]), [2, 2])
        assert sorted([*held.rows, *sources.train[domain].rows]) == list(range(20))


def test_target_labels_change_nothing():
    """Permuted labels of the target: the same weights and predictions, to the last bit; another accuracy."""
    dataset = small_dataset()
    other = dict(dataset.domains)
    other["c"] = dataclasses.replace(other["c"], labels=other["c"].labels[::-1])
    found = []
    for each in (dataset, dataclasses.replace(dataset, domains=other)):
        learner, sources = learner_for(each, "sib_rot")
        chosen = domain_adaptation.train(learner, sources).chosen
        found.append([chosen.prediction, *learner.backbone.get_weights(), *learner.head.get_weights()])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)
    assert isinstance(sources.target, np.ndarray)


def test_weights_from_a_file():
    dataset = small_dataset()
    sources = tasks.split(dataset, "c", 0.2)
    model = backbone.build(SMALL, sources, "random")
    model.save("b.keras")
    model.save_weights("b.weights.h5")
    for name in ("b.keras", "b.weights.h5"):
        again = backbone.build(SMALL, sources, name)
        np.testing.assert_array_equal(again(sources.target[:3]), model(sources.target[:3]))
    with pytest.raises(InputError, match="b.keras holds no weights for conv4 "):
        backbone.build(dataclasses.replace(SMALL, width=5), sources, "b.keras")


def test_the_head_survives_a_round_trip():
    head = build()
    features, turned = inputs()
    expected = head(features, turned)
    head.save("head.keras")
    np.testing.assert_array_equal(keras.saving.load_model("head.keras")(features, turned), expected)
