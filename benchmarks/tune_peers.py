"""Chooses the constants of the compared methods on episodes of the validation classes, never of the test classes.

    python -m benchmarks.tune_peers --features_dir=RUN/features --output=RUN/sweeps/tuned.json

Every method has a small grid (benchmarks/tuning.py). Its best point is chosen at 1 and at 5 shots, three times: on a
mixture, half of it balanced and half Dirichlet(2) episodes; on balanced ones; on Dirichlet(2) ones. What the output
holds already is not measured again.
"""

import sys
from pathlib import Path

from absl import flags

from sib_tf.commands import cli

FLAGS = flags.FlagValues()
flags.DEFINE_string("features_dir", None, "Folder of a feature cache.", required=True, flag_values=FLAGS)
flags.DEFINE_string("output", None, "File for the constants, ending in .json.", required=True, flag_values=FLAGS)
flags.DEFINE_list("peers", None, "Names of methods; all of them if left out.", flag_values=FLAGS)
flags.DEFINE_integer("episodes", 500, "Episodes of each validation list.", 2, flag_values=FLAGS)
flags.DEFINE_integer("slow_episodes", 150, "Of these, for tim_gd and alpha_tim.", 2, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "Seed of the lists.", 0, flag_values=FLAGS)


def main() -> None:
    if not FLAGS.output.endswith(".json"):
        raise cli.InputError(f"output must end in .json; got {FLAGS.output}.")
    cli.load_tensorflow()
    from benchmarks import tuning
    from benchmarks.peers import known_names
    from sib_tf.features import FeatureCache
    from sib_tf.storage import atomic

    names = known_names(FLAGS.peers)
    cache = FeatureCache.open(FLAGS.features_dir)
    held = atomic.read_json(FLAGS.output, "output") if Path(FLAGS.output).is_file() else None
    for record in tuning.tune(cache, names, FLAGS.episodes, FLAGS.slow_episodes, FLAGS.seed, held):
        atomic.write_json(FLAGS.output, record)
    print(f"Constants: {FLAGS.output}")


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
