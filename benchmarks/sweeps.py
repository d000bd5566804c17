"""Compares transductive few-shot methods on realistic query sets: the same test episodes and features for all.

    python -m benchmarks.sweeps --features_dir=RUN/features --models=joint=RUN/joint,per_class=RUN/per_class \\
        --tuned=RUN/sweeps/tuned.json --output_dir=RUN/sweeps

Writes one JSON file a setting (benchmarks/settings.py); what is measured already is not measured again. --quick
measures a part of the settings on fewer episodes.
"""

import sys
from pathlib import Path

from absl import flags

from train import cli

FLAGS = flags.FlagValues()
flags.DEFINE_string("features_dir", None, "Folder of a feature cache.", flag_values=FLAGS)
flags.DEFINE_string("output_dir", None, "Folder for the results.", flag_values=FLAGS)
flags.mark_flags_as_required(["features_dir", "output_dir"], flag_values=FLAGS)
flags.DEFINE_list("models", [], "SIB models: name=FOLDER of a meta-training, separated by commas.", flag_values=FLAGS)
flags.DEFINE_string("tuned", None, "File of benchmarks.tune_peers; only authors' constants without.", flag_values=FLAGS)
flags.DEFINE_list("peers", None, "Names of methods; all of them if left out.", flag_values=FLAGS)
flags.DEFINE_list("settings", None, "Names of settings; all of them if left out.", flag_values=FLAGS)
flags.DEFINE_integer("episodes", None, "Episodes of each list; 2000, or 300 with --quick.", 2, flag_values=FLAGS)
flags.DEFINE_integer(
    "slow_episodes", None, "Of these, for tim_gd and alpha_tim: 300, or 100 with --quick.", 2, flag_values=FLAGS
)
flags.DEFINE_integer("seed", 0, "Seed of the lists.", 0, flag_values=FLAGS)
flags.DEFINE_bool("quick", False, "Measure a part of the settings, in minutes.", flag_values=FLAGS)


def main() -> None:
    from benchmarks import settings

    chosen = settings.named(FLAGS.settings, settings.quick_settings() if FLAGS.quick else settings.all_settings())
    cli.load_tensorflow()
    from benchmarks import entrants, measurement, sweeping, tuning
    from benchmarks.peers import known_names
    from sib_tf.features import FeatureCache

    measurement.expect_many_functions()
    peers = list(dict.fromkeys(["prototypes", *known_names(FLAGS.peers)]))
    cache = FeatureCache.open(FLAGS.features_dir)
    models = entrants.load_models(FLAGS.models, cache)
    tuned, base_mean = entrants.load_tuned(FLAGS.tuned, cache), tuning.base_mean_of(cache)
    episodes, slow = (300, 100) if FLAGS.quick else (2000, 300)
    sweep = sweeping.Sweep(
        cache, Path(FLAGS.output_dir), FLAGS.episodes or episodes, FLAGS.slow_episodes or slow, FLAGS.seed
    )
    for setting in chosen:
        taking_part = entrants.peer_entrants(peers, tuned, setting, base_mean)
        taking_part += [model.entrant() for model in models if model.fits(setting)]
        try:
            record = sweep.run(setting, taking_part, lambda label, name=setting.name: print(f"{name}: {label}"))
        except cli.InputError as error:
            if FLAGS.settings:
                raise
            # Such as 20 shots where classes have 20 pictures.
            print(f"{setting.name}: left out. {error}")
            continue
        # Not by accuracy: slow methods are measured on fewer episodes.
        label, figures = max(record["methods"].items(), key=lambda item: item[1]["difference"])
        points = f"{100 * figures['difference']:+.2f} points to nearest prototypes"
        print(f"{setting.name}: done; best is {label}, {points}.", flush=True)
    print(f"Results: {FLAGS.output_dir}")


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
