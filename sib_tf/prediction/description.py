"""What every exported file says about itself, checked before anything relies on it. No TensorFlow."""

import os

from sib_tf.errors import InputError

# Readers refuse numbers that they do not know.
FORMAT = 1
_NUMBERS = ("image_size", "feature_dim", "num_steps")
# None, or not there: no limit.
_LIMITS = ("way", "max_support", "max_query", "weights_dim", "most_classes")
_MOST = 1 << 20


def check_description(description, path: str | os.PathLike) -> None:
    """Checks that a description has what runners read, of the kinds and in the ranges that exports write.

    Args:
        description: as `trained_run.Run.description` gives it, with the limits of the file where it has some.
        path: of the file that has it.

    Raises:
        InputError: it does not, or is of another format; names the file.
    """
    if not isinstance(description, dict):
        raise InputError(f"{path} has a {type(description).__name__} as its description; export it again.")
    if description.get("format") != FORMAT:
        raise InputError(f"{path} has format {description.get('format')}; this version reads {FORMAT}.")
    wrong = [name for name in _NUMBERS if not _is_count(description.get(name), name == "num_steps")]
    wrong += [name for name in _LIMITS if description.get(name) is not None and not _is_count(description[name])]
    wrong += [name for name in ("gradient_network",) if not isinstance(description.get(name), str)]
    known = description.get("known")
    if known is not None and not (isinstance(known, list) and len(known) == 2 and all(map(_is_number, known))):
        wrong.append("known")
    if wrong:
        values = ", ".join(f"{name}={str(description.get(name))[:40]}" for name in wrong)
        raise InputError(f"{path} describes itself with {values}, which no export writes; export it again.")


def _is_count(value, zero: bool = False) -> bool:
    return _is_number(value) and isinstance(value, int) and 1 - zero <= value <= _MOST


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
