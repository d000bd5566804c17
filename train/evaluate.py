"""Meta-tests a SIB model against nearest prototypes on the same episodes, after every step k.

    python -m train.evaluate --features_dir=RUN/features --model_dir=RUN/sib --way=5 --shot=1 --episodes=2000 \\
        --output=RUN/metrics.json

Writes metrics.json, a figure and the accuracies of every episode beside it; --report=FOLDER adds a page, with curves
over other query sets and, with --dataset, the pictures of the hardest episodes.
"""

import sys
from pathlib import Path

from absl import flags

from sib_tf.commands import cli, dataset_flags
from sib_tf.config import BackboneConfig
from train import episode_flags

FLAGS = flags.FlagValues()
flags.DEFINE_string("features_dir", None, "Folder of a feature cache.", required=True, flag_values=FLAGS)
flags.DEFINE_string("model_dir", None, "Folder of a meta-training.", required=True, flag_values=FLAGS)
flags.DEFINE_string("output", None, "File for the metrics, ending in .json.", required=True, flag_values=FLAGS)
episode_flags.define(FLAGS)
flags.DEFINE_integer("episodes", 2000, "Episodes of the fixed list.", 2, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "Seed of the fixed list.", 0, flag_values=FLAGS)
flags.DEFINE_enum("split", "test", ("validation", "test"), "Classes to measure on.", flag_values=FLAGS)
flags.DEFINE_string(
    "compare_to", None, "metrics.json of another evaluation of the same episodes: paired difference.", flag_values=FLAGS
)
flags.DEFINE_integer(
    "unknown_classes", 0, "Also measure 'none of these': classes without support that queries come from as well.", 0,
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_string("report", None, "Folder for report.md and its figures.", flag_values=FLAGS)
flags.DEFINE_string("backbone_dir", None, "Folder of train.pretrain, for the report's curves.", flag_values=FLAGS)
dataset_flags.define(FLAGS, "Data set of the features, for the report's pictures. Default: without them.")


def main() -> None:
    spec = episode_flags.spec(FLAGS)
    output = Path(FLAGS.output)
    if output.suffix != ".json":
        raise cli.InputError(f"output must end in .json; got {FLAGS.output}.")
    cli.load_tensorflow()
    from sib_tf.features import read_manifest
    from sib_tf.reports import meta_test

    data = None
    if FLAGS.dataset and FLAGS.report:
        manifest = read_manifest(Path(FLAGS.features_dir))
        data = dataset_flags.load(FLAGS, None, _backbone(manifest))
        meta_test.require_pictures_of(manifest["dataset"], data, FLAGS.split)  # Before minutes of measuring.
    result = meta_test.meta_test(
        FLAGS.features_dir,
        FLAGS.model_dir,
        spec,
        FLAGS.episodes,
        FLAGS.seed,
        FLAGS.split,
        FLAGS.compare_to,
        FLAGS.unknown_classes,
        curves=bool(FLAGS.report),
    )
    if FLAGS.report:
        page = result.report(FLAGS.report, FLAGS.model_dir, FLAGS.backbone_dir, data)
    result.save(output)
    print(result.metrics["summary"])
    print(f"Metrics: {output}" + (f"\nReport:  {page}" if FLAGS.report else ""))


def _backbone(manifest: dict) -> BackboneConfig | None:
    """The backbone that made the features, as far as it matters to how pictures are stored."""
    if manifest.get("larger") is None:
        return None
    return BackboneConfig(image_size=manifest["image_size"], larger=manifest["larger"])


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
