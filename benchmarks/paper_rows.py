"""Meta-trains and measures the paper's rows: its configuration at every K, shot and seed, on the same test episodes.

    python -m benchmarks.paper_rows --features_dir=RUN/features --output_dir=RUN/rows

A row costs a meta-training (half a minute on two cores for Conv-4); K = 0, nearest prototypes, is the baseline of all.
What is done already is not done again.
"""

import itertools
import sys
from pathlib import Path

from absl import flags

from benchmarks import rows
from sib_tf.commands import cli
from sib_tf.config import EpisodeSpec

FLAGS = rows.common_flags()
flags.DEFINE_list("num_steps", ["1", "3", "5"], "K.", flag_values=FLAGS)


def main() -> None:
    shots, steps = (cli.numbers(name, FLAGS[name].value, int) for name in ("shots", "num_steps"))
    cli.load_tensorflow(one_thread=True)  # Steps of one episode.
    from sib_tf.features import FeatureCache

    cache = FeatureCache.open(FLAGS.features_dir)
    for shot, num_steps, seed in itertools.product(shots, steps, range(FLAGS.seeds)):
        folder = Path(FLAGS.output_dir) / f"{shot}shot_k{num_steps}_seed{seed}"
        said = "measured already."
        if not (folder / "metrics.json").is_file():
            rows.train(cache, folder, shot, seed, FLAGS.steps, num_steps=num_steps)
            said = rows.measure(FLAGS, folder / "metrics.json", EpisodeSpec(shot=shot))
        print(f"{folder.name}: {said}", flush=True)


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
