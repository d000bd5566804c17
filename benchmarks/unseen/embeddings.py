"""Embeddings that are of no pictures' backbone, made from what installed packages hold: nothing is downloaded.

Digits as their pixels, and text: the docstrings of public functions and classes, whose class is the module that they
are from, as TF-IDF reduced by an SVD and as hashed words.
"""

import ast
import functools
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer

# Whose docstrings are read; packages that are not installed give none.
PACKAGES = ("keras", "matplotlib", "numpy", "pandas", "scipy", "sklearn", "tensorflow_datasets")
_LEAST_WORDS, _LEAST, _MOST = 25, 60, 150
# A class's own name would give it away.
_CODE = re.compile(r"^\s*(>>>|\.\.\.).*$|`[^`]*`", re.MULTILINE)


def digits() -> tuple[np.ndarray, np.ndarray]:
    """8 x 8 pixels of 1,797 handwritten digits: `[1797, 64]` float32, and labels `[1797]` int64 in `[0, 10)`."""
    found = load_digits()
    return found.data.astype(np.float32), found.target.astype(np.int64)


def docstrings_reduced(dim: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """TF-IDF of the documents, reduced to `dim` numbers: `[rows, dim]` float32, and labels `[rows]` int64."""
    texts, labels = documents()
    words = TfidfVectorizer(sublinear_tf=True, min_df=2, stop_words="english").fit_transform(texts)
    reduced = TruncatedSVD(min(dim, words.shape[1] - 1), random_state=0).fit_transform(words)
    return reduced.astype(np.float32), labels


def docstrings_hashed(dim: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """Counts of hashed words of the documents: `[rows, dim]` float32, with signs, and labels `[rows]` int64."""
    texts, labels = documents()
    return HashingVectorizer(n_features=dim, stop_words="english").transform(texts).toarray().astype(np.float32), labels


@functools.cache
def documents(packages: tuple[str, ...] = PACKAGES) -> tuple[list[str], np.ndarray]:
    """Docstrings of at least 25 words, and the number of the module of each; modules with 60 to 150 of them."""
    by_module: dict[str, list[str]] = {}
    seen = set()
    for module, text in _docstrings(packages):
        text = _CODE.sub(" ", text)
        for word in module.split("."):
            text = re.sub(rf"\b{re.escape(word)}\b", " ", text)
        if len(text.split()) >= _LEAST_WORDS and text not in seen:
            seen.add(text)
            by_module.setdefault(module, []).append(text)
    random, texts, labels = np.random.RandomState(0), [], []
    for module in sorted(name for name, found in by_module.items() if len(found) >= _LEAST):
        own = by_module[module]
        texts += [own[i] for i in sorted(random.permutation(len(own))[:_MOST])]
        labels += [module] * (len(texts) - len(labels))
    return texts, np.unique(labels, return_inverse=True)[1].astype(np.int64)


def versions() -> str:
    """What the documents are of: packages and versions, as a page names them."""
    names = {"sklearn": "scikit-learn", "tensorflow_datasets": "tensorflow-datasets"}
    found = [package for package in PACKAGES if importlib.util.find_spec(package)]
    return ", ".join(f"{package} {importlib.metadata.version(names.get(package, package))}" for package in found)


def _docstrings(packages: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Pairs of a module's name (at most two parts) and a docstring of it; sources are parsed, and nothing imported."""
    for package in packages:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            continue
        root = Path(spec.submodule_search_locations[0])
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            if any(part.startswith("_") and part != "__init__" or "test" in part for part in parts[:-1]):
                continue
            module = ".".join([package, *(part for part in parts[:1] if not part.startswith("_"))])
            yield from ((module, text) for text in _of_file(path))


def _of_file(path: Path) -> Iterator[str]:
    """Docstrings of public functions, classes and methods of a Python file."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, kinds) and not node.name.startswith("_") and (text := ast.get_docstring(node)):
            yield text
