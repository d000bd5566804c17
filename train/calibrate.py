"""Makes a SIB model's probabilities mean what they say: fits temperatures on validation episodes.

    python -m train.calibrate --features_dir=RUN/features --model_dir=RUN/sib --way=5 --shot=1

Writes calibration.json into the model's folder, where evaluate and the exporters find it. Half of the episodes are
balanced, half have Dirichlet query sets, unless --balanced_fraction says otherwise.
"""

import sys

from absl import flags

from sib_tf.commands import cli
from sib_tf.config import EpisodeSpec
from train import episode_flags

FLAGS = flags.FlagValues()
flags.DEFINE_multi_string(
    "features_dir", None, "Folder of a feature cache; several for a head that any backbone takes.", required=True,
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_string("model_dir", None, "Folder of a meta-training.", required=True, flag_values=FLAGS)
episode_flags.define_support(FLAGS)
flags.DEFINE_float(
    "balanced_fraction", 0.5, "Share of balanced episodes; the others have Dirichlet query sets.", 0, 1,
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_integer("episodes", 1000, "Validation episodes.", 10, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "Seed of the episodes.", 0, flag_values=FLAGS)


def main() -> None:
    piles = {"query_distribution": "dirichlet", "balanced_fraction": FLAGS.balanced_fraction}
    spec = EpisodeSpec(**episode_flags.support(FLAGS), **piles)
    cli.load_tensorflow()
    from sib_tf import calibration

    fitted, before, after = calibration.calibrate(FLAGS.features_dir, FLAGS.model_dir, spec, FLAGS.episodes, FLAGS.seed)
    ece, nll = ([quality[name] for quality in (before, after)] for name in ("ece", "nll"))
    print(
        f"Calibrated {FLAGS.model_dir} on {FLAGS.episodes} validation episodes ({spec.describe()}): expected "
        f"calibration error {100 * ece[0]:.2f} -> {100 * ece[1]:.2f} %, negative log-likelihood {nll[0]:.3f} -> "
        f"{nll[1]:.3f}."
    )
    if fitted.known is None:
        print(f"'None of these' was not fitted: it takes more validation classes than the way, {spec.way[1]}.")


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
