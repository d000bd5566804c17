"""The head against numbers recorded from the released PyTorch code, for every file in SIB_GOLDEN_DIR."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from sib_tf.config import EpisodeSpec, MetaTrainConfig, SIBConfig
from sib_tf.episodes import Episode, EpisodeRows
from sib_tf.outer_steps import Trainer
from sib_tf.sib import SIB

FOLDER = Path(os.environ.get("SIB_GOLDEN_DIR", Path(__file__).parents[1] / "../shared/reference/golden")).resolve()
FILES = sorted(FOLDER.glob("head_*.npz"))
# Beyond this inner rate the SGD runs are chaotic: correct implementations drift apart. Their first steps agree.
CHAOTIC_RATE, CHAOTIC_STEPS = 2e-3, 3

pytestmark = pytest.mark.skipif(not FILES, reason=f"no recorded numbers (head_*.npz) in {FOLDER}; set SIB_GOLDEN_DIR")


class Recording:
    """One file: its arrays, its settings, and a model that starts from its parameters."""

    def __init__(self, path: Path):
        with np.load(path) as arrays:
            self.arrays = dict(arrays)
        self.meta = json.loads(str(self.arrays["meta"]))
        names = ("feature_dim", "way", "num_steps", "inner_learning_rate")
        self.model = SIB(SIBConfig(**{name: self.meta[name] for name in names}))
        self.model.build()
        network = self.model.gradient_networks[0]
        self.variables = {
            "feature_scale": self.model.initialization.feature_scale,
            "logit_scale": self.model.logit_scale,
            "logit_bias": self.model.logit_bias,
        }
        for i in (1, 2, 3):
            dense = getattr(network, f"dense{i}")
            self.variables |= {f"dense{i}_kernel": dense.kernel, f"dense{i}_bias": dense.bias}
        for i in (1, 2):
            norm = getattr(network, f"norm{i}")
            self.variables |= {f"norm{i}_gamma": norm.gamma, f"norm{i}_beta": norm.beta}
        for name, variable in self.variables.items():
            variable.assign(self.arrays[f"init/{name}"].reshape(variable.shape))

    def episode(self, prefix: str = "") -> Episode:
        """The recorded episode(s), with one episode a batch in front of the recorded axes."""
        support, labels, query, query_labels = (
            np.expand_dims(self.arrays[prefix + name], -3 if name.endswith("features") else -2)
            for name in ("support_features", "support_labels", "query_features", "query_labels")
        )
        masks = [np.ones(x.shape, bool) for x in (labels, query_labels)]
        return Episode(support, labels, masks[0], query, query_labels, masks[1])


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def recording(request) -> Recording:
    return Recording(request.param)


def test_classifier_weights_after_every_step_and_logits(recording):
    e = recording.episode()
    path, class_mask = recording.model.adapt(e.support, e.support_labels, e.query, e.support_mask, e.query_mask)
    np.testing.assert_allclose(np.concatenate(path), recording.arrays["theta"], rtol=0, atol=1e-5)
    logits = recording.model.classify(path[-1], e.query, class_mask)[0]
    np.testing.assert_allclose(logits, recording.arrays["logits"], rtol=0, atol=1e-4)


def test_outer_loss_and_its_gradients(recording):
    names = list(recording.variables)
    with tf.GradientTape() as tape:
        loss = recording.model.outer_loss(recording.episode(), recording.meta["way"])
    gradients = tape.gradient(loss, [recording.variables[name].value for name in names])
    np.testing.assert_allclose(loss, recording.arrays["loss"], rtol=1e-5)
    for name, gradient in zip(names, gradients, strict=True):
        expected = recording.arrays[f"grad/{name}"].reshape(gradient.shape)
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-4 * np.abs(expected).max(), err_msg=name)


def test_sgd_run_of_the_compiled_trainer(recording):
    """Nesterov momentum and coupled weight decay, many steps in one compiled call, against the recorded run."""
    meta = recording.meta
    episodes = recording.episode("train/")
    # The recorded features become the rows of a table, so that the real training step gathers them.
    shape = episodes.support_labels.shape[:2]
    table = np.concatenate([x.reshape(-1, meta["feature_dim"]) for x in (episodes.support, episodes.query)])
    support_rows = np.arange(episodes.support_labels.size).reshape(*shape, -1)
    query_rows = np.arange(episodes.query_labels.size).reshape(*shape, -1) + support_rows.size
    config = MetaTrainConfig(
        episodes=EpisodeSpec(way=meta["way"], shot=meta["shot"], query=meta["query_per_class"]),
        learning_rate=meta["outer_learning_rate"],
        momentum=meta["momentum"],
        weight_decay=meta["weight_decay"],
    )
    trainer = Trainer(recording.model, [table], config)
    rows = episodes._replace(support=support_rows.astype(np.int32), query=query_rows.astype(np.int32))
    losses = trainer.steps([EpisodeRows(*map(tf.constant, rows))]).numpy()
    chaotic = meta["inner_learning_rate"] > CHAOTIC_RATE
    compared = CHAOTIC_STEPS if chaotic else meta["train_steps"]
    np.testing.assert_allclose(losses[:compared], recording.arrays["train/losses"][:compared], rtol=0, atol=1e-4)
    if not chaotic:
        for name, variable in recording.variables.items():
            expected = recording.arrays[f"trained/{name}"].reshape(variable.shape)
            np.testing.assert_allclose(variable.numpy(), expected, rtol=0, atol=1e-4, err_msg=name)
