"""Meta-training: what a step does, that it learns, resumes to the digit, and stops when it must."""

import itertools
import json
import signal
import time
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from test_pretraining import last_state

from sib_tf import checkpoints, meta_training, outer_steps, snapshots
from sib_tf.config import EpisodeSpec, MetaTrainConfig, SIBConfig
from sib_tf.episodes import EpisodeRows, EpisodeSampler, stream
from sib_tf.evaluation import Evaluator, mean_and_ci95, prototypes
from sib_tf.runs import load_model
from sib_tf.sib import SIB
from sib_tf.storage import preemption

LABELS = np.repeat(np.arange(8), 30)
SPEC = EpisodeSpec(way=3, query=6)


class MemoryCache:
    """A feature cache in memory: clusters of 12-d features, the validation classes apart from the training ones."""

    views, feature_dim = 1, 12
    identity = {"dataset": {"name": "clusters"}, "backbone": {"name": "none"}}

    def table(self, split):
        random = np.random.RandomState(["train", "validation"].index(split))
        return (random.normal(size=(8, 12))[LABELS] + 1.2 * random.normal(size=(240, 12))).astype("f")

    def labels(self, split):
        return LABELS


def model_config(**settings) -> SIBConfig:
    # One inner step compiles fastest; the recorded runs cover several.
    small = {"feature_dim": 12, "way": None, "num_steps": 1, "gradient_network": "per_class"}
    return SIBConfig(**{**small, "inner_learning_rate": 1e-2, **settings})


def train_config(**settings) -> MetaTrainConfig:
    small = {"episodes": SPEC, "validation": SPEC, "steps": 40, "batch_episodes": 2, "validation_episodes": 60}
    return MetaTrainConfig(**{**small, "validate_every": 20, "steps_per_call": 10, **settings})


def meta_train(folder, config: MetaTrainConfig | None = None, **settings) -> float:
    return meta_training.meta_train(MemoryCache(), model_config(**settings), config or train_config(), folder)


def make_trainer(config: MetaTrainConfig, cores: int | None = None, **settings) -> outer_steps.Trainer:
    tf.keras.utils.set_random_seed(0)
    model = SIB(model_config(**settings))
    model.build()
    return outer_steps.Trainer(model, [MemoryCache().table("train")], config, cores)


def batches(steps: int, episodes: int):
    """`[steps, episodes, ...]` rows, call after call."""
    return iter(stream(EpisodeSampler(LABELS, SPEC, seed=0), steps, episodes))


def after_call(number: int, act: Callable) -> Callable:
    """`Trainer.steps`, but that `act` is called with the trainer after the call of that number."""
    steps, calls = outer_steps.Trainer.steps, itertools.count(1)

    def then_acts(self, rows):
        losses = steps(self, rows)
        if next(calls) == number:
            act(self)
        return losses

    return then_acts


