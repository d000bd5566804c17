"""Classifies a folder of pictures on a model server, from a few labelled ones.

    python -m export.serving_client --server=http://localhost:8501 --model=sib --support=LABELLED --query=UNLABELLED

LABELLED/<class>/<pictures>: a folder for each class. UNLABELLED: all its pictures, at any depth, are one episode.
Pictures that cannot be read are skipped, and named. With --protocol=grpc the server is host:8500.
"""

import csv
import sys
import unicodedata
from pathlib import Path

import numpy as np
from absl import flags

from sib_tf.commands import cli
from sib_tf.prediction.model import padded_episode
from sib_tf.storage import atomic

FLAGS = flags.FlagValues()
flags.DEFINE_string("server", None, "rest: http://host:8501; grpc: host:8500.", flag_values=FLAGS)
flags.DEFINE_string("model", "sib", "Name of the model on the server.", flag_values=FLAGS)
flags.DEFINE_string("support", None, "Folder of labelled pictures, one folder a class.", flag_values=FLAGS)
flags.DEFINE_string("query", None, "Folder of pictures to classify.", flag_values=FLAGS)
flags.mark_flags_as_required(["server", "support", "query"], flag_values=FLAGS)
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
    if FLAGS.output is not None and Path(FLAGS.output).suffix != ".csv":
        raise cli.InputError(f"output must end in .csv; got {FLAGS.output}.")
    # What the stream's encoding cannot show becomes escapes, as on standard error.
    sys.stdout.reconfigure(errors="backslashreplace")
    server = _connect()
    from sib_tf.pictures import picture_folders

    size = picture_size(server.input_shapes(), FLAGS.model)
    support = picture_folders.read_support(picture_folders.folder_of_classes(FLAGS.support), size)
    query = picture_folders.read_query(FLAGS.query, size)
    if skipped := support.skipped + query.skipped:
        print("\n  ".join([f"Skipped {len(skipped)} pictures:", *map(_visible, skipped)]), file=sys.stderr)
    classes, labels = np.unique(support.labels, return_inverse=True)
    inputs = episode(support.pictures, labels, query.pictures, FLAGS.support_rows, FLAGS.query_rows)
    predicted, confidence = checked(server.predict(inputs), len(classes), len(query.paths))
    names = [path.relative_to(FLAGS.query).as_posix() for path in query.paths]
    rows = [(n, str(classes[c]), f"{p:.4f}") for n, c, p in zip(names, predicted, confidence, strict=True)]
    print(table(rows))
    if FLAGS.output is not None:
        with atomic.new_file(FLAGS.output) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([HEADER, *rows])


def picture_size(shapes: dict[str, tuple[int, ...]], model: str) -> int:
    """Returns the side of the pictures that a model takes, from the shapes of its inputs.

    Raises:
        InputError: they are not those of a SavedModel that `export.saved_model` writes.
    """
    expected = {"support_images": 5, "support_labels": 2, "support_mask": 2, "query_images": 5, "query_mask": 2}
    if {name: len(shape) for name, shape in shapes.items()} != expected or min(shapes["query_images"][2:]) < 1:
        raise cli.InputError(
            f"model {model!r} must take the inputs of a SavedModel of export.saved_model ({', '.join(expected)}); it "
            f"takes {shapes}."
        )
    return shapes["query_images"][2]


def episode(
    support: np.ndarray,
    labels: np.ndarray,
    query: np.ndarray,
    support_rows: int | None = None,
    query_rows: int | None = None,
) -> dict[str, np.ndarray]:
    """Returns the inputs of `serving_default` for one episode, padded to the rows asked for.

    Args:
        support, query: `[rows, size, size, 3]` uint8.
        labels: `[rows]` integers.

    Raises:
        InputError: there are more pictures than rows.
    """
    for name, given, rows in (("support", len(support), support_rows), ("query", len(query), query_rows)):
        if rows is not None and given > rows:
            raise cli.InputError(f"{name}_rows must be at least the {given} pictures of {name}; got {rows}.")
    inputs = padded_episode(support, labels.astype(np.int32), query, support_rows, query_rows)
    return {f"{name}_images" if name in ("support", "query") else name: rows for name, rows in inputs.items()}


def checked(outputs: dict[str, np.ndarray], way: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (predicted class, confidence) of the queries, each `[queries]`, from an answer of `serving_default`.

    Raises:
        InputError: they are not there, or cannot be true.
    """
    predicted, confidence = outputs.get("predicted_class"), outputs.get("confidence")
    for values, kinds in ((predicted, "iu"), (confidence, "f")):
        if values is None or values.dtype.kind not in kinds or values.ndim != 2 or values.shape[1] < queries:
            raise cli.InputError(f"The server's answer lacks a class or a confidence for each of {queries} pictures.")
    predicted, confidence = predicted[0, :queries], confidence[0, :queries]
    if not ((predicted >= 0) & (predicted < way) & (confidence >= 0) & (confidence <= 1.0001)).all():
        raise cli.InputError(f"The server's answer has classes beyond the {way} given, or confidences beyond 0 to 1.")
    return predicted, confidence


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
