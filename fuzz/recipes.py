"""Episodes that nobody would think of, as small recipes: what Hypothesis draws and shrinks, and what NumPy makes of it.

A recipe holds a few numbers; the arrays are a pure function of it. So the shapes stay the same for all of them, and
what compiles for one runs all.
"""

import dataclasses

import numpy as np
from hypothesis import strategies as st

from sib_tf.episodes import Episode

WAY, SHOTS, QUERIES = 5, 2, 12
# Zero, the smallest number, a denormal, squares that underflow, ordinary ones, squares that overflow, the largest.
ORDINARY = (1e-2, 1.0, 30.0)
MAGNITUDES = (0.0, 1.4e-45, 1e-39, 1e-25, *ORDINARY, 1e15, 1e18, 1e30, 3.4e38)
LOOKS = ("classes", "spread", "same", "duplicates", "antipodal", "axes", "sparse", "mixed")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One episode of features.

    Attributes:
        seed: of everything that is random.
        shots: labelled pictures of each of `WAY` classes, 0 .. `SHOTS`.
        queries: unmasked queries, 0 .. `QUERIES`.
        look: how features lie: around their class's centre; anywhere; all the same; a few, repeated; in opposite pairs,
            whose mean is zero; along axes; mostly zeros; each row with a magnitude of its own.
        support_scale, query_scale: what features are multiplied by.
        padding: magnitude of masked rows.
        scattered: whether masked rows lie among the others, or at the end.
    """

    seed: int
    shots: tuple[int, ...]
    queries: int
    look: str
    support_scale: float
    query_scale: float
    padding: float
    scattered: bool

    @property
    def distinct(self) -> bool:
        """Whether no two pictures, and so no two classes, are the same. The steps pull those that are apart in whatever
        direction rounding gives them: the statistics enlarge it a hundred thousand times."""
        return self.look in ("classes", "spread") and min(self.support_scale, self.query_scale) >= min(ORDINARY)

    @property
    def ordinary(self) -> bool:
        """Whether float32 has room for all of it besides, so that its answers can be compared."""
        return self.distinct and max(self.support_scale, self.query_scale) <= max(ORDINARY) and self.queries > 1


def recipes(all_classes: bool = False, magnitudes: tuple[float, ...] = MAGNITUDES):
    """The strategy; `all_classes` for joint models, that need each of them."""
    shots = st.tuples(*[st.integers(int(all_classes), SHOTS)] * WAY).filter(any)
    scale = st.sampled_from(magnitudes)
    looks, seeds = st.sampled_from(LOOKS), st.integers(0, 2**32 - 1)
    return st.builds(Recipe, seeds, shots, st.integers(0, QUERIES), looks, scale, scale, scale, st.booleans())


def features(recipe: Recipe, dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Support `[rows, D]`, labels `[rows]` in [0, `WAY`) and queries `[queries, D]` of a recipe, without padding."""
    random = np.random.RandomState(recipe.seed)
    labels = np.repeat(np.arange(WAY), recipe.shots)
    count = len(labels) + recipe.queries
    rows = _rows(recipe.look, random, np.concatenate([labels, random.randint(0, WAY, recipe.queries)]), dim)
    scale = np.where(np.arange(count) < len(labels), recipe.support_scale, recipe.query_scale)[:, None]
    if recipe.look == "mixed":
        scale = random.choice((recipe.support_scale, recipe.query_scale, 1.0, 0.0), (count, 1))
    rows = np.clip(rows * scale, -3.4e38, 3.4e38).astype(np.float32)
    return rows[: len(labels)], labels.astype(np.int32), rows[len(labels) :]


def episode(recipe: Recipe, dim: int, support_rows: int = WAY * SHOTS, query_rows: int = QUERIES, noise: int = 0):
    """The recipe's `Episode` of one episode, padded to a shape; `noise` makes other padding, and nothing else."""
    support, labels, query = features(recipe, dim)
    random, places = np.random.RandomState([recipe.seed, noise]), np.random.RandomState(recipe.seed)
    parts = []
    for rows, values, total in ((support, labels, support_rows), (query, 0, query_rows)):
        where = np.sort(places.permutation(total)[: len(rows)]) if recipe.scattered else np.arange(len(rows))
        padding = np.clip(recipe.padding * random.normal(size=(total, dim)), -3.4e38, 3.4e38).astype(np.float32)
        numbers, mask = random.randint(0, WAY, total).astype(np.int32), np.zeros(total, bool)
        padding[where], numbers[where], mask[where] = rows, values, True
        parts += [padding[None], numbers[None], mask[None]]
    return Episode(*parts)


def batch(chosen: list[Recipe], dim: int, **shape) -> Episode:
    """Episodes of several recipes in one batch; arguments as for `episode`."""
    return Episode(*map(np.concatenate, zip(*(episode(recipe, dim, **shape) for recipe in chosen), strict=True)))


def present(labels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Which classes have labelled pictures: `[episodes, support_rows]` each -> `[episodes, WAY]` bool."""
    return ((labels[..., None] == np.arange(WAY)) & mask[..., None]).any(axis=1)


def _rows(look: str, random, labels: np.ndarray, dim: int) -> np.ndarray:
    count = len(labels)
    rows = random.normal(size=(count, dim))
    if look == "classes":
        return random.normal(size=(WAY, dim))[labels] + 0.5 * rows
    if look == "same":
        return np.repeat(rows[:1], count, axis=0)
    if look == "duplicates":
        return rows[random.randint(0, min(3, count), count)]
    if look == "antipodal":
        return np.abs(rows[:1]) * np.where(np.arange(count) % 2, 1.0, -1.0)[:, None]
    if look == "axes":
        return np.eye(dim)[random.randint(0, dim, count)]
    return rows * (random.random_sample(rows.shape) < 0.2) if look == "sparse" else rows
