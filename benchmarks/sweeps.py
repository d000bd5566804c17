"""Compares transductive few-shot methods on realistic query sets: the same test episodes and features for all.

    python -m benchmarks.sweeps --features_dir=RUN/features --models=joint=RUN/joint,per_class=RUN/per_class \\
        --tuned=RUN/sweeps/tuned.json --output_dir=RUN/sweeps

Writes one JSON file a setting (benchmarks/settings.py); what is measured already is not measured again. --quick
measures a part of the settings on fewer episodes.
"""

import sys

from absl import flags

from sib_tf.commands import cli, record_flags

FLAGS = flags.FlagValues()
flags.DEFINE_string("features_dir", None, "Folder of a feature cache.", required=True, flag_values=FLAGS)
flags.DEFINE_string("output_dir", None, "Folder for the results.", required=True, flag_values=FLAGS)
flags.DEFINE_list("models", [], "SIB models: name=FOLDER of a meta-training, separated by commas.", flag_values=FLAGS)
flags.DEFINE_string("tuned", None, "File of benchmarks.tune_peers; only authors' constants without.", flag_values=FLAGS)
flags.DEFINE_list("peers", None, "Names of methods; all of them if left out.", flag_values=FLAGS)
flags.DEFINE_list("settings", None, "Names of settings; all of them if left out.", flag_values=FLAGS)
flags.DEFINE_integer("episodes", None, "Episodes of each list; 2000, or 300 with --quick.", 2, flag_values=FLAGS)
flags.DEFINE_integer("slow_episodes", None, "Of tim_gd and alpha_tim; 300, or 100 with --quick.", 2, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "Seed of the lists.", 0, flag_values=FLAGS)
flags.DEFINE_bool("quick", False, "Measure a part of the settings, in minutes.", flag_values=FLAGS)


def main() -> None:
    from benchmarks import settings

    names = FLAGS.settings or (settings.QUICK if FLAGS.quick else [])
    chosen = settings.named(names) if names else settings.all_settings()
    cli.load_tensorflow()
    from benchmarks import own_process
    from benchmarks.one_setting import Sweep

    given = {name: value for name, value in record_flags.fields(FLAGS, Sweep).items() if value is not None}
    lengths = {"episodes": 300, "slow_episodes": 100} if FLAGS.quick else {"episodes": 2000, "slow_episodes": 300}
    sweep = Sweep(**lengths | given)
    sweep.check()
    for setting in chosen:
        try:
            print(sweep.run(setting) if len(chosen) == 1 else own_process.call(sweep.run, setting), flush=True)
        except cli.InputError as error:
            if FLAGS.settings:
                raise
            # Such as 20 shots where classes have 20 pictures.
            print(f"{setting.name}: left out. {error}", flush=True)
    print(f"Results: {FLAGS.output_dir}")


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
