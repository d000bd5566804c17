"""Meta-testing 2,000 episodes, and drawing them."""

from benchmarks.speed import head_steps, timing
from benchmarks.speed.head_steps import OURS, PEER, SPEC
from benchmarks.speed.synthetic import SyntheticFeatures
from benchmarks.speed.timing import Comparison, Contestant
from sib_tf.config import SIBConfig
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
        contestants = {OURS: _ours(network, table, rows)}
        if network == "joint":
            contestants[PEER] = _peer(table, rows)
            ratios[f"`{network}`"] = [(PEER, OURS)]
        times[f"`{network}`"] = timing.in_turns(contestants, rounds)
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
        ("20-way 5-shot, 15 queries a class", head_steps.EpisodeSpec(way=20, shot=5)),
        ("5 to 20 ways, Dirichlet(2)", head_steps.EpisodeSpec(way=(5, 20), query_distribution="dirichlet")),
    ):
        drawn = EpisodeSampler(cache.labels("train"), spec, 0).batches(64)
        times[words] = timing.in_turns({OURS: Contestant(lambda d=drawn: [next(d) for _ in range(8)], 512)}, rounds)
    return Comparison(
        "Drawing episodes",
        "Row numbers, labels and masks of seeded episodes out of 64 classes of 600 pictures, on one thread. There "
        "is no peer: in training this is done ahead, beside the steps.",
        "episode",
        times,
        {},
    )


def _ours(network: str, table, rows) -> Contestant:
    config = SIBConfig(
        feature_dim=table.shape[1], way=SPEC.fixed_way(), num_steps=head_steps.NUM_STEPS, gradient_network=network
    )
    model, evaluator = SIB(config), Evaluator(rows)
    model.build()
    return Contestant(lambda: evaluator(model, table))


def _peer(table, rows) -> Contestant:
    import torch

    from benchmarks.speed.released_head import ReleasedHead

    head = ReleasedHead(SPEC.fixed_way(), table.shape[1], head_steps.NUM_STEPS, 1e-3).eval()
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