def test_one_call_of_many_steps_equals_many_calls_of_one():
    results = []
    for per_call in (6, 1):
        trainer, rows = make_trainer(train_config()), batches(per_call, 2)
        losses = np.concatenate([trainer.steps([next(rows)]) for _ in range(6 // per_call)])
        results.append((losses, *trainer.model.get_weights()))
    for together, apart in zip(*results, strict=True):
        np.testing.assert_allclose(together, apart, atol=1e-6)


def test_parts_have_at_least_four_episodes_and_are_equal():
    for cores, expected in {1: [1, 1, 1, 1, 1, 1, 1], 2: [1, 1, 2, 2, 1, 2, 2], 16: [1, 1, 2, 2, 1, 4, 16]}.items():
        assert [train_config(batch_episodes=b).parts(cores) for b in (1, 4, 8, 10, 13, 16, 64)] == expected


def test_a_batch_in_parts_is_the_batch():
    """The same losses and parameters, the posterior's samples included, whatever is computed at a time."""
    results, sampled = [], {"prior": "gaussian", "posterior": "gaussian", "posterior_samples": 2}
    for cores, together in ((2, False), (1, False), (1, True)):
        trainer = make_trainer(train_config(batch_episodes=8), cores, **sampled)
        trainer.together = together
        losses = trainer.steps([next(batches(5, 8))]).numpy()
        results.append((trainer.parts, losses, *trainer.model.get_weights()))
    assert [result[0] for result in results] == [2, 1, 1]
    for other in results[:2]:
        for apart, whole in zip(other[1:], results[2][1:], strict=True):
            np.testing.assert_allclose(apart, whole, rtol=0, atol=2e-6)


def test_loss_is_the_mean_over_episodes_of_the_mean_over_queries():
    """Episodes of different sizes weigh the same, and padding weighs nothing."""
    model, table = make_trainer(train_config()).model, MemoryCache().table("train")
    rows = EpisodeSampler(LABELS, EpisodeSpec(way=3, query=(1, 8)), seed=1).sample(5)
    together = model.outer_loss(rows.gather(table), 3)
    alone = []
    for i in range(5):
        one = rows.part(i, i + 1)
        keep = one.query_mask[0]
        one = one._replace(**{name: getattr(one, name)[:, keep] for name in ("query", "query_labels", "query_mask")})
        alone.append(float(model.outer_loss(one.gather(table), 3)))
    assert len(set(rows.query_mask.sum(axis=1))) > 1
    assert float(together) == pytest.approx(np.mean(alone), abs=1e-5)


def test_a_step_on_a_mixture_is_on_the_mean_of_the_losses():
    """Also of episodes of other shapes: the gradient is that of the mean, so plain SGD's steps are the means too."""
    specs, losses, changes = [SPEC, EpisodeSpec(way=4, shot=2, query=3)], [], []
    rows = [EpisodeSampler(LABELS, spec, seed=3).sample(2) for spec in specs]
    stacked = [EpisodeRows(*(field[None] for field in each)) for each in rows]
    for chosen in (slice(0, 1), slice(1, 2), slice(0, 2)):
        first, *more = specs[chosen]
        trainer = make_trainer(train_config(episodes=first, mixture=tuple(more), momentum=0.0, learning_rate=0.1))
        before = trainer.model.get_weights()
        losses.append(float(trainer.steps(stacked[chosen])[0]))
        changes.append([new - old for new, old in zip(trainer.model.get_weights(), before, strict=True)])
    assert losses[2] == pytest.approx((losses[0] + losses[1]) / 2, abs=1e-6)
    for one, other, both in zip(*changes, strict=True):
        np.testing.assert_allclose(both, (one + other) / 2, atol=1e-6)


def test_a_mixture_is_validated_on_a_list_for_each(tmp_path):
    config = train_config(mixture=(EpisodeSpec(way=4, shot=2, query=3),), steps=20)
    best = meta_train(tmp_path / "run", config, num_steps=0)
    record = json.loads((tmp_path / "run/config.json").read_text())
    assert MetaTrainConfig.from_dict(record["meta_training"]) == config
    assert len(set(record["validation_episode_hashes"])) == 2
    model, table = load_model(tmp_path / "run")[0], MemoryCache().table("validation")
    lists = meta_training.validation_lists([MemoryCache()], config)
    assert best == pytest.approx(np.mean([Evaluator(rows)(model, table).accuracy[-1].mean() for rows in lists]))


def test_a_model_that_is_never_right_is_kept_too(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshots, "mean_and_ci95", lambda _: (0.0, 0.0))
    assert meta_train(tmp_path / "run", train_config(steps=20), num_steps=1) == 0.0
    assert load_model(tmp_path / "run")[0].config.num_steps == 1


def test_specifications_of_a_mixture_draw_episodes_of_their_own():
    config = train_config(mixture=(SPEC, SPEC))
    rows = [sampler.sample(20).support for sampler in meta_training.training_samplers([MemoryCache()], config)]
    assert not any(np.array_equal(rows[i], rows[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.slow
def test_it_learns_to_beat_its_own_start(tmp_path):
    config = train_config(
        steps=600, batch_episodes=8, optimizer="adam", learning_rate=3e-3, validate_every=200, steps_per_call=100
    )
    best = meta_train(tmp_path / "run", config, inner_learning_rate=3e-2)
    rows = EpisodeSampler(LABELS, SPEC, seed=99).sample(400)
    evaluator, table = Evaluator(rows), MemoryCache().table("validation")
    trained = evaluator(load_model(tmp_path / "run")[0], table).accuracy[-1]
    gain, half = mean_and_ci95(trained - evaluator(prototypes(12, 3), table).accuracy[-1])
    assert gain - half > 0.01
    assert best > 0.5


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of an unbroken run."""
    folder = tmp_path_factory.mktemp("finished")
    meta_train(folder)
    return folder


def test_folder_holds_what_is_needed_to_do_it_again(finished):
    record = json.loads((finished / "config.json").read_text())
    assert record["features"] == MemoryCache.identity
    assert MetaTrainConfig.from_dict(record["meta_training"]) == train_config()
    assert SIBConfig.from_dict(record["model"]) == model_config()
    assert [len(value) for value in record["validation_episode_hashes"]] == [64]
    history = (finished / "history.csv").read_text().splitlines()
    assert history[0] == "step,loss,validation_accuracy,validation_ci95"
    assert [row.split(",")[0] for row in history[1:]] == ["20", "40"]


def test_a_run_that_is_broken_off_and_then_stopped_goes_on_to_the_same_parameters(finished, tmp_path, monkeypatch):
    """Cut off after the first validation, then SIGTERM between two: bit for bit the unbroken run, with one history."""
    real = snapshots.Snapshots._keep

    def cut_off(self, step, *arguments):
        if step == 40:
            raise KeyboardInterrupt
        real(self, step, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(snapshots.Snapshots, "_keep", cut_off)
        with pytest.raises(KeyboardInterrupt):
            meta_train(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(outer_steps.Trainer, "steps", after_call(1, lambda _: signal.raise_signal(signal.SIGTERM)))
        with pytest.raises(preemption.Preempted) as stopped:
            meta_train(tmp_path)
    assert stopped.value.code == 143
    assert stopped.value.message == "The state of step 30 is saved; the same command goes on from there."
    meta_train(tmp_path)
    check_same_run(tmp_path, finished)


def check_same_run(folder, expected) -> None:
    assert (folder / "history.csv").read_text() == (expected / "history.csv").read_text()
    states = [last_state(run) for run in (folder, expected)]
    for state in states:
        del state["losses/.ATTRIBUTES/VARIABLE_VALUE"]  # Left over; their mean is in the history.
    np.testing.assert_equal(*states)
    for name in ("best.keras", "last.keras"):
        np.testing.assert_equal(*(checkpoints.load_model(run / name).get_weights() for run in (folder, expected)))


def test_training_goes_on_while_a_snapshot_is_validated(finished, tmp_path, monkeypatch):
    """However long that takes, what is validated and written is the model of its step."""
    real, ahead = snapshots.Snapshots._keep, []

    def late(self, step, *arguments):
        end = time.monotonic() + 30
        while step < 40 and int(self.trainer.optimizer.iterations) < step + 20 and time.monotonic() < end:
            time.sleep(0.01)
        ahead.append(int(self.trainer.optimizer.iterations) - step)
        real(self, step, *arguments)

    monkeypatch.setattr(snapshots.Snapshots, "_keep", late)
    meta_train(tmp_path)
    assert ahead == [20, 0]
    check_same_run(tmp_path, finished)


def test_a_loss_that_is_not_finite_stops_with_its_step_and_keeps_the_state(tmp_path, monkeypatch):
    poisoned = after_call(3, lambda trainer: trainer.model.logit_scale.assign(np.nan))  # The validation is at 20.
    monkeypatch.setattr(outer_steps.Trainer, "steps", poisoned)
    message = r"The loss became nan at step 31; .* state of step 20 and the best model"
    with pytest.raises(meta_training.DivergenceError, match=message) as caught:
        meta_train(tmp_path / "run", num_steps=0)
    assert caught.value.step == 31
    assert all(np.isfinite(w).all() for w in load_model(tmp_path / "run")[0].get_weights())
