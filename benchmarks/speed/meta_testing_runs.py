"""Meta-testing 2,000 episodes, and drawing them."""

from benchmarks.speed import head_steps, timing
from benchmarks.speed.head_steps import OURS, PEER, SPEC
from benchmarks.speed.synthetic import SyntheticFeatures
from benchmarks.speed.timing import Comparison, Contestant
from sib_tf.config import EpisodeSpec
from sib_tf.episodes import EpisodeSampler
from sib_tf.evaluation import Evaluator
from sib_tf.sib import SIB

EPISODES = 2000


def measure(rounds: int) -> Comparison:
    """Times the evaluation of 2,000 drawn episodes."""
    times, ratios = {}, {}
    cache = SyntheticFeatures()
    table, rows = cache.table("test"), EpisodeSampler(cache.labels("test"), SPEC, 0).sample(EPISODES)
    for network in ("joint", "per_class"):
        setting = f"`{network}`"
        model = head_steps.model(table.shape[1], gradient_network=network)
        contestants = {OURS: _ours(model, table, rows)}
        if model.config.fixed_way is not None:  # As the released head.
            contestants[PEER] = _peer(table, rows)
            ratios[setting] = [(PEER, OURS)]
        times[setting] = timing.in_turns(contestants, rounds)
    return Comparison(
        "Meta-testing 2,000 episodes",
        "5-way 1-shot, 75 queries, D = 640, K = 3. sib_tf measures accuracy after every step k and the loss, on "
        "all cores; compiling, one to two seconds once, is not in it. The peer takes one episode at "
        "a time, as the released code does, on one thread, where it is fastest, and measures accuracy after the "
        "last step only.",
        "2,000 episodes",
        times,
        ratios,
    )


def sampler(rounds: int) -> Comparison:
    """Times drawing episodes."""
    cache, times = SyntheticFeatures(8), {}
    for words, spec in (
        ("5-way 1-shot, 15 queries a class", SPEC),
        ("20-way 5-shot, 15 queries a class", EpisodeSpec(way=20, shot=5)),
        ("5 to 20 ways, Dirichlet(2)", EpisodeSpec(way=(5, 20), query_distribution="dirichlet")),
    ):
        drawn = EpisodeSampler(cache.labels("train"), spec, 0).batches(64)
        times[words] = timing.in_turns({OURS: Contestant(lambda d=drawn: [next(d) for _ in range(8)], 512)}, rounds)
    return Comparison(
        "Drawing episodes",
        "Row numbers, labels and masks of seeded episodes out of 64 classes of 600 pictures, on one thread. There "
        "is no peer: in training this is done ahead, beside the steps.",
        "episode",
        times,
    )


def _ours(model: SIB, table, rows) -> Contestant:
    evaluator = Evaluator(rows)
    return Contestant(lambda: evaluator(model, table))


def _peer(table, rows) -> Contestant:
    import torch

    head = head_steps.peer_head(table.shape[1]).eval()
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
