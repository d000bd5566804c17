"""The compared methods: hand-worked episodes against the papers' definitions, and what may move no result."""

import dataclasses
import functools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmarks.peers import PEERS, authors, bd_cspn, laplacian_shot, pt_map, tim
from benchmarks.peers.peer import Task
from sib_tf import evaluation
from sib_tf.episodes import Episode
from sib_tf.sib import MASKED_LOGIT

# Few iterations are enough to tell whether something moves a result that should not.
SHORT = {"tim_gd": {"iterations": 20, "learning_rate": 1e-2}, "alpha_tim": {"iterations": 20, "learning_rate": 1e-2}}
each_peer = pytest.mark.parametrize("name", PEERS)


def side(features, labels) -> list[np.ndarray]:
    """The half of episodes that has no padding: features, labels and mask."""
    return [np.array(features, np.float32), np.array(labels, np.int32), np.ones(np.shape(labels), bool)]


def scores_of(method, support, query, base_mean=(0.0, 0.0)) -> np.ndarray:
    """`[queries, 2]` of one episode with one labelled picture of each of two classes."""
    episode = Episode(*side([support], [[0, 1]]), *side([query], [[0] * len(query)]))
    return method(episode, 2, tf.constant(base_mean)).numpy()[0]


def random_episode(query=9, seed=0) -> Episode:
    """12 episodes of 4 ways and 2 shots: features above zero, as conv4 gives them, in loose clusters."""
    random = np.random.RandomState(seed)
    centres = random.uniform(0, 1, (12, 4, 6))
    support_labels, query_labels = np.tile(np.repeat(np.arange(4), 2), (12, 1)), random.randint(4, size=(12, query))

    def draw(labels):
        picked = np.take_along_axis(centres, labels[..., None], axis=1)
        return side(np.maximum(picked + random.normal(0, 0.3, picked.shape), 0), labels)

    return Episode(*draw(support_labels), *draw(query_labels))


@pytest.fixture(scope="module")
def classify():
    """(name, episode, way) -> scores; what was compiled is let go of with the module."""

    @functools.cache
    def compiled(name: str, way: int):
        method = PEERS[name](**SHORT.get(name, {}))
        return tf.function(lambda *fields: method(Episode(*fields), way, tf.linspace(0.3, 0.6, 6)), autograph=False)

    return lambda name, episode, way=4: compiled(name, way)(*map(tf.constant, episode)).numpy()


def task_of(query, support=((1, 0), (0, 1)), members=((1, 0), (0, 1))) -> Task:
    """One episode as methods take it; `members` are one-hot labels."""
    query, support, members = (tf.constant([values], tf.float32) for values in (query, support, members))
    return Task(support, members, query, tf.ones([1, query.shape[1], 1]))


@each_peer
def test_scores_are_finite_and_better_than_chance(classify, name):
    episode = random_episode()
    scores = classify(name, episode)
    assert scores.shape == (12, 9, 4)
    assert np.isfinite(scores).all()
    # Chance is 0.25. The queries are imbalanced, which costs some methods much.
    assert (scores.argmax(-1) == episode.query_labels).mean() > 0.4
    # Of a single query: no neighbours, no mean worth the name.
    assert np.isfinite(classify(name, random_episode(query=1))).all()


@each_peer
def test_neither_order_nor_numbering_makes_a_difference(classify, name):
    episode, random, numbers = random_episode(), np.random.RandomState(1), np.array([2, 0, 3, 1])
    queries, supports = random.permutation(9), random.permutation(8)
    shuffled = episode._replace(
        query=episode.query[:, queries],
        support=episode.support[:, supports],
        support_labels=numbers[episode.support_labels[:, supports]].astype(np.int32),
    )
    found = classify(name, shuffled)[..., numbers]
    np.testing.assert_allclose(found, classify(name, episode)[:, queries], atol=2e-4)


@each_peer
def test_padding_moves_nothing_and_classes_without_support_get_nothing(classify, name):
    """Two rows of support, three of queries and two classes more, all masked."""
    episode, random = random_episode(), np.random.RandomState(2)

    def extended(values, count):
        more = random.randint(0, 4, (12, count, *values.shape[2:])) * (values.dtype != bool)
        return np.concatenate([values, more.astype(values.dtype)], axis=1)

    rows = (2, 2, 2, 3, 3, 3)
    whole = Episode(*(extended(values, count) for values, count in zip(episode, rows, strict=True)))
    scores = classify(name, whole, way=6)
    np.testing.assert_allclose(scores[:, :9, :4], classify(name, episode), atol=2e-4)
    np.testing.assert_array_equal(scores[..., 4:], np.float32(MASKED_LOGIT))


