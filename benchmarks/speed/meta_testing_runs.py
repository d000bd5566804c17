"""Meta-testing 2,000 episodes, and drawing them."""

from benchmarks.speed import head_steps, timing
from benchmarks.speed.head_steps import OURS, PEER, SPEC
from benchmarks.speed.synthetic import SyntheticFeatures
from benchmarks.speed.timing import Comparison, Contestant
from sib_tf.config import EpisodeSpec
from sib_tf.episodes import EpisodeSampler
from sib_tf.evaluation import Evaluator

EPISODES = 2000


def measure(rounds: int) -> Comparison:
    """Times the evaluation of 2,000 drawn episodes."""
    times, ratios = {}, {}
    cache = SyntheticFeatures()
    table, rows = cache.table("test"), EpisodeSampler(cache.labels("test"), SPEC, 0).sample(EPISODES)
    evaluator = Evaluator(rows)
    for network in ("joint", "per_class"):
        setting = f"`{network}`"
        model = head_steps.model(table.shape[1], gradient_network=network)
        contestants = {OURS: Contestant(lambda m=model: evaluator(m, table))}
        if model.config.fixed_way is not None:  # As the released head.
            contestants[PEER] = _peer(table, rows)
            ratios[setting] = [(PEER, OURS)]
        times[setting] = timing.in_turns(contestants, rounds)
    return Comparison("2,000 episodes", times, ratios)


def sampler(rounds: int) -> Comparison:
    """Times drawing episodes."""
    labels, times = SyntheticFeatures(8).labels("train"), {}
    for words, spec in (
        ("5-way 1-shot, 15 queries a class", SPEC),
        ("20-way 5-shot, 15 queries a class", EpisodeSpec(way=20, shot=5)),
        ("5 to 20 ways, Dirichlet(2)", EpisodeSpec(way=(5, 20), query_distribution="dirichlet")),
    ):
        drawn = EpisodeSampler(labels, spec, 0).batches(64)
        times[words] = timing.in_turns({OURS: Contestant(lambda d=drawn: [next(d) for _ in range(8)], 512)}, rounds)
    return Comparison("episode", times)


def _peer(table, rows) -> Contestant:
    import torch

    head, _ = head_steps.peer(table.shape[1])
    head.eval()
    features = torch.from_numpy(table)
    fields = [torch.from_numpy(f).long() for f in (rows.support, rows.support_labels, rows.query, rows.query_labels)]

    def run():
        torch.set_num_threads(1)
        right = 0
        for i in range(EPISODES):
            support, labels, query, wanted = (f[i : i + 1] for f in fields)
            _, logits = head(features[support], labels, features[query])
            right += (logits.argmax(-1) == wanted).sum()
        return right

    return Contestant(run)
