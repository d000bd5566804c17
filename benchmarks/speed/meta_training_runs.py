"""Meta-training as it is run: sampling and validation included, from cached features and from pictures."""

import contextlib
import io
import tempfile

import numpy as np
import tensorflow as tf

from benchmarks.speed import head_steps, timing
from benchmarks.speed.head_steps import OURS, PEER, SPEC
from benchmarks.speed.synthetic import SyntheticFeatures, pictures
from benchmarks.speed.timing import Comparison, Contestant
from sib_tf import augmentation, backbones, meta_training, outer_steps
from sib_tf.config import BackboneConfig, MetaTrainConfig, PretrainConfig, SIBConfig
from sib_tf.episodes import EpisodeSampler, stream

_STEPS = 2000


def whole_run(rounds: int) -> Comparison:
    """Times 50,000 one-episode steps with 50 validations, from start to end."""
    return Comparison("run", {"`joint`": timing.in_turns({OURS: Contestant(_run)}, rounds, first_call=False)})


def _run() -> None:
    cache = SyntheticFeatures()
    model = SIBConfig(feature_dim=cache.feature_dim, num_steps=head_steps.NUM_STEPS)
    # Its progress is nobody's here.
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        meta_training.meta_train(cache, model, MetaTrainConfig(steps=50_000, batch_episodes=1), folder)


def from_cache(rounds: int) -> Comparison:
    """Times one-episode steps whose episodes are drawn meanwhile."""
    import torch

    from benchmarks.speed import released_head

    cache = SyntheticFeatures()
    table, sampler = cache.table("train"), EpisodeSampler(cache.labels("train"), SPEC, 0)
    trainer, batches = _trainer(table), iter(stream(sampler, 200, 1))

    def ours():
        for _ in range(_STEPS // 200):
            trainer.steps([next(batches)]).numpy()

    (head, outer), features = head_steps.peer(cache.feature_dim), torch.from_numpy(table)
    torch.set_num_threads(1)
    drawn = sampler.batches(1)

    def peer():
        for _ in range(_STEPS // 10):
            support, labels, _, query, wanted, _ = (torch.from_numpy(field).long() for field in next(drawn))
            released_head.train_step(head, outer, features[support], labels, features[query], wanted)

    times = timing.in_turns({OURS: Contestant(ours, _STEPS), PEER: Contestant(peer, _STEPS // 10)}, rounds)
    return Comparison("episode", {"D = 640": times}, {"D = 640": [(PEER, OURS)]})


def from_pictures(rounds: int) -> Comparison:
    """Times what caching features saves: the same steps when every episode's pictures are augmented and embedded."""
    cache = SyntheticFeatures(256)
    sampler = EpisodeSampler(cache.labels("train"), SPEC, 0)
    images, config = tf.constant(pictures(len(cache.labels("train")))), PretrainConfig()
    backbone = backbones.build(BackboneConfig())
    cached, embedded = _trainer(cache.table("train")), _trainer(np.zeros((80, 256), np.float32))
    episode = tf.Variable(tf.zeros((80, 256)), trainable=False)
    embedded.tables = [outer_steps.Table(episode)]
    batches, drawn = iter(stream(sampler, 200, 1)), iter(stream(sampler, 1, 1))
    places = {"support": tf.reshape(tf.range(5), (1, 1, 5)), "query": tf.reshape(tf.range(5, 80), (1, 1, 75))}

    @tf.function(autograph=False)
    def embed(rows, seed):
        return backbone(augmentation.augment(tf.gather(images, rows), seed, 32, config), training=False)

    def from_table():
        for _ in range(5):
            cached.steps([next(batches)]).numpy()

    def from_images():
        for step in range(40):
            rows = next(drawn)
            episode.assign(embed(tf.concat([rows.support[0, 0], rows.query[0, 0]], 0), tf.constant([0, step])))
            embedded.steps([rows._replace(**places)]).numpy()

    contestants = {"pictures": Contestant(from_images, 40), "cached features": Contestant(from_table, 1000)}
    times = timing.in_turns(contestants, rounds)
    return Comparison("episode", {"Conv-4-64": times}, {"Conv-4-64": [("pictures", "cached features")]})


def _trainer(table: np.ndarray) -> outer_steps.Trainer:
    return outer_steps.Trainer(head_steps.model(table.shape[1]), [table], MetaTrainConfig(batch_episodes=1))