@each_peer
def test_other_episodes_of_the_batch_make_no_difference(classify, name):
    first, other = random_episode(), random_episode(seed=9)
    mixed = Episode(*(np.concatenate([a[:1], b[1:]]) for a, b in zip(first, other, strict=True)))
    np.testing.assert_allclose(classify(name, mixed)[0], classify(name, first)[0], atol=2e-5)


def test_prototypes_are_sib_without_steps(classify):
    episode = random_episode()
    model = evaluation.prototypes(6, 4)
    logits = model(episode.support, episode.support_labels, episode.query, way=4).numpy()
    np.testing.assert_allclose(10 * classify("prototypes", episode), logits, atol=1e-5)


def test_simple_shot_by_hand():
    """Mean (1, 1); support (2, 1), (1, 3) -> (1, 0), (0, 1); query (4, 5) -> (3, 4) / 5 = (0.6, 0.8).

    |(0.6, 0.8) - (1, 0)|^2 = 0.16 + 0.64 = 0.8 and |(0.6, 0.8) - (0, 1)|^2 = 0.36 + 0.04 = 0.4.
    """
    found = scores_of(PEERS["simple_shot"](), [[2, 1], [1, 3]], [[4, 5]], base_mean=(1.0, 1.0))
    np.testing.assert_allclose(found, [[-0.8, -0.4]], atol=1e-6)


def test_soft_kmeans_by_hand():
    """Support (1, 0), (0, 1), one query q = (0.6, 0.8): squared distances 0.8 and 0.4.

    With scale 5 ln 2, z = (2^-4, 2^-2) / (2^-4 + 2^-2) = (0.2, 0.8). New centres:
    ((1, 0) + 0.2 q) / 1.2 = (1.12, 0.16) / 1.2 and ((0, 1) + 0.8 q) / 1.8 = (0.48, 1.64) / 1.8.
    Squared distances of q: (0.6 - 0.93333)^2 + (0.8 - 0.13333)^2 = 0.55556; (0.33333)^2 + (-0.11111)^2 = 0.12346.
    """
    found = scores_of(PEERS["soft_kmeans"](scale=5 * math.log(2)), [[1, 0], [0, 1]], [[3, 4]])
    np.testing.assert_allclose(found, [[-0.555556, -0.123457]], atol=1e-5)


def test_bd_cspn_by_hand():
    """Support s = (1, 0), (0, 1), mean (0.5, 0.5); queries (1, 0), (0.6, 0.8), mean (0.8, 0.4).

    Shift (-0.3, 0.1): x = (0.7, 0.1), (0.3, 0.9). Cosines: of (0.7, 0.1), length sqrt(0.5): 0.989949, 0.141421;
    of (0.3, 0.9), length sqrt(0.9): 0.316228, 0.948683; of the support itself: 1 and 0. Weights of the nearest class at
    scale 10, 1 / (1 + exp(-10 * difference)): 0.9997938 (8.48528), 0.9982117 (6.32455), 0.9999546 (10).
    p'_0 = (0.9999546 (1, 0) + 0.9997938 (0.7, 0.1)) / 2 = (0.849905, 0.049990);
    p'_1 = (0.9999546 (0, 1) + 0.9982117 (0.3, 0.9)) / 2 = (0.149732, 0.949172).
    """
    task = task_of([[1.0, 0.0], [0.6, 0.8]])
    moved = bd_cspn.shifted(task)
    np.testing.assert_allclose(moved[0], [[0.7, 0.1], [0.3, 0.9]], atol=1e-6)
    found = bd_cspn.rectified(task, moved, 10.0)
    np.testing.assert_allclose(found[0], [[0.849905, 0.049990], [0.149732, 0.949173]], atol=2e-6)
    # cos((0.7, 0.1), p'_0) = (0.5949335 + 0.004999) / (0.7071068 * 0.851374) = 0.996547
    scores = scores_of(PEERS["bd_cspn"](), [[2, 0], [0, 3]], [[5, 0], [3, 4]])
    assert scores[0, 0] == pytest.approx(0.996547, abs=2e-6)


def test_a_class_that_nothing_is_near_keeps_its_prototype():
    """Class 0's rows (1, 0) and (-1, 0.02) have the mean (0, 0.01), which points at class 1's row (0, 1)."""
    support = [[1.0, 0.0], [-1.0, 0.02], [0.1, 1.0], [0.9, 0.1], [-0.9, 0.1]]
    task = task_of([[0, 0]], support, np.eye(4)[[0, 0, 1, 2, 3]])
    task = dataclasses.replace(task, query_weights=tf.zeros([1, 1, 1]))
    found = bd_cspn.rectified(task, task.query, 10.0)
    np.testing.assert_allclose(found[0, 0], [0.0, 0.01], atol=1e-6)


