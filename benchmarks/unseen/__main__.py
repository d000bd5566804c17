"""Measures the head on features that it has never seen, against every peer, as it is and behind the head's normaliser.

    python -m benchmarks.unseen --output_dir=runs/unseen --data_sets=unseen.json --tuning_dir=RUN/features

Cells: data sets x (1, 5, 20 shots) x (balanced, Dirichlet(2), Dirichlet(0.5)) x (2, 5, 20 ways, 5 of 20), uneven
labels, and domain gaps; benchmarks/unseen/data_sets.py says what the JSON file holds. Writes a JSON file a cell, and
UNSEEN.md with a figure; what is measured already is not measured again. An hour and a half on two cores; --quick takes
five minutes.
"""

import sys
from pathlib import Path

from absl import flags

from sib_tf.commands import cli

FLAGS = flags.FlagValues()
flags.DEFINE_string("output_dir", None, "Folder for the results.", required=True, flag_values=FLAGS)
flags.DEFINE_string("head", "general", "Name of a shipped head, or folder of a meta-training.", flag_values=FLAGS)
flags.DEFINE_string("balanced_head", None, "The one for balanced piles; default: balanced.", flag_values=FLAGS)
flags.DEFINE_string("data_sets", None, "JSON file of names and paths; without, what is made here.", flag_values=FLAGS)
flags.DEFINE_multi_string("tuning_dir", [], "Feature caches whose validation classes tune UNEM.", flag_values=FLAGS)
flags.DEFINE_multi_string("only", [], "Names of data sets; may be given again. Default: all.", flag_values=FLAGS)
flags.DEFINE_list("peers", None, "Names of methods; all but tim_gd and alpha_tim if left out.", flag_values=FLAGS)
flags.DEFINE_integer("episodes", None, "Episodes of each cell; 200, or 30 with --quick.", 2, flag_values=FLAGS)
flags.DEFINE_integer("tuning_steps", 300, "Steps of UNEM's training.", 1, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "Seed of the episodes.", 0, flag_values=FLAGS)
flags.DEFINE_bool("quick", False, "Measure a part of the cells, in minutes.", flag_values=FLAGS)


def main() -> None:
    cli.load_tensorflow()
    from benchmarks.unseen import comparison, page

    folder, quick = Path(FLAGS.output_dir), FLAGS.quick
    asked = comparison.Comparison(
        folder,
        head=FLAGS.head,
        balanced_head=FLAGS.balanced_head,
        data_sets=FLAGS.data_sets,
        tuning_dirs=FLAGS.tuning_dir,
        only=FLAGS.only,
        peers=FLAGS.peers,
        episodes=FLAGS.episodes or (30 if quick else 200),
        tuning_steps=FLAGS.tuning_steps,
        seed=FLAGS.seed,
        quick=quick,
    )
    asked.run()
    print(f"Page: {page.write(folder)}")


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
