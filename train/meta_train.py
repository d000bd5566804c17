"""Stage 2: meta-trains a SIB model on cached features.

    python -m train.meta_train --features_dir=RUN/features --way=5 --shot=1 --num_steps=3 \\
        --gradient_network=per_class --output_dir=RUN/sib

Defaults are the released code's. Stopped, the same command goes on from the last validation.
"""

import sys

from absl import flags

from sib_tf.config import GRADIENT_NETWORKS, OPTIMIZERS, STEP_REDUCTIONS, MetaTrainConfig, SIBConfig
from train import cli, episode_flags

FLAGS = flags.FlagValues()
flags.DEFINE_string("features_dir", None, "Folder of a feature cache.", flag_values=FLAGS)
flags.DEFINE_string("output_dir", None, "Folder of this run.", flag_values=FLAGS)
flags.mark_flags_as_required(["features_dir", "output_dir"], flag_values=FLAGS)
episode_flags.define(FLAGS)
flags.DEFINE_float("balanced_fraction", 0.0, "Share of balanced episodes among Dirichlet ones.", flag_values=FLAGS)
flags.DEFINE_string("validation_way", None, "--way of the validation list. Default: the largest.", flag_values=FLAGS)
flags.DEFINE_enum(
    "gradient_network",
    "joint",
    GRADIENT_NETWORKS,
    "Synthetic gradient network: the paper's, for one way, or ours, for any way.",
    flag_values=FLAGS,
)
flags.DEFINE_integer("hidden_units", None, "Its hidden width. Default: joint 8 * way, per_class 32.", flag_values=FLAGS)
flags.DEFINE_integer("num_steps", 3, "K, synthetic-gradient steps.", flag_values=FLAGS)
flags.DEFINE_float("inner_learning_rate", 1e-3, "eta, size of a synthetic-gradient step.", flag_values=FLAGS)
flags.DEFINE_enum("step_reduction", "sum", STEP_REDUCTIONS, "How queries add up in a step.", flag_values=FLAGS)
flags.DEFINE_integer("steps", 50_000, "Outer steps.", flag_values=FLAGS)
flags.DEFINE_integer("batch_episodes", 1, "B, episodes per outer step.", flag_values=FLAGS)
flags.DEFINE_enum("optimizer", "sgd", OPTIMIZERS, "Outer optimiser.", flag_values=FLAGS)
flags.DEFINE_float("learning_rate", 1e-3, "Outer learning rate.", flag_values=FLAGS)
flags.DEFINE_float("momentum", 0.9, "Nesterov momentum of sgd.", flag_values=FLAGS)
flags.DEFINE_float("weight_decay", 5e-4, "sgd: coupled; adamw: decoupled; adam: none.", flag_values=FLAGS)
flags.DEFINE_bool("cosine_decay", False, "Let the outer learning rate fall to zero.", flag_values=FLAGS)
flags.DEFINE_integer("validation_episodes", 1000, "Length of the fixed validation list.", flag_values=FLAGS)
flags.DEFINE_integer("validate_every", 1000, "Outer steps between validations.", flag_values=FLAGS)
flags.DEFINE_integer("steps_per_call", 100, "Outer steps per compiled call; only speed.", flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "Seed of weights and episodes.", flag_values=FLAGS)


def main() -> None:
    names = ("steps", "batch_episodes", "optimizer", "learning_rate", "momentum", "weight_decay", "cosine_decay")
    names += ("validation_episodes", "validate_every", "steps_per_call", "seed")
    episodes = episode_flags.spec(FLAGS, balanced_fraction=FLAGS.balanced_fraction)
    way = cli.number_range("validation_way", FLAGS.validation_way or str(episodes.way[1]))
    config = MetaTrainConfig(
        episodes=episodes,
        validation=episode_flags.spec(FLAGS, way=way, balanced_fraction=FLAGS.balanced_fraction),
        **{name: FLAGS[name].value for name in names},
    )
    names = ("gradient_network", "hidden_units", "num_steps", "inner_learning_rate", "step_reduction")
    shape = {name: FLAGS[name].value for name in names}
    shape["way"] = episodes.fixed_way() if FLAGS.gradient_network == "joint" else None
    if shape["way"] and way != episodes.way:
        raise cli.InputError(
            f"validation_way must be {shape['way']} for gradient_network=joint, like way; got {FLAGS.validation_way}."
        )
    SIBConfig(**shape)  # Before the features: a wrong flag should not wait for them.
    cli.load_tensorflow()
    from sib_tf import meta_training
    from sib_tf.features import FeatureCache

    cache = FeatureCache.open(FLAGS.features_dir)
    best = meta_training.meta_train(cache, SIBConfig(feature_dim=cache.feature_dim, **shape), config, FLAGS.output_dir)
    print(
        f"SIB ({FLAGS.gradient_network}, K = {FLAGS.num_steps}) in {FLAGS.output_dir}: {100 * best:.2f} % on "
        f"{config.validation_episodes} validation episodes at its best."
    )


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
