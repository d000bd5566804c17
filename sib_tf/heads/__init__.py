"""The heads that ship with the package, by name. No TensorFlow.

general: knows nothing of how unlabelled rows spread over the classes.
balanced: for unlabelled rows that are known to spread evenly.

Of each there is a .tflite file, which devices and `SIBClassifier` run, and the folder of its meta-training, which
training, evaluation and exports load. `README.md` beside them says what they were trained on, and what they are bad at.
"""

import os
from pathlib import Path

from sib_tf.errors import InputError
from sib_tf.storage import atomic, digests

NAMES = ("general", "balanced")
# Of the files that belong to a head.
SUFFIXES = (".tflite", ".keras", ".json", ".csv")
_HERE = Path(__file__).parent
_WAY_OUT = "install the package again"


def place(name: str) -> Path:
    """Returns where the .tflite file of a head that ships is, as `path` does, but does not look inside."""
    if name not in NAMES:
        raise InputError(f"head must be one of {', '.join(NAMES)}, a .tflite file or a run's folder; got {name}.")
    return _there(f"{name}.tflite")


def path(name: str) -> Path:
    """Returns the .tflite file of a head that ships, as it was when the package was made.

    Raises an InputError if there is none of that name, or this installation lacks it.
    """
    return _checked(place(name).name)


def folder(model_dir: str | os.PathLike) -> Path:
    """Returns the folder of a meta-training: that of a head that ships, given its name, or else `model_dir` itself."""
    if os.fspath(model_dir) not in NAMES or Path(model_dir).exists():
        return Path(model_dir)
    return _checked(os.fspath(model_dir))


def _checked(name: str) -> Path:
    """A file here, or a folder with all of its files, as they were when the package was made."""
    recorded = atomic.read_json(_HERE / digests.FILE, "Digests of heads")
    digests.check(_HERE, {file: recorded[file] for file in recorded if file.split("/")[0] == name}, _WAY_OUT)
    return _there(name)


def _there(name: str) -> Path:
    found = _HERE / name
    if not found.exists():
        raise InputError(f"{found} is missing from this installation; {_WAY_OUT}.")
    return found
