"""Meta-testing: accuracies worked by hand, intervals, pairs, and padding of the last batch."""

import numpy as np
import pytest

from sib_tf import evaluation
from sib_tf.config import EpisodeSpec, SIBConfig
from sib_tf.episodes import EpisodeRows, EpisodeSampler
from sib_tf.errors import InputError
from sib_tf.sib import SIB

LABELS = np.repeat(np.arange(6), 30)


def table(noise=1.0, seed=0):
    random = np.random.RandomState(seed)
    return (random.normal(size=(6, 8))[LABELS] + noise * random.normal(size=(180, 8))).astype("f")


def model(**settings) -> SIB:
    made = SIB(SIBConfig(**{"feature_dim": 8, "way": 5, "inner_learning_rate": 1e-2, **settings}))
    made.build()
    return made


def test_accuracy_by_hand():
    """Two classes on two axes; of four queries the third lies on the wrong side, and the fourth is padding."""
    features = np.float32([[1, 0], [0, 1], [2, 1], [1, 3], [3, 1], [0, 1]])
    fields = ([0, 1], [0, 1], [True, True], [2, 3, 4, 5], [0, 1, 1, 0], [True, True, True, False])
    rows = EpisodeRows(*(np.array([x], bool if x[0] is True else np.int32) for x in fields))
    found = evaluation.Evaluator(rows)(model(feature_dim=2, way=2, num_steps=0), features)
    np.testing.assert_allclose(found.accuracy, [[2 / 3]], rtol=1e-15)
    cosines = np.array([[2, 1], [1, 3], [3, 1]]) / np.sqrt([[5], [10], [10]])
    logits = 10 * cosines
    loss = np.log(np.exp(logits).sum(1)) - logits[[0, 1, 2], [0, 1, 1]]
    np.testing.assert_allclose(found.loss, [loss.mean()], rtol=1e-5)


def test_every_step_is_measured_and_the_last_batch_is_whole():
    """70 episodes in batches of 50: each alone gives the same."""
    rows = EpisodeSampler(LABELS, EpisodeSpec(query=(3, 10), query_distribution="dirichlet"), seed=1).sample(70)
    m = model(gradient_network="per_class", way=None)
    found = evaluation.Evaluator(rows)(m, table())
    assert found.accuracy.shape == (4, 70)
    for i in (0, 49, 50, 69):
        alone = evaluation.Evaluator(rows.part(i, i + 1))(m, table())
        np.testing.assert_allclose(alone.accuracy[:, 0], found.accuracy[:, i], atol=1e-6)
        np.testing.assert_allclose(alone.loss[0], found.loss[i], rtol=1e-4)


def test_an_evaluator_takes_other_models_and_tables():
    """Step 0 is nearest prototypes while the scale is untrained."""
    evaluator = evaluation.Evaluator(EpisodeSampler(LABELS, EpisodeSpec(), seed=2).sample(30))
    prototypes = evaluation.prototypes(8, 5)
    easy, usual, hard = (evaluator(prototypes, table(noise)).accuracy[0] for noise in (0.01, 1.0, 3.0))
    assert easy.mean() == 1.0
    assert hard.mean() < 0.9
    np.testing.assert_array_equal(evaluator(model(), table()).accuracy[0], usual)


def test_lists_of_many_ways_are_compiled_once_each():
    """As in the validation of a training on a mixture: list after list, and all of them again."""
    evaluators = [evaluation.Evaluator(EpisodeSampler(LABELS, EpisodeSpec(way=w), 0).sample(2)) for w in range(2, 7)]
    traced, made = [], model(gradient_network="per_class", way=None)
    adapt = made.adapt
    made.adapt = lambda *arguments: traced.append(arguments[-1]) or adapt(*arguments)
    first, again = ([each(made, table()).loss for each in evaluators] for _ in range(2))
    assert traced == [2, 3, 4, 5, 6]
    np.testing.assert_array_equal(first, again)


def test_summary_is_paired():
    """Accuracies that differ by 0.1 in every episode: the difference has no spread although both have."""
    values = np.array([0.2, 0.5, 0.8])
    found = evaluation.Evaluation(np.stack([values, values + 0.1]), np.ones(3), 1.0)
    baseline = evaluation.Evaluation(values[None], np.ones(3), 1.0)
    summary = evaluation.summary(found, baseline)
    means = {"accuracy": 0.6, "baseline_accuracy": 0.5, "difference": 0.1, "difference_to_step_0": 0.1}
    spreads = {"ci95": 1.96 * 0.3 / np.sqrt(3), "baseline_ci95": 1.96 * 0.3 / np.sqrt(3), "difference_ci95": 0}
    for name, value in {**means, **spreads, "accuracy_by_step": [0.5, 0.6]}.items():
        assert summary[name] == pytest.approx(value, abs=1e-12), name


def test_a_comparison_is_paired():
    same = {"episode_hash": "aaa", "accuracy": 0.5}
    found = evaluation.compare(same, np.array([0.5, 0.7]), same, np.array([0.4, 0.6]))
    assert found["difference"] == pytest.approx(0.1)


def test_features_of_another_length_are_refused():
    rows = EpisodeSampler(LABELS, EpisodeSpec(), seed=4).sample(2)
    with pytest.raises(InputError, match="built for features of length 9; these have 8"):
        evaluation.Evaluator(rows)(model(feature_dim=9), table())


def test_the_evidence_bound_is_minus_the_outer_loss_of_all_queries():
    """Of 60 episodes of different sizes, in two batches; kl_weight is 1 in the bound."""
    rows = EpisodeSampler(LABELS, EpisodeSpec(query=(2, 6)), seed=2).sample(60)
    m = model(gradient_network="per_class", prior="gaussian", posterior="gaussian", posterior_samples=2)
    found = evaluation.evidence_bounds(m, rows, table())
    assert found.shape == (60,)
    for i in (0, 7, 55):
        one = rows.part(i, i + 1)
        loss = float(m.outer_loss(one.gather(table()), 5))
        assert found[i] == pytest.approx(-loss * one.query_mask.sum(), rel=1e-4)
