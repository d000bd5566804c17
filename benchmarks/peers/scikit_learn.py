"""Classifiers of scikit-learn for few labelled rows, with or without unlabelled ones, called as the other peers are."""

import abc
import dataclasses
import functools
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from threadpoolctl import ThreadpoolController

from sib_tf.sib import MASKED_LOGIT


@dataclasses.dataclass(frozen=True)
class ScikitLearn(abc.ABC):
    """A classifier that is fitted to every episode by itself, on unit features; fields are its constants.

    Called as a `Peer`, eagerly: NumPy in and out. What it sees of an episode are the rows that count.
    """

    def __call__(self, episode, way: int, base_mean=None) -> np.ndarray:
        """Scores `[episodes, query_rows, way]` float32; 0 for masked queries, `MASKED_LOGIT` where no row is labelled.

        Arguments as of `Peer`; `base_mean` is not looked at.
        """
        fields = [np.asarray(field) for field in episode]
        # Problems are small: handing them to other threads takes longer than they do.
        with _threads().limit(limits=1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return np.stack([self._one(way, *one) for one in zip(*fields, strict=True)])

    def _one(self, way, support, labels, support_mask, query, query_labels, query_mask) -> np.ndarray:
        labels = labels[support_mask]
        support, query = _in_their_span(_unit(support[support_mask]), _unit(query[query_mask]))
        scores = np.full((len(query_mask), way), MASKED_LOGIT, np.float32)
        classes, probability = self.fitted(support, labels, query)
        scores[np.ix_(query_mask, classes)] = np.log(np.maximum(probability, 1e-12))
        scores[np.ix_(~query_mask, classes)] = 0.0
        return scores

    @abc.abstractmethod
    def fitted(self, support, labels, query) -> tuple[np.ndarray, np.ndarray]:
        """The classes `[n]`, and the probabilities `[queries, n]` of unit rows `query`."""


@dataclasses.dataclass(frozen=True)
class LogisticSupport(ScikitLearn):
    """Multinomial logistic regression on the labelled rows alone.

    The reference of Tian et al. (*Rethinking Few-Shot Image Classification: a Good Embedding Is All You Need?*, ECCV
    2020), with scikit-learn's own C. Classes weigh the same, however many rows of them are labelled.
    """

    inverse_regularisation: float = 1.0  # C

    def model(self) -> LogisticRegression:
        """What is fitted."""
        return LogisticRegression(C=self.inverse_regularisation, class_weight="balanced", max_iter=200)

    def fitted(self, support, labels, query):
        model = self.model()
        if len(np.unique(labels)) == 1:  # Which scikit-learn refuses.
            return labels[:1], np.ones((len(query), 1))
        model.fit(support, labels)
        return model.classes_, model.predict_proba(query)


@dataclasses.dataclass(frozen=True)
class SelfTraining(LogisticSupport):
    """`SelfTrainingClassifier` around the logistic regression: the most certain queries of a round become labelled.

    Its threshold of 0.75 is never reached from one labelled row a class; the other of its two criteria takes a number.

    Attributes:
        most_certain: queries that are taken a round, as scikit-learn has it.
        rounds: at most.
    """

    most_certain: int = 10
    rounds: int = 10

    def fitted(self, support, labels, query):
        if len(np.unique(labels)) == 1:
            return super().fitted(support, labels, query)
        model = SelfTrainingClassifier(
            self.model(), criterion="k_best", k_best=min(self.most_certain, len(query)), max_iter=self.rounds
        )
        _fit_all(model, support, labels, query)
        return model.classes_, model.predict_proba(query)


@dataclasses.dataclass(frozen=True)
class LabelSpreadingPeer(ScikitLearn):
    """`LabelSpreading` over labelled rows and queries, with scikit-learn's constants.

    Zhou et al., *Learning with Local and Global Consistency*, NeurIPS 2003.
    """

    gamma: float = 20.0
    alpha: float = 0.2

    def fitted(self, support, labels, query):
        model = LabelSpreading(gamma=self.gamma, alpha=self.alpha)
        _fit_all(model, support, labels, query)
        return model.classes_, model.label_distributions_[len(support) :]


@functools.cache
def _threads() -> ThreadpoolController:
    """Found once: it looks through all libraries of the process."""
    return ThreadpoolController()


def _fit_all(model, support, labels, query) -> None:
    """Fits a semi-supervised model, whose unlabelled rows are labelled -1."""
    model.fit(np.concatenate([support, query]), np.concatenate([labels, np.full(len(query), -1)]))


def _in_their_span(support, query):
    """Both by no more coordinates than there are rows: no distance changes, and so no classifier here."""
    rows = np.concatenate([support, query])
    if rows.shape[1] > len(rows):
        rows = np.linalg.qr(rows.T)[1].T
    return rows[: len(support)], rows[len(support) :]


def _unit(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


CLASSICAL: dict[str, type[ScikitLearn]] = {
    "logistic_regression": LogisticSupport,
    "label_spreading": LabelSpreadingPeer,
    "self_training": SelfTraining,
}
