"""Times exported .tflite files, beside SGD on the same head, which is how devices usually learn classes.

    python -m export.benchmark_litert --tflite=float32.tflite --tflite=int8.tflite --threads=1,2

One episode: one labelled picture of each class, 15 unlabelled ones. Every measurement has a process of its own.
"""

import dataclasses
import sys
import tempfile

from absl import flags

from export import export_flags
from sib_tf.commands import cli

FLAGS = flags.FlagValues()
flags.DEFINE_multi_string("tflite", None, "A file of export.tflite; may be given several times.", flag_values=FLAGS)
flags.mark_flag_as_required("tflite", flag_values=FLAGS)
flags.DEFINE_list("threads", ["1"], "Numbers of threads, with commas between.", flag_values=FLAGS)
flags.DEFINE_integer("way", 5, "Classes of the episode.", 2, flag_values=FLAGS)
flags.DEFINE_integer("calls", 100, "Calls of each signature in a round.", 10, flag_values=FLAGS)
flags.DEFINE_integer("rounds", 5, "Rounds; all files take turns, medians count.", 1, flag_values=FLAGS)
flags.DEFINE_integer("sgd_steps", 100, "Steps of SGD, the alternative.", 1, flag_values=FLAGS)
export_flags.define_outputs(FLAGS)


def main() -> None:
    threads = [cli.number_range("threads", text)[0] for text in FLAGS.threads]
    export_flags.check_outputs(FLAGS)
    from export import litert_latency
    from sib_tf.prediction.litert import LiteRTModel

    load = litert_latency.Load(FLAGS.way, 15 * FLAGS.way, FLAGS.calls, FLAGS.sgd_steps)
    descriptions = {path: LiteRTModel(path).description for path in FLAGS.tflite}
    for path, description in descriptions.items():
        for name, rows in (("way", load.way), ("max_query", load.queries)):
            if description[name] is not None and description[name] < rows:
                took = f"{path} takes {name}={description[name]}"
                raise cli.InputError(f"{took}; the benchmark needs {rows}: lower --way.")
    cli.load_tensorflow()
    from export import sgd_baseline

    with tempfile.NamedTemporaryFile(suffix=".tflite") as sgd:
        sgd.write(sgd_baseline.convert(load.way, descriptions[FLAGS.tflite[0]]["feature_dim"], logit_scale=10.0))
        sgd.flush()
        results = litert_latency.measure(FLAGS.tflite, sgd.name, threads, load, FLAGS.rounds)
    words = f"{load.way}-way 1-shot, {load.queries} queries; medians of {FLAGS.rounds} rounds of {load.calls} calls."
    text = f"{words}\n\n{litert_latency.table(results)}"
    print(text)
    figures = {"load": words, "latencies": [dataclasses.asdict(result) for result in results]}
    export_flags.publish(FLAGS, "Latency on this machine", figures, text)


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
