"""The compared methods on uneven shots: batches with padding against plain NumPy loops over bare episodes."""

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.peers import PEERS
from sib_tf.config import EpisodeSpec
from sib_tf.episodes import EpisodeSampler

LABELS = np.repeat(np.arange(10), 30)
SPEC = EpisodeSpec(
    way=(3, 5), shot=(1, 12), query=4, query_distribution="dirichlet", shot_distribution="uneven", flipped_labels=0.1
)
# Few steps are told apart from others, too; these are large enough to move the weights.
SHORT = {name: {"iterations": 5, "learning_rate": 1e-2} for name in ("tim_gd", "alpha_tim")}
SHORT |= {"tim_adm": {"iterations": 20}, "soft_kmeans": {"steps": 3}}


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def squares(rows, centres):
    return np.array([[((row - centre) ** 2).sum() for centre in centres] for row in rows])


def class_means(rows, labels, way):
    return np.array([rows[labels == c].mean(axis=0) for c in range(way)])


def means_with(support, labels, query, shares):
    """Each class's labelled rows and all queries by their shares."""
    found = []
    for c in range(shares.shape[1]):
        own = labels == c
        total = support[own].sum(axis=0) + sum(shares[i, c] * row for i, row in enumerate(query))
        found.append(total / (own.sum() + shares[:, c].sum()))
    return np.array(found)


def prototypes(peer, support, labels, query, way):
    return unit(query) @ unit(class_means(support, labels, way)).T


def simple_shot(peer, support, labels, query, way):
    return -squares(query, class_means(support, labels, way))


def soft_kmeans(peer, support, labels, query, way):
    centres = class_means(support, labels, way)
    for _ in range(peer.steps):
        centres = means_with(support, labels, query, softmax(-peer.scale * squares(query, centres)))
    return -squares(query, centres)


def rectified(support, labels, query, way, scale):
    """Prototypes with all rows that are nearest to them, each by its weight."""
    moved, own = query + support.mean(axis=0) - query.mean(axis=0), class_means(support, labels, way)
    rows, found = np.concatenate([support, moved]), own.copy()
    cosines = unit(rows) @ unit(own).T
    weights = softmax(scale * cosines)
    for c in range(way):
        taken = cosines.argmax(axis=1) == c
        if taken.any():
            found[c] = (weights[taken, c, None] * rows[taken]).mean(axis=0)
    return moved, found


def bd_cspn(peer, support, labels, query, way):
    moved, found = rectified(support, labels, query, way, peer.scale)
    return unit(moved) @ unit(found).T


def laplacian_shot(peer, support, labels, query, way):
    unary = squares(query, rectified(support, labels, query, way, 10.0)[1])
    distances = squares(query, query) + np.diag(np.full(len(query), np.inf))
    nearest = np.argsort(distances, axis=1)[:, : peer.neighbours - 1]
    scores = -unary
    for _ in range(peer.iterations):
        y = softmax(scores)
        scores = np.array([-unary[i] + peer.weight * y[nearest[i]].sum(axis=0) for i in range(len(query))])
    return scores


def tim_logits(peer, rows, weights):
    return -peer.temperature / 2 * squares(rows, weights)


def tim_gd(peer, support, labels, query, way):
    def entropy(p):
        if hasattr(peer, "alpha"):
            return (1 - (p**peer.alpha).sum(axis=-1)) / (peer.alpha - 1)
        return -(p * np.log(p)).sum(axis=-1)

    def loss(weights):
        own = softmax(tim_logits(peer, support, weights))[np.arange(len(labels)), labels]
        p = softmax(tim_logits(peer, query, weights))
        known = -peer.support_weight * np.log(own).mean()
        return known - peer.marginal_weight * entropy(p.mean(axis=0)) + peer.conditional_weight * entropy(p).mean()

    weights = class_means(support, labels, way)
    mean, square = np.zeros_like(weights), np.zeros_like(weights)
    for step in range(1, peer.iterations + 1):
        gradient = np.zeros_like(weights)
        for place in np.ndindex(*weights.shape):
            shift = np.zeros_like(weights)
            shift[place] = 1e-5
            gradient[place] = (loss(weights + shift) - loss(weights - shift)) / 2e-5
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        weights = weights - peer.learning_rate * mean / (1 - 0.9**step) / np.sqrt(square / (1 - 0.999**step))
    return tim_logits(peer, query, weights)


