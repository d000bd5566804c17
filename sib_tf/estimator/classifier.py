"""Learns classes from features of any kind, a few of them labelled: `SIBClassifier`, in scikit-learn's manners.

    classifier = SIBClassifier().fit(X, y)  # y == -1, or None between text: no label
    classifier.transduction_, classifier.predict(X_new), classifier.known_proba(X_new)

No TensorFlow, where the head is a .tflite file; scikit-learn is imported when there are rows to check.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from sib_tf.errors import InputError
from sib_tf.estimator import class_shares, labels
from sib_tf.estimator import head as head_files
from sib_tf.estimator.labels import UNLABELLED
from sib_tf.estimator.manners import ClassifierManners
from sib_tf.estimator.rows import KeptRows
from sib_tf.prediction import open_set

# Rows that are not copied lightly.
_MANY = 10_000


class SIBClassifier(ClassifierManners):
    """Classes from labelled and unlabelled rows in K learned steps. Nothing is trained: `fit` runs a small graph once.

    X is `[rows, D]`, numbers that some backbone or other embedding made, dense, sparse or a data frame; y is `[rows]`,
    text, whole numbers or booleans. A row whose y is -1 (between text None, NaN or NA) has no label, and is used. Only
    directions count: rows are divided by their length. Where there are more rows than the steps can see at once, they
    see a sample: 500 labelled ones of a class (fewer where D * classes is large), and `max_unlabelled` others, or
    400,000 / classes. These rows are what is kept.

    Args:
        head: of those that ship "general" or "balanced"; or a file of `export.tflite --head_only`; or the folder of a
            meta-training, which TensorFlow runs.
        balanced: the unlabelled rows are spread evenly over the classes: a `class_prior` of equal shares, and for
            "general" the head "balanced". False says nothing of them.
        class_prior: what share of the unlabelled rows each class has, by label (a mapping or a pandas Series) or in
            the order of `classes_`; None: it is not known. Probabilities are shifted so that their means come near it.
        backbone: name of what made the rows; saved with the classifier, which then takes no others. None: any.
        max_unlabelled: the most unlabelled rows that the steps see; every row is answered. In 5-way tasks of CIFAR-FS
            under EfficientNet-Lite0, 1,000 of 2,000 rows are worth 2.9 points more than 75 at 1 shot, as are all.
        random_state: of the samples, where there are more rows; as in scikit-learn.

    Attributes:
        classes_: `[way]`, the labels, sorted.
        n_features_in_: D. feature_names_in_: the columns' names, where they are all text.
        transduction_: `[rows]`, the labels of all rows of the last `fit` or `add`, given or found. Not there after
            `forget` and `load`.
        backbone_: `backbone`, when it was fitted.
        labelled_seen_: how many labelled rows it was given, those of `add` included.
    """

    def __init__(
        self,
        head: str | os.PathLike = "general",
        *,
        balanced: bool = False,
        class_prior: Mapping | Sequence[float] | None = None,
        backbone: str | None = None,
        max_unlabelled: int = 2000,
        random_state=0,
    ):
        self.head = head
        self.balanced = balanced
        self.class_prior = class_prior
        self.backbone = backbone
        self.max_unlabelled = max_unlabelled
        self.random_state = random_state

    def fit(self, X, y) -> "SIBClassifier":
        """Learns the classes of X, `[rows, D]`, with labels y, `[rows]`.

        Without unlabelled rows the classes are the nearest prototypes, moved by the gradient of the labelled rows.

        Raises:
            ValueError: as scikit-learn's classifiers, with its texts; an InputError, which is one, where no row has a
                label, or the head or a parameter cannot be used.
        """
        with self._all_or_nothing():
            X, classes, numbers = self._checked(X, y, reset=True)
            self._learn(self._opened_head(), KeptRows.none(X.shape[1]), X, classes, numbers)
            self.backbone_ = self.backbone
        return self

    def add(self, X, y) -> "SIBClassifier":
        """Learns anew from the rows that are kept and these, labelled or not, of old classes or new ones.

        Raises:
            ValueError: as `fit`.
        """
        self._require_fitted()
        with self._all_or_nothing():
            X, classes, numbers = self._checked(X, y, reset=False)
            self._learn(self._head, self._rows, X, classes, numbers)
        return self

    def keeps(self, X, y=None) -> np.ndarray:
        """Returns which rows are kept, under the same label or without one: `[rows]` bool; without y, under any label.

        `add` counts a row as often as it is given.

        Raises:
            ValueError: as `add`.
        """
        if y is None:
            return self._rows.hold(self._rows_to_answer(X), None, None)
        self._require_fitted()
        return self._rows.hold(*self._checked(X, y, reset=False))

    def forget(self, label) -> "SIBClassifier":
        """Learns anew without the class `label` and its labelled rows.

        Raises:
            InputError: there is no such class, or no other one.
        """
        self._require_fitted()
        if np.ndim(label) or label not in self.classes_.tolist():
            raise InputError(f"label must be one of the classes, {self.classes_.tolist()}; got {label!r}.")
        if len(self.classes_) == 1:
            raise InputError(f"label {label!r} is the only class, and one must stay; fit another classifier instead.")
        with self._all_or_nothing():
            self._adapt(self._head, self._rows.without(label))
            self.__dict__.pop("transduction_", None)
        return self

    def predict(self, X) -> np.ndarray:
        """Returns the label of each row's most probable class, `[rows]`, as in `classes_`."""
        found = self._most_probable(self._rows_to_answer(X))
        return self.classes_[found]

    def predict_proba(self, X) -> np.ndarray:
        """Returns probabilities `[rows, way]` float32, in the order of `classes_`."""
        X = self._rows_to_answer(X)
        found = np.empty((X.shape[0], len(self.classes_)), np.float32)
        for part, probabilities in self._probabilities(X):
            found[part] = probabilities
        return found

    def prototype_proba(self, X) -> np.ndarray:
        """Returns what `predict_proba` would without the steps, those of nearest prototypes: `[rows, way]` float32."""
        X = self._rows_to_answer(X)
        found = [probabilities for _, _, probabilities in self._head.blocks(X, self._weights[0])]
        return np.concatenate([np.zeros((0, len(self.classes_)), np.float32), *found])

    @property
    def head_description_(self) -> dict:
        """What the head says of itself: `num_steps`, `known` (None: it cannot tell), and the like."""
        self._require_fitted()
        return self._head.model.description

    def known_proba(self, X) -> np.ndarray:
        """Returns the probabilities `[rows]` that rows are of one of the classes at all.

        Raises:
            InputError: the head was not fitted to tell.
        """
        X, fitted = self._rows_to_answer(X), self._head.model.description.get("known")
        if fitted is None:
            raise InputError(f"head {self.head} cannot tell known rows from others; fit it with train.calibrate.")
        before = self._weights[0]
        rows = self._rows.unlabelled if len(self._rows.unlabelled) else self._rows.support
        pile = np.concatenate([logits for _, logits, _ in self._head.blocks(rows, before)])
        centre = open_set.centre(pile)
        scores = [open_set.score(logits, centre) for _, logits, _ in self._head.blocks(X, before)]
        return open_set.probability(np.concatenate(scores), fitted)

    def save(self, path: str | os.PathLike) -> None:
        """Writes the classifier to one file, in one move: 4 * D bytes for every row that is kept, 8 * weights_dim (D to
        2 D) for every class, and the head, some 130 kB. No pickle; a digest of everything.

        Raises:
            InputError: it is not fitted, its head is a run's folder, or the file cannot be written.
        """
        from sib_tf.estimator import saved_file

        self._require_fitted()
        parameters = {**self.get_params(), "head": os.fspath(self.head)}
        parameters = {k: v.item() if isinstance(v, np.generic) else v for k, v in parameters.items()}
        if self.class_prior is not None:
            parameters["class_prior"] = self._class_shares(self.classes_).tolist()
        columns = getattr(self, "feature_names_in_", None)
        columns = None if columns is None else columns.tolist()
        learned = self._rows, self._weights, self._log_shift, self._head.portable()
        saved_file.write(path, saved_file.Contents(parameters, columns, self.backbone_, *learned))

    @classmethod
    def load(cls, path: str | os.PathLike, backbone: str | None = None) -> "SIBClassifier":
        """Reads a classifier that `save` wrote. It needs neither the old rows nor the head's file.

        Args:
            path: the file.
            backbone: name of what makes the rows that it will be given.

        Raises:
            InputError: the file is missing or damaged, or its rows came from another backbone.
        """
        from sib_tf.estimator import saved_file

        contents = saved_file.read(path)
        _require_backbone(contents.backbone, backbone)
        if sorted(contents.parameters) != cls._parameter_names():
            raise InputError(f"{path} has other parameters than this version's {cls._parameter_names()}; fit again.")
        classifier = cls(**contents.parameters)
        classifier._head = head_files.of_bytes(contents.head, path)
        classifier._head.check_length(contents.rows.support.shape[1])
        classifier._rows, classifier._weights, classifier._log_shift = contents[3:6]
        classifier.classes_, classifier.backbone_ = contents.rows.classes, contents.backbone
        classifier.labelled_seen_ = int(contents.rows.seen.sum())
        classifier.n_features_in_ = contents.rows.support.shape[1]
        if contents.columns is not None:
            classifier.feature_names_in_ = np.array(contents.columns, dtype=object)
        return classifier

    @contextlib.contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """After an error the classifier is as it was before."""
        before = vars(self).copy()
        try:
            yield
        except BaseException:
            self.__dict__ = before  # In one step: another thread may be answering.
            raise

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "classes_")

    def _require_fitted(self) -> None:
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self)
        _require_backbone(self.backbone_, self.backbone)

    def _rows_to_answer(self, X):
        self._require_fitted()
        return self._validated(X, reset=False)

    def _validated(self, X, reset: bool):
        from sklearn.utils.validation import validate_data

        return validate_data(self, X, reset=reset, accept_sparse="csr", dtype=[np.float32, np.float64])

    def _checked(self, X, y, reset: bool):
        """X as `float_rows` takes it, and the numbered labels."""
        from sklearn.utils import check_consistent_length

        if y is None:
            name = type(self).__name__
            raise ValueError(f"This {name} estimator requires y to be passed, but the target y is None.")
        X = self._validated(X, reset)
        classes, numbers = labels.numbered(y)
        check_consistent_length(X, numbers)
        if len(classes) == 0 and reset:
            raise InputError(
                "y must have the label of at least one row of each class; got -1 (None between text), no label, alone."
            )
        return X, classes, numbers

    def _opened_head(self) -> head_files.Head:
        """Opens the head, unless it is the one that is open: its file, and that as it was."""
        name = "balanced" if self.balanced and self.head == "general" else self.head
        file = head_files.file_of(name)
        key = str(file), file.stat().st_mtime_ns
        if getattr(self, "_opened", (None, None))[0] != key:
            self._opened = key, head_files.opened(name)
        return self._opened[1]

    def _learn(self, head: head_files.Head, rows: KeptRows, X, classes: np.ndarray, numbers: np.ndarray) -> None:
        from sklearn.utils import check_random_state

        most = self.max_unlabelled
        if not (isinstance(most, int | np.integer) and most >= 1):
            raise InputError(f"max_unlabelled must be a whole number of at least 1; got {most!r}.")
        head.check_length(X.shape[1])
        most = min(most, head.model.max_query or most)
        self._adapt(head, rows.with_more(X, classes, numbers, most, check_random_state(self.random_state)))
        self.transduction_ = self._transduction(X, classes, numbers)

    def _adapt(self, head: head_files.Head, rows: KeptRows) -> None:
        """Sets what is learned from `rows`."""
        prior, log_shift = self._class_shares(rows.classes), None
        weights = head.adapt(rows.support, rows.numbers, rows.unlabelled)
        if prior is not None:
            pile = [np.zeros((0, len(prior))), *(p for _, _, p in head.blocks(rows.unlabelled, weights[1]))]
            log_shift = class_shares.shift_to_shares(np.concatenate(pile), prior)
        self._head, self._rows, self._weights, self._log_shift = head, rows, weights, log_shift
        self.classes_, self.labelled_seen_ = rows.classes, int(rows.seen.sum())

    def _class_shares(self, classes: np.ndarray) -> np.ndarray | None:
        if self.class_prior is None:
            return np.full(len(classes), 1 / len(classes)) if self.balanced else None
        if self.balanced:
            raise InputError("balanced must be False where class_prior says what the shares are; got both.")
        return class_shares.in_order(self.class_prior, classes)

    def _transduction(self, X, classes: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        places = np.flatnonzero(numbers == UNLABELLED)
        given = labels.places(self.classes_, classes)[numbers] if len(classes) else numbers
        found = given.astype(np.intp)
        if 2 * len(places) > len(numbers) > _MANY:  # No copy of nearly all rows.
            found[places] = self._most_probable(X)[places]
        elif len(places):
            found[places] = self._most_probable(X[places])
        return self.classes_[found]

    def _most_probable(self, X) -> np.ndarray:
        found = np.empty(X.shape[0], np.intp)
        for part, probabilities in self._probabilities(X):
            probabilities.argmax(axis=1, out=found[part])
        return found

    def _probabilities(self, X):
        for part, _, probabilities in self._head.blocks(X, self._weights[1]):
            if self._log_shift is not None:
                log_p = np.log(np.maximum(probabilities, 1e-30))
                probabilities = class_shares.shifted(log_p, self._log_shift)
            yield part, probabilities


def _require_backbone(own: str | None, other: str | None) -> None:
    if None not in (own, other) and own != other:
        raise InputError(
            f"backbone must be {own}, whose features this classifier learned from; got {other}. Fit another one."
        )
