"""Made-up features and pictures: how long arithmetic takes does not depend on the numbers."""

import dataclasses

import numpy as np

_CLASSES = {"train": 64, "validation": 16, "test": 20}


@dataclasses.dataclass(frozen=True)
class SyntheticFeatures:
    """Stands in for a `FeatureCache`: as many classes and pictures as CIFAR-FS has, features of length D."""

    feature_dim: int = 640  # A WRN-28-10's.
    per_class: int = 600
    views: int = 1
    identity: dict = dataclasses.field(default_factory=dict)

    def table(self, split: str) -> np.ndarray:
        """`[pictures, D]` float32, each class around a point of its own, none below 0 (as after a ReLU).

        Classes overlap as real ones do: where the loss has all but gone, gradients are denormal numbers, which are
        slow.
        """
        random = np.random.RandomState(len(split))
        centres = random.standard_normal((_CLASSES[split], self.feature_dim)).astype(np.float32)
        noise = random.standard_normal((self.per_class, self.feature_dim)).astype(np.float32)
        return np.maximum((centres[:, None] + 5.0 * noise).reshape(-1, self.feature_dim), 0)

    def labels(self, split: str) -> np.ndarray:
        """`[pictures]` int64."""
        return np.repeat(np.arange(_CLASSES[split]), self.per_class)


def pictures(count: int) -> np.ndarray:
    """`[count, 32, 32, 3]` uint8."""
    return np.random.RandomState(0).randint(0, 256, (count, 32, 32, 3)).astype(np.uint8)
