"""What every exported file says about itself, checked before anything relies on it. No TensorFlow."""

import os

from sib_tf.errors import InputError

# Readers refuse numbers that they do not know.
FORMAT = 1
_NUMBERS = ("feature_dim", "num_steps")
# None, or not there: no limit. `fixed_way` is the only way of a joint model, `way` and the rest are of the file.
_LIMITS = ("fixed_way", "way", "most_classes", "max_support", "max_query", "weights_dim")
_MOST = 1 << 20


def checked(description, path: str | os.PathLike) -> dict:
    """Returns a description that has what runners read, of the kinds and in the ranges that exports write.

    Args:
        description: as `trained_run.Run.description` gives it, with the limits of the file where it has some; what
            earlier versions did not write yet is added.
        path: of the file that has it.

    Raises:
        InputError: it has not, or is of another format; names the file.
    """
    if not isinstance(description, dict):
        raise InputError(f"{path} has a {type(description).__name__} as its description; export it again.")
    if description.get("format") != FORMAT:
        raise InputError(f"{path} has format {description.get('format')}; this version reads {FORMAT}.")
    numbers = ["num_steps"] if takes_any_length(description) else list(_NUMBERS)
    numbers += [] if description.get("head_only") is True else ["image_size"]
    wrong = [name for name in numbers if not _is_count(description.get(name), least=int(name != "num_steps"))]
    wrong += [name for name in _LIMITS if description.get(name) is not None and not _is_count(description[name])]
    wrong += [] if isinstance(description.get("gradient_network"), str) else ["gradient_network"]
    known = description.get("known")
    if known is not None and not (isinstance(known, list) and len(known) == 2 and all(map(_is_number, known))):
        wrong.append("known")
    if wrong:
        values = ", ".join(f"{name}={str(description.get(name))[:40]}" for name in wrong)
        raise InputError(f"{path} describes itself with {values}, which no export writes; export it again.")
    fixed_way = description.get("way") if description["gradient_network"] == "joint" else None
    added = {"fixed_way": fixed_way, "weights_dim": description["feature_dim"], "larger": "crop", "head_only": False}
    return {**dict.fromkeys(_LIMITS), **added, **description}


def takes_any_length(description: dict) -> bool:
    """Returns whether it is of a head for features of any length, which such files write as a length of null."""
    return description.get("head_only") is True and description.get("feature_dim", 0) is None


def _is_count(value, least: int = 1) -> bool:
    return _is_number(value) and isinstance(value, int) and least <= value <= _MOST


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
