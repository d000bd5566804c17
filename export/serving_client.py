"""Classifies a folder of pictures on a model server, from a few labelled ones.

    python -m export.serving_client --server=http://localhost:8501 --model=sib --support=LABELLED --query=UNLABELLED

LABELLED/<class>/<pictures>: a folder for each class. UNLABELLED: all its pictures, at any depth, are one episode.
Pictures that cannot be read are skipped, and named. With --protocol=grpc the server is host:8500.

Files are sent as they are, where TensorFlow decodes them to what they show and they are smaller than their pixels;
others as PNG of the size that the model takes. --save=classes.sib keeps what the server learned, and
--learned=classes.sib uses it: SIBClassifier.load and .save read and write the same files. Of more than
2,000 unlabelled pictures --save learns from a sample; all are answered.
"""

import csv
import sys
import unicodedata
from pathlib import Path

from absl import flags

from sib_tf.commands import cli
from sib_tf.storage import atomic

FLAGS = flags.FlagValues()
flags.DEFINE_string("server", None, "rest: http://host:8501; grpc: host:8500.", flag_values=FLAGS)
flags.DEFINE_string("model", "sib", "Name of the model on the server.", flag_values=FLAGS)
flags.DEFINE_string("support", None, "Folder of labelled pictures, one folder a class.", flag_values=FLAGS)
flags.DEFINE_string("query", None, "Folder of pictures to classify.", flag_values=FLAGS)
flags.mark_flag_as_required("server", flag_values=FLAGS)
_SAVE = "The file to keep what was learned in, ending in .sib; without --query, learns from --support alone."
flags.DEFINE_string("save", None, _SAVE, flag_values=FLAGS)
_LEARNED = "What --save or SIBClassifier.save kept, in place of --support; answers do not depend on other pictures."
flags.DEFINE_string("learned", None, _LEARNED, flag_values=FLAGS)
_PICTURES = "How to send pictures: files, or pixels, ten times as large, as servers of earlier exports take them."
flags.DEFINE_enum("pictures", "encoded", ("encoded", "pixels"), _PICTURES, flag_values=FLAGS)
flags.DEFINE_enum("protocol", "rest", ("rest", "grpc"), "How to speak to the server.", flag_values=FLAGS)
flags.DEFINE_float("timeout", 60.0, "Seconds that the server may take.", 0.001, flag_values=FLAGS)
flags.DEFINE_string("output", None, "File for the predictions, ending in .csv.", flag_values=FLAGS)
flags.DEFINE_integer(
    "support_rows", None, "Pad the labelled pictures to this many: a server can batch requests of one shape only.", 2,
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_integer("query_rows", None, "The same for the pictures to classify.", 1, flag_values=FLAGS)

HEADER = ("file", "class", "confidence")


def main() -> None:
    _check_flags()
    # What the stream's encoding cannot show becomes escapes, as on standard error.
    sys.stdout.reconfigure(errors="backslashreplace")
    server = _connect()
    from export.serving_calls import Episode, ServedModel

    served = ServedModel(server, FLAGS.pictures == "encoded")
    if FLAGS.save is not None or FLAGS.learned is not None:
        served.require_learning()
    learned = None if FLAGS.learned is None else served.opened(FLAGS.learned)
    episode = Episode.read(FLAGS.support, FLAGS.query, served.size)
    if episode.skipped:
        lines = [f"Skipped {len(episode.skipped)} pictures:", *map(_visible, episode.skipped)]
        print("\n  ".join(lines), file=sys.stderr)
    for note in episode.notes:
        print(f"Note: {_visible(note)}", file=sys.stderr)
    rows = FLAGS.support_rows, FLAGS.query_rows
    if FLAGS.save is not None:
        learned = served.learn(episode, FLAGS.save, *rows)
        print(f"Saved: {FLAGS.save}")
    if FLAGS.query is None:
        return
    if learned is None:
        classes, answers = episode.classes, served.whole_way(episode, *rows)
    else:
        classes, answers = learned.classes, served.classify(episode, learned, FLAGS.query_rows)
    names = [path.relative_to(FLAGS.query).as_posix() for path in episode.query.paths]
    _write([(n, str(classes[c]), f"{p:.4f}") for n, c, p in zip(names, *answers, strict=True)])


def _write(rows: list[tuple[str, str, str]]) -> None:
    print(table(rows))
    if FLAGS.output is not None:
        with atomic.new_file(FLAGS.output) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([HEADER, *rows])


def _check_flags() -> None:
    for name, suffix in {"output": ".csv", "save": ".sib", "learned": ".sib"}.items():
        if FLAGS[name].value is not None and Path(FLAGS[name].value).suffix != suffix:
            raise cli.InputError(f"{name} must end in {suffix}; got {FLAGS[name].value}.")
    if (FLAGS.support is None) == (FLAGS.learned is None):
        raise cli.InputError("support, or learned in its place, must be named, and not both: what to learn from.")
    if FLAGS.save is not None and FLAGS.learned is not None:
        raise cli.InputError("save must be left out with learned, or learned: nothing new is learned from it.")
    if FLAGS.query is None and (FLAGS.save is None or FLAGS.output is not None):
        raise cli.InputError("query must be named, the folder of pictures to classify; or save alone, to learn.")
    if FLAGS.pictures == "pixels" and (FLAGS.save or FLAGS.learned):
        raise cli.InputError("pictures must be encoded with save and learned; got pixels.")


def table(rows: list[tuple[str, str, str]]) -> str:
    """Returns rows of (file, class, confidence) as aligned text, wide and combining characters counted as shown."""
    rows = [HEADER, *(tuple(map(_visible, row)) for row in rows)]
    widths = [max(_width(row[column]) for row in rows) for column in range(2)]
    lines = []
    for file, name, confidence in rows:
        padded = [text + " " * (width - _width(text)) for text, width in zip((file, name), widths, strict=True)]
        lines.append("  ".join([*padded, confidence]))
    return "\n".join(lines)


def _connect():
    if FLAGS.protocol == "rest":
        from export.model_server import RestServer

        return RestServer(FLAGS.server, FLAGS.model, FLAGS.timeout)
    cli.load_tensorflow()
    from export.serving_grpc import GrpcServer

    return GrpcServer(FLAGS.server, FLAGS.model, FLAGS.timeout)


def _visible(text: str) -> str:
    """Control characters, which a file's name may hold, as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _width(text: str) -> int:
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
