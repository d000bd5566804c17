"""What is asked of a source of pretrained backbones, and what it gives."""

import dataclasses
import math
from pathlib import Path
from typing import NamedTuple

import keras

from sib_tf.errors import InputError, require
from sib_tf.storage import digests

LEAST_SIZE, MOST_SIZE = 16, 2048
MOST_ALPHA = 4


class Imported(NamedTuple):
    """A backbone that others have trained.

    Attributes:
        model: `[pictures, image_size, image_size, 3]` (float32, RGB, 0-255) -> `[pictures, D]` float32; what it does to
            the pictures first is part of it.
        licence: of the weights, as their source states it; None where it states none.
        weights: where they come from, in a word or a file's name.
        sha256: of the file they were read from; None where a library keeps it.
    """

    model: keras.Model
    licence: str | None
    weights: str
    sha256: str | None = None


@dataclasses.dataclass(frozen=True)
class Request:
    """What a user asks for; None: what the source has by default.

    Attributes:
        source: one of the forms that a module's `SOURCES` names.
        image_size: side in pixels of the pictures that the backbone is to take.
        weights: the file that its weights are in, or a word that the source knows.
        alpha: width factor of MobileNets.
        mean, std: of a .tflite file that takes floats: pictures become (x - mean) / std, x in 0-255.
    """

    source: str
    image_size: int | None = None
    weights: str | None = None
    alpha: float | None = None
    mean: float | None = None
    std: float | None = None

    def __post_init__(self):
        # What is asked for is built before anything can be known to be wrong: memory has to be enough for it.
        if self.image_size is not None:
            bounds = f"from {LEAST_SIZE} to {MOST_SIZE} pixels"
            require("image_size", self.image_size, LEAST_SIZE <= self.image_size <= MOST_SIZE, bounds)
        if self.alpha is not None:
            require("alpha", self.alpha, 0 < self.alpha <= MOST_ALPHA, f"above 0 and at most {MOST_ALPHA}")
        if self.std is not None:
            require("std", self.std, 0 < self.std < math.inf, "above 0 and finite")
        if self.mean is not None:
            require("mean", self.mean, math.isfinite(self.mean), "finite")

    @property
    def argument(self) -> str:
        """What follows the colon of the source."""
        return self.source.partition(":")[2]

    def pictures(self, default_size: int) -> keras.KerasTensor:
        """Returns the backbone's input."""
        size = self.image_size or default_size
        return keras.Input((size, size, 3), name="pictures")

    def digest(self) -> str | None:
        """SHA-256 of the file that the weights are in, where one is named."""
        path = next((Path(name) for name in (self.weights, self.source) if name and Path(name).is_file()), None)
        return path and digests.of_file(path)

    def refuse(self, *names: str) -> None:
        """Raises an InputError if one of the fields `names` is given: the source has no use for it."""
        for name in names:
            if (value := getattr(self, name)) is not None:
                raise InputError(f"{name} does not belong to source {self.source}; got {value}. Leave it out.")
