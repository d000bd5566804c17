"""Meta-trains and measures the paper's rows: its configuration at every K, shot and seed, on the same test episodes.

    python -m benchmarks.paper_rows --features_dir=RUN/features --output_dir=RUN/rows

A row costs a meta-training (half a minute on two cores for Conv-4); K = 0, nearest prototypes, is the baseline of all.
What is done already is not done again.
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
flags.DEFINE_list("num_steps", ["1", "3", "5"], "K.", flag_values=FLAGS)
flags.DEFINE_integer("seeds", 3, "Meta-trainings of each row, with seeds 0, 1, ...", 1, flag_values=FLAGS)
flags.DEFINE_integer("steps", 50_000, "Outer steps of a meta-training.", 1, flag_values=FLAGS)
flags.DEFINE_integer("episodes", 2000, "Test episodes, the same for all rows of a shot.", 2, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "Seed of the test episodes.", 0, flag_values=FLAGS)


def main() -> None:
    shots, steps = (cli.numbers(name, FLAGS[name].value, int) for name in ("shots", "num_steps"))
    cli.load_tensorflow(one_thread=True)  # Steps of one episode.
    from sib_tf.features import FeatureCache

    cache = FeatureCache.open(FLAGS.features_dir)
    for shot in shots:
        for num_steps in steps:
            for seed in range(FLAGS.seeds):
                name = f"{shot}shot_k{num_steps}_seed{seed}"
                print(f"{name}: {_row(cache, Path(FLAGS.output_dir) / name, shot, num_steps, seed)}", flush=True)


def _row(cache, folder: Path, shot: int, num_steps: int, seed: int) -> str:
    from sib_tf import meta_training
    from sib_tf.reports import meta_test

    path = folder / "metrics.json"
    if path.is_file():
        return "measured already."
    episodes = EpisodeSpec(shot=shot)
    config = MetaTrainConfig(episodes=episodes, validation=episodes, steps=FLAGS.steps, seed=seed)
    model = dataclasses.replace(SIBConfig(num_steps=num_steps), feature_dim=cache.feature_dim)
    meta_training.meta_train(cache, model, config, folder)
    result = meta_test.meta_test(FLAGS.features_dir, folder, episodes, FLAGS.episodes, FLAGS.seed)
    result.save(path)
    return result.metrics["summary"]


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
