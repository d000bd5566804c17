"""What prior and posterior do: the same model with and without them, on the same test episodes, balanced and not.

    python -m benchmarks.bayes_rows --features_dir=RUN/features --output_dir=RUN/bayes

Meta-trains every variant (below) at every shot and seed on balanced episodes, in the released configuration but for
what the variant says, and measures it on balanced and on Dirichlet(2) episodes. The weight of the KL divergence is
chosen for each variant and shot on the validation classes. What is done already is not done again.
"""

import itertools
import sys
from pathlib import Path

from absl import flags

from benchmarks import rows
from sib_tf.commands import cli
from sib_tf.config import EpisodeSpec

FLAGS = rows.common_flags()
flags.DEFINE_list("kl_weights", ["0.01", "0.1", "1"], "Weights to choose from.", flag_values=FLAGS)

# With 75 queries a mean of eta 0.075 is a sum of eta 0.001, the released one.
_MEAN = {"step_reduction": "mean", "inner_learning_rate": 0.075}
VARIANTS = {
    "released": {},
    "mean": _MEAN,
    "prior": {**_MEAN, "prior": "gaussian"},
    "posterior": {**_MEAN, "prior": "gaussian", "posterior": "gaussian"},
}
TESTS = {"balanced": {}, "dirichlet": {"query_distribution": "dirichlet"}}


def main() -> None:
    shots, weights = cli.numbers("shots", FLAGS.shots, int), cli.numbers("kl_weights", FLAGS.kl_weights, float)
    cli.load_tensorflow(one_thread=True)  # Steps of one episode.
    from sib_tf.features import FeatureCache

    cache = FeatureCache.open(FLAGS.features_dir)
    for shot, variant in itertools.product(shots, VARIANTS):
        weight = _chosen(cache, variant, shot, weights) if "prior" in VARIANTS[variant] else None
        for seed in range(FLAGS.seeds):
            folder, _ = _trained(cache, variant, shot, weight, seed)
            for test, fields in TESTS.items():
                path = folder / f"{test}.json"
                if not path.is_file():
                    print(f"{folder.name}: {rows.measure(FLAGS, path, EpisodeSpec(shot=shot, **fields))}", flush=True)


def _chosen(cache, variant: str, shot: int, weights: list[float]) -> float:
    """The weight of the KL divergence with the best validation accuracy at seed 0."""
    found = {weight: _trained(cache, variant, shot, weight, 0)[1] for weight in weights}
    texts = ", ".join(f"{weight:g}: {100 * accuracy:.2f} %" for weight, accuracy in found.items())
    print(f"{variant}, {shot} shot: validation accuracy by kl_weight {texts}", flush=True)
    return max(found, key=found.get)


def _trained(cache, variant: str, shot: int, weight: float | None, seed: int) -> tuple[Path, float]:
    """Folder and best validation accuracy of a meta-training."""
    name, fields = f"{shot}shot_{variant}", VARIANTS[variant]
    if weight is not None:
        name, fields = f"{name}_kl{weight:g}", {**fields, "kl_weight": weight}
    folder = Path(FLAGS.output_dir) / f"{name}_seed{seed}"
    return folder, rows.train(cache, folder, shot, seed, FLAGS.steps, **fields)


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