def test_nearest_neighbours_by_hand():
    """Points 0, 1, 3, 7 on a line and a masked one at 2: nearest others 1, 0, 1, 3."""
    points = tf.constant([[[0.0], [1.0], [3.0], [7.0], [2.0]]])
    mask = tf.constant([[True, True, True, True, False]])
    graph = laplacian_shot.nearest_neighbours(points, mask, 1)
    np.testing.assert_array_equal(tf.argmax(graph[0, :4], axis=-1), [1, 0, 1, 2])
    np.testing.assert_array_equal(tf.reduce_sum(graph[0], axis=-1)[:4], 1)
    # Four others at most: of five asked, the three that are not masked.
    few = laplacian_shot.nearest_neighbours(points, mask, 5)
    np.testing.assert_array_equal(few[0, 0], [0, 1, 1, 1, 0])


def test_laplacian_shot_by_hand():
    """Prototypes (1, 0), (0, 1); queries (1, 0), (0.6, 0.8): a = (0, 2), (0.8, 0.4). Each is the other's neighbour.

    y^0 = softmax(-a): (1, e^-2) / 1.135335 = (0.880797, 0.119203); (e^-0.8, e^-0.4) -> (0.401312, 0.598688).
    One update with lambda = 1: scores -a + y^0 of the other: (0.401312, -1.401312), (0.080797, -0.280797): the second
    query goes over to its neighbour's class.
    """
    method = laplacian_shot.LaplacianShot(weight=1.0, neighbours=2, iterations=1, rectify=False)
    scores = scores_of(method, [[1, 0], [0, 1]], [[1, 0], [3, 4]])
    np.testing.assert_allclose(scores, [[0.401312, -1.401312], [0.080797, -0.280797]], atol=1e-5)


def test_tim_loss_by_hand():
    """w = (1, 0), (0, 1), tau = 2 ln 3: logits of (1, 0) differ by tau * (1 - 0) = 2 ln 3, so p = (0.9, 0.1).

    Of q = (0.5, 0.5): p = (0.5, 0.5). Mean (0.7, 0.3). CE = -ln 0.9 = 0.105361; H(Y) = 0.610864;
    H(Y | X) = (0.325083 + 0.693147) / 2 = 0.509115. Loss = 0.1 * 0.105361 - 0.610864 + 0.1 * 0.509115 = -0.549416.
    """
    method = tim.TIMGD(temperature=2 * math.log(3))
    loss = method.loss(tf.eye(2)[None], task_of([[1, 0], [0.5, 0.5]]))
    np.testing.assert_allclose(loss, [-0.549416], atol=1e-6)


def test_tim_gd_lowers_its_loss_like_keras_s_adam():
    """25 steps against the optimiser of Keras on the same loss."""
    method = tim.TIMGD(iterations=25, learning_rate=1e-2)
    task = task_of([[0.8, 0.6], [0.96, 0.28], [0.1, 0.9]])
    start = tf.constant([[[0.9, 0.2], [0.1, 0.8]]])
    variable, optimizer = keras.Variable(start), keras.optimizers.Adam(1e-2, epsilon=1e-8)
    for _ in range(25):
        with tf.GradientTape() as tape:
            loss = method.loss(variable.value, task)
        optimizer.apply([tape.gradient(loss, variable.value)], [variable])
    np.testing.assert_allclose(method.adapt(start, task), variable.numpy(), atol=1e-4)


def test_alpha_tim_entropy_by_hand():
    """H_2(0.9, 0.1) = 1 - 0.82 = 0.18; H_5(0.5, 0.5) = (1 - 2 / 32) / 4 = 0.234375; towards a = 1, Shannon's."""
    shares = tf.constant([[0.9, 0.1], [0.5, 0.5]])
    np.testing.assert_allclose(tim.AlphaTIM(alpha=2.0).entropy(shares)[0], 0.18, atol=1e-6)
    np.testing.assert_allclose(tim.AlphaTIM(alpha=5.0).entropy(shares)[1], 0.234375, atol=1e-6)
    np.testing.assert_allclose(tim.AlphaTIM(alpha=1.001).entropy(shares), [0.325083, 0.693147], atol=1e-3)


def test_tim_adm_assignments_by_hand():
    """p = (0.8, 0.2), (0.6, 0.4); alpha = 1, so squares: (0.64, 0.04), (0.36, 0.16), column sums 1 and 0.2.

    Over their square roots: (0.64, 0.0894427), (0.36, 0.3577709); normalised: (0.877382, 0.122618),
    (0.501553, 0.498447).
    """
    q = tim.TIMADM(conditional_weight=1.0).assignments(tf.constant([[[0.8, 0.2], [0.6, 0.4]]]))
    np.testing.assert_allclose(q[0], [[0.877382, 0.122618], [0.501553, 0.498447]], atol=1e-5)


