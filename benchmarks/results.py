"""Writes RESULTS.md and its figures from the files that benchmarks.sweeps and train.evaluate wrote; never by hand.

    python -m benchmarks.results --sweeps_dir=RUN/sweeps --metrics=RUN/joint.json --metrics=RUN/per_class.json

--sweeps_dir may be given several times, once a data set; --rows_dir too, with folders of benchmarks.paper_rows.
--unseen_dir is a folder of benchmarks.unseen.
"""

import os
import sys
from pathlib import Path

from absl import flags

from sib_tf.commands import cli

FLAGS = flags.FlagValues()
flags.DEFINE_multi_string("sweeps_dir", [], "Folder of benchmarks.sweeps.", flag_values=FLAGS)
flags.DEFINE_multi_string("rows_dir", [], "Folder of benchmarks.paper_rows.", flag_values=FLAGS)
flags.DEFINE_string("bayes_dir", None, "Folder of benchmarks.bayes_rows.", flag_values=FLAGS)
flags.DEFINE_string("unseen_dir", None, "Folder of benchmarks.unseen.", flag_values=FLAGS)
flags.DEFINE_multi_string("metrics", [], "metrics.json of train.evaluate, for the first table.", flag_values=FLAGS)
flags.DEFINE_string("output", "RESULTS.md", "The page.", flag_values=FLAGS)
flags.DEFINE_string("figures_dir", "docs/results", "Folder for the figures.", flag_values=FLAGS)


def main() -> None:
    if not any((FLAGS.sweeps_dir, FLAGS.metrics, FLAGS.rows_dir, FLAGS.bayes_dir, FLAGS.unseen_dir)):
        raise cli.InputError(
            "sweeps_dir, rows_dir, bayes_dir, unseen_dir or metrics must be given: there is nothing to report."
        )
    cli.load_tensorflow()
    from benchmarks import results_figures, results_page, row_tables
    from benchmarks.records import load_metrics, load_sweep, points
    from sib_tf import templates
    from sib_tf.storage import atomic

    metrics = [load_metrics(path) for path in FLAGS.metrics]
    sweeps = [load_sweep(folder) for folder in FLAGS.sweeps_dir]
    page = templates.render(
        "templates/results.md",
        "benchmarks",
        {"points": points, "model": results_page.model_in_words},
        paper=row_tables.paper(FLAGS.rows_dir) if FLAGS.rows_dir else [],
        views=row_tables.views(FLAGS.rows_dir),
        unseen=_unseen() if FLAGS.unseen_dir else None,
        metrics=metrics,
        bayes=row_tables.bayes(FLAGS.bayes_dir) if FLAGS.bayes_dir else None,
        sweeps=[
            results_page.sweep(sweep, results_figures.draw(sweep, FLAGS.figures_dir), Path(FLAGS.output).parent)
            for sweep in sweeps
        ],
    )
    atomic.write_text(FLAGS.output, page)
    print(f"Page: {FLAGS.output}")


def _unseen() -> dict:
    from benchmarks.unseen import figure, page

    records, picture = page.load(FLAGS.unseen_dir), Path(FLAGS.figures_dir) / "unseen.png"
    figure.draw(records, picture)
    return page.section(records, os.path.relpath(picture, Path(FLAGS.output).parent))


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