def tim_adm(peer, support, labels, query, way):
    weights, a = class_means(support, labels, way), 1 + peer.conditional_weight
    b, s, t = peer.marginal_weight / (1 + peer.marginal_weight), peer.support_weight / a, len(support) / len(query)
    for _ in range(peer.iterations):
        p_support, p = (softmax(tim_logits(peer, rows, weights)) for rows in (support, query))
        q = p**a / (p**a).sum(axis=0) ** b
        q /= q.sum(axis=1, keepdims=True)
        new = []
        for c in range(way):
            y = labels == c
            known = sum(y[i] * x + p_support[i, c] * (weights[c] - x) for i, x in enumerate(support))
            unknown = sum(q[i, c] * x + p[i, c] * (weights[c] - x) for i, x in enumerate(query))
            new.append((s * known + t * unknown) / (s * y.sum() + t * q[:, c].sum()))
        weights = np.array(new)
    return tim_logits(peer, query, weights)


def pt_map(peer, support, labels, query, way):
    def assignments(centres):
        plan = np.exp(-peer.regularisation * squares(query, centres))
        for _ in range(1000):
            plan /= plan.sum(axis=1, keepdims=True)
            plan *= len(query) / way / plan.sum(axis=0)
        return plan

    centres = class_means(support, labels, way)
    for _ in range(peer.iterations):
        centres = centres + peer.step * (means_with(support, labels, query, assignments(centres)) - centres)
    return assignments(centres)


def unem(peer, support, labels, query, way):
    centres, shares, scores = class_means(support, labels, way), np.full(way, 1 / way), None
    for temperature, balance in zip(peer.temperatures, peer.balances, strict=True):
        if scores is not None:
            u = softmax(scores)
            shares, centres = u.mean(axis=0), means_with(support, labels, query, u)
        scores = (-squares(query, centres) / 2 + balance * np.log(shares)) / temperature
    return scores


LOOPS = {loop.__name__: loop for loop in (
    prototypes, simple_shot, soft_kmeans, bd_cspn, laplacian_shot, tim_gd, tim_adm, pt_map, unem
)} | {"alpha_tim": tim_gd}  # fmt: skip


def transformed(peer, rows, base_mean):
    """Features of one set, support or query, as the method takes them."""
    if not hasattr(peer, "power"):
        return unit(rows - base_mean if peer.centred else rows)
    rows = unit((rows + 1e-6) ** peer.power)
    return unit(rows - rows.mean(axis=0))


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_on_uneven_shots_is_a_plain_loop(name):
    """Probabilities agree within 2e-4: scores are the same up to a number for each query."""
    random = np.random.RandomState(0)
    table = np.maximum(random.uniform(0, 1, (10, 6))[LABELS] + random.normal(0, 0.3, (len(LABELS), 6)), 0).astype("f")
    rows, base_mean = EpisodeSampler(LABELS, SPEC, seed=3).sample(6), table.mean(axis=0)
    peer = PEERS[name](**SHORT.get(name, {}))
    method = tf.function(lambda episode: peer(episode, 5, tf.constant(base_mean)), autograph=False)
    scores = method(rows.gather(tf.constant(table))).numpy()
    for i in range(6):
        support, query = rows.support[i][rows.support_mask[i]], rows.query[i][rows.query_mask[i]]
        labels = rows.support_labels[i][rows.support_mask[i]]
        sets = [transformed(peer, table[some].astype(np.float64), base_mean) for some in (support, query)]
        expected = LOOPS[name](peer, sets[0], labels, sets[1], labels.max() + 1)
        found = scores[i][rows.query_mask[i]][:, : labels.max() + 1]
        assert len(set(np.bincount(labels))) > 1
        np.testing.assert_allclose(softmax(found), softmax(expected), atol=2e-4)
