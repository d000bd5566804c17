"""The heads that ship with the package, by name. No TensorFlow.

general: knows nothing of how unlabelled rows spread over the classes.
balanced: for unlabelled rows that are known to spread evenly.
"""

from pathlib import Path

from sib_tf.errors import InputError

NAMES = ("general", "balanced")


def path(name: str) -> Path:
    """Returns the .tflite file of a head that ships.

    Raises an InputError if there is none of that name, or this installation lacks it.
    """
    if name not in NAMES:
        raise InputError(f"head must be one of {', '.join(NAMES)}, a .tflite file or a run's folder; got {name}.")
    file = Path(__file__).with_name(f"{name}.tflite")
    if not file.is_file():
        raise InputError(f"head {name} is missing from this installation ({file}); install the package again.")
    return file