def test_tim_adm_step_by_hand():
    """Support (1, 0), (0, 1), query (1, 0), w = support, tau = 2 ln 3, lambda = alpha = 1: s = 0.5, t = 2.

    p of (1, 0): (0.9, 0.1), of (0, 1): (0.1, 0.9). With one query p^2 / sqrt(p^2) = p: q = (0.9, 0.1).
    Class 0, support: (1, 0) + (1, 0) * (0.9 + 0.1) - (0.9, 0.1) = (1.1, -0.1); query: 0.9 (1, 0) + 0.9 (w_0 - x) =
    (0.9, 0). Together 0.5 (1.1, -0.1) + 2 (0.9, 0) = (2.35, -0.05), over 0.5 + 1.8 = 2.3.
    Class 1, support: (0, 1) + (0, 1) - (0.1, 0.9) = (-0.1, 1.1); query: 0.1 (1, 0) + 0.1 ((0, 1) - (1, 0)) = (0, 0.1).
    Together (-0.05, 0.75), over 0.5 + 0.2 = 0.7.
    """
    method = tim.TIMADM(temperature=2 * math.log(3), support_weight=1.0, conditional_weight=1.0)
    found = method.step(tf.eye(2)[None], task_of([[1, 0]]))
    np.testing.assert_allclose(found[0], [[2.35 / 2.3, -0.05 / 2.3], [-0.05 / 0.7, 0.75 / 0.7]], atol=1e-5)


def test_pt_map_transform_by_hand():
    """(9, 16) and (16, 9): roots (3, 4), (4, 3), of unit length (0.6, 0.8), (0.8, 0.6), minus their mean (0.7, 0.7):
    (-0.1, 0.1), (0.1, -0.1), of unit length."""
    found = pt_map.PTMAP().transform(tf.constant([[[9.0, 16.0], [16.0, 9.0]]]), tf.ones([1, 2, 1]), None)
    half = math.sqrt(0.5)
    np.testing.assert_allclose(found[0], [[-half, half], [half, -half]], atol=1e-4)


def test_sinkhorn_by_hand():
    """Kernel ((4, 1), (1, 1)), all sums 1: the plan ((a, 1 - a), (1 - a, a)) keeps the ratio of products,
    a^2 / (1 - a)^2 = 4, so that a = 2/3. The masked third row takes nothing."""
    kernel = tf.constant([[[4.0, 1.0], [1.0, 1.0], [0.0, 0.0]]])
    plan = pt_map.sinkhorn(kernel, tf.constant([[1.0, 1.0, 0.0]]), tf.ones([1, 2]))
    np.testing.assert_allclose(plan[0], [[2 / 3, 1 / 3], [1 / 3, 2 / 3], [0, 0]], atol=1e-5)


def test_pt_map_gives_every_class_the_same_number_of_queries():
    """All queries but one are of class 0; of four, two are given to each class."""
    plan = scores_of(pt_map.PTMAP(), [[9, 1], [1, 9]], [[9, 1.1], [8, 1], [9, 1.5], [1, 8]])
    np.testing.assert_allclose(plan.sum(axis=0), [2, 2], atol=1e-4)


def test_unem_by_hand():
    """Support (1, 0), (0, 1), one query q = (0.6, 0.8): -|q - p_c|^2 / 2 = -0.4, -0.2.

    Layer 1, temperature 0.2 / ln 4: u = (1, 4) / 5, and so shares 0.2, 0.8, and the means of soft k-means above with
    squared distances 0.555556, 0.123457. Layer 2, temperature 0.5, balance 1: (-0.277778 + ln 0.2) / 0.5 = -3.774431
    and (-0.061728 + ln 0.8) / 0.5 = -0.569744.
    """
    method = PEERS["unem"](temperatures=(0.2 / math.log(4), 0.5), balances=(0.7, 1.0))
    np.testing.assert_allclose(scores_of(method, [[1, 0], [0, 1]], [[3, 4]]), [[-3.774431, -0.569744]], atol=1e-5)


def test_pt_map_takes_features_below_zero():
    found = pt_map.PTMAP().transform(tf.constant([[[9.0, -16.0], [9.0, 16.0]]]), tf.ones([1, 2, 1]), None)
    np.testing.assert_allclose(found[0], [[0, -1], [0, 1]], atol=1e-4)


def test_authors_constants_depend_on_the_shot_where_they_say_so():
    assert (authors("alpha_tim", 1).alpha, authors("alpha_tim", 5).alpha) == (2.0, 7.0)
    assert authors("tim_gd", 1) == authors("tim_gd", 5) == PEERS["tim_gd"]()
