"""Measures a server's first answer, with and without the warm-up requests of an export, in TensorFlow's C++ session.

    python -m benchmarks.first_request --saved_model=EXPORT/1

Each is measured in a fresh process, on an episode of files, of other numbers of pictures than the warm-up's: one
labelled picture of each of 5 classes, 75 unlabelled ones, 84 px.
"""

import io
import sys
import time
from pathlib import Path

from absl import flags

from sib_tf.commands import cli
from sib_tf.errors import InputError

FLAGS = flags.FlagValues()
flags.DEFINE_string("saved_model", None, "Folder of a version, EXPORT/<version>.", required=True, flag_values=FLAGS)
flags.DEFINE_integer("requests", 20, "Requests behind the first one.", 1, flag_values=FLAGS)
_SIGNATURE = "serving_encoded"


def main() -> None:
    folder = Path(FLAGS.saved_model)
    if not (folder / "assets.extra" / "tf_serving_warmup_requests").is_file():
        raise InputError(
            f"saved_model must be a folder with warm-up requests; {folder} has none. pip install 'sib_tf[serve]' and "
            "export again."
        )
    from benchmarks import own_process

    for warm in (False, True):
        ready, first, later = own_process.call(measure, str(folder), warm, FLAGS.requests)
        what = f"with warm-up ({ready:.1f} s before it takes requests)" if warm else "without warm-up"
        print(f"{what}: first request {1000 * first:.0f} ms, later ones {1000 * later:.0f} ms (median)")


def measure(folder: str, warm: bool, requests: int) -> tuple[float, float, float]:
    """Returns seconds: of the warm-up, of the first request after it, and the median of later ones."""
    cli.load_tensorflow()
    import numpy as np

    from export import warm_up

    predict = _session(folder)
    episode, start = _episode(), time.perf_counter()
    for name, inputs in warm_up.read(Path(folder)) if warm else ():
        predict(name, inputs)
    ready, seconds = time.perf_counter() - start, []
    for _ in range(requests + 1):
        start = time.perf_counter()
        predict(_SIGNATURE, episode)
        seconds.append(time.perf_counter() - start)
    return ready, seconds[0], float(np.median(seconds[1:]))


def _session(folder: str):
    import tensorflow as tf

    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        signatures = tf.compat.v1.saved_model.load(session, ["serve"], folder).signature_def

    def predict(signature: str, inputs: dict) -> None:
        inside = signatures[signature]
        session.run(
            [info.name for info in inside.outputs.values()],
            {inside.inputs[name].name: value for name, value in inputs.items()},
        )

    return predict


def _episode(way: int = 5, queries: int = 75, size: int = 84) -> dict:
    import numpy as np
    from PIL import Image

    random, files = np.random.default_rng(0), np.empty((1, way + queries), object)
    for place in range(way + queries):
        coarse, file = Image.fromarray(random.integers(0, 256, (6, 6, 3), np.uint8)), io.BytesIO()
        coarse.resize((size, size), Image.Resampling.BICUBIC).save(file, "JPEG")
        files[0, place] = file.getvalue()
    return {
        "support_image_bytes": files[:, :way],
        "support_labels": np.arange(way, dtype=np.int32)[None],
        "support_mask": np.ones((1, way), np.int32),
        "query_image_bytes": files[:, way:],
        "query_mask": np.ones((1, queries), np.int32),
    }


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
