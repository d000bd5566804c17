"""Zero-shot regression: trains on lines that spin and measures the distance to the true posterior after every step.

    python -m train.spinning_lines --output_dir=RUN/lines

About a minute on a CPU. Writes the model, metrics.json and report.md with its figures, and an animation.
"""

import sys

from absl import flags

from sib_tf.commands import cli, record_flags
from sib_tf.zero_shot.config import SpinningLinesConfig

FLAGS = flags.FlagValues()
flags.DEFINE_string("output_dir", None, "Folder of this run.", flag_values=FLAGS)
flags.mark_flag_as_required("output_dir", flag_values=FLAGS)
record_flags.define(FLAGS, SpinningLinesConfig(), SpinningLinesConfig.help_texts())
flags.DEFINE_integer("test_tasks", 2000, "Unseen tasks to measure on.", 2, flag_values=FLAGS)


def main() -> None:
    config = SpinningLinesConfig(**record_flags.fields(FLAGS, SpinningLinesConfig))
    cli.load_tensorflow()
    from sib_tf.zero_shot import spinning_lines

    metrics = spinning_lines.run(config, FLAGS.output_dir, FLAGS.test_tasks)
    first, last = (metrics["divergence"][k]["mean"] for k in (0, -1))
    print(
        f"KL(q || p(w | x, y)) on {FLAGS.test_tasks} unseen lines: {first:.2f} nats at k = 0, {last:.2f} at k = "
        f"{config.num_steps} ({100 * metrics['share_left']:.1f} %); at least {metrics['least_divergence']['mean']:.2f} "
        f"without targets.\nReport: {FLAGS.output_dir}/report.md"
    )


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
