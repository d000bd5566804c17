"""Writes the embedder as a .tflite file, in a process of its own: TensorFlow's memory goes with it.

python -m sib_tf.photographs.conversion SOURCE VIEWS OUTPUT.tflite
"""

import sys
import tempfile
import warnings
from pathlib import Path

from sib_tf.commands import cli
from sib_tf.errors import InputError
from sib_tf.storage import atomic, digests


def convert(source: str, views: int, output: Path) -> None:
    """Builds the backbone `source` of `sib_tf.backbones.pretrained`, and writes it as `output` with its digest beside.

    The file takes one picture, `[1, size, size, 3]` float32 (RGB, 0-255), and gives features `[1, D]` float32, averaged
    over `views` views of it where that is more than 1.
    """
    import keras
    import tensorflow as tf

    from sib_tf.backbones import average_views, pretrained
    from sib_tf.backbones.pretrained.request import Request

    request = Request(source)
    model = pretrained.module_of(source).build(request).model
    if views > 1:
        model = average_views(model, views)
    archive = keras.export.ExportArchive()
    archive.track(model)
    picture = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, "images")
    archive.add_endpoint("embed", lambda images: {"features": model(images, training=False)}, [picture])
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        archive.write_out(folder, verbose=False)
        warnings.simplefilter("ignore")  # tf.lite announces its move to ai_edge_litert at every use.
        content = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["embed"]).convert()
    with atomic.new_file(output) as partial:
        partial.write_bytes(content)
    atomic.write_json(output.with_suffix(".json"), {output.name: digests.of_file(output)})


def main(arguments: list[str]) -> int:
    """Converts; prints what was refused, and returns the exit code."""
    source, views, output = arguments
    try:
        cli.load_tensorflow()
        convert(source, int(views), Path(output))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return cli.USAGE_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
