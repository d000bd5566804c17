"""What prior and posterior do: the same model with and without them, on the same test episodes, balanced and not.

    python -m benchmarks.bayes_rows --features_dir=RUN/features --output_dir=RUN/bayes

Meta-trains every variant (below) at every shot and seed on balanced episodes, in the released configuration but for
what the variant says, and measures it on balanced and on Dirichlet(2) episodes. The weight of the KL divergence is
chosen for each variant and shot on the validation classes. What is done already is not done again.
"""

import dataclasses
import sys
from pathlib import Path

from absl import flags

from sib_tf.commands import cli
from sib_tf.config import EpisodeSpec, MetaTrainConfig, SIBConfig

FLAGS = flags.FlagValues()
flags.DEFINE_string("features_dir", None, "Folder of a feature cache.", flag_values=FLAGS)
flags.DEFINE_string("output_dir", None, "Folder for the models and their metrics.", flag_values=FLAGS)
flags.mark_flags_as_required(["features_dir", "output_dir"], flag_values=FLAGS)
flags.DEFINE_list("shots", ["1", "5"], "Labelled pictures a class.", flag_values=FLAGS)
flags.DEFINE_list("kl_weights", ["0.01", "0.1", "1"], "Weights to choose from.", flag_values=FLAGS)
flags.DEFINE_integer("seeds", 3, "Meta-trainings of the chosen weight, with seeds 0, 1, ...", 1, flag_values=FLAGS)
flags.DEFINE_integer("steps", 50_000, "Outer steps of a meta-training.", 1, flag_values=FLAGS)
flags.DEFINE_integer("episodes", 2000, "Test episodes, the same for all variants.", 2, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "Seed of the test episodes.", 0, flag_values=FLAGS)

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
    for shot in shots:
        for variant, fields in VARIANTS.items():
            chosen = _chosen(cache, variant, fields, shot, weights) if "prior" in fields else None
            for seed in range(FLAGS.seeds):
                folder, _ = _trained(cache, variant, fields, shot, chosen, seed)
                _measure(folder, shot)


def _chosen(cache, variant: str, fields: dict, shot: int, weights: list[float]) -> float:
    """The weight of the KL divergence with the best validation accuracy at seed 0."""
    found = {weight: _trained(cache, variant, fields, shot, weight, 0)[1] for weight in weights}
    texts = ", ".join(f"{weight:g}: {100 * accuracy:.2f} %" for weight, accuracy in found.items())
    print(f"{variant}, {shot} shot: validation accuracy by kl_weight {texts}", flush=True)
    return max(found, key=found.get)


def _trained(cache, variant: str, fields: dict, shot: int, weight: float | None, seed: int) -> tuple[Path, float]:
    """Folder and best validation accuracy of a meta-training."""
    from sib_tf import meta_training

    name = f"{shot}shot_{variant}" + ("" if weight is None else f"_kl{weight:g}")
    folder = Path(FLAGS.output_dir) / f"{name}_seed{seed}"
    episodes = EpisodeSpec(shot=shot)
    config = MetaTrainConfig(episodes=episodes, validation=episodes, steps=FLAGS.steps, seed=seed)
    own = fields if weight is None else {**fields, "kl_weight": weight}
    model = dataclasses.replace(SIBConfig(**own), feature_dim=cache.feature_dim)
    return folder, meta_training.meta_train(cache, model, config, folder)


def _measure(folder: Path, shot: int) -> None:
    from sib_tf.reports import meta_test

    for name, fields in TESTS.items():
        path = folder / f"{name}.json"
        if not path.is_file():
            spec = EpisodeSpec(shot=shot, **fields)
            result = meta_test.meta_test(FLAGS.features_dir, folder, spec, FLAGS.episodes, FLAGS.seed)
            result.save(path)
            print(f"{folder.name}: {result.metrics['summary']}", flush=True)


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
