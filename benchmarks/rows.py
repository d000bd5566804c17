"""Rows of tables, each a meta-training of its own: what `benchmarks.paper_rows` and `benchmarks.bayes_rows` share."""

from pathlib import Path

from absl import flags

from sib_tf.config import EpisodeSpec, MetaTrainConfig, SIBConfig


def common_flags() -> flags.FlagValues:
    """Returns new flags with those that both commands have."""
    values = flags.FlagValues()
    flags.DEFINE_string("features_dir", None, "Folder of a feature cache.", required=True, flag_values=values)
    flags.DEFINE_string("output_dir", None, "Folder for models and their metrics.", required=True, flag_values=values)
    flags.DEFINE_list("shots", ["1", "5"], "Labelled pictures a class.", flag_values=values)
    flags.DEFINE_integer("seeds", 3, "Meta-trainings of each row, with seeds 0, 1, ...", 1, flag_values=values)
    flags.DEFINE_integer("steps", 50_000, "Outer steps of a meta-training.", 1, flag_values=values)
    flags.DEFINE_integer("episodes", 2000, "Test episodes, the same for all rows of a shot.", 2, flag_values=values)
    flags.DEFINE_integer("seed", 0, "Seed of the test episodes.", 0, flag_values=values)
    return values


def train(cache, folder: Path, shot: int, seed: int, steps: int, **model) -> float:
    """Meta-trains the released configuration, but for what `model` says; returns the best validation accuracy."""
    from sib_tf import meta_training

    episodes = EpisodeSpec(shot=shot)
    config = MetaTrainConfig(episodes=episodes, validation=episodes, steps=steps, seed=seed)
    return meta_training.meta_train(cache, SIBConfig(feature_dim=cache.feature_dim, **model), config, folder)


def measure(values: flags.FlagValues, path: Path, spec: EpisodeSpec) -> str:
    """Measures the model in the folder of `path` on test episodes, writes `path`, and returns the summary."""
    from sib_tf.reports import meta_test

    result = meta_test.meta_test(values.features_dir, path.parent, spec, values.episodes, values.seed)
    result.save(path)
    return result.metrics["summary"]
