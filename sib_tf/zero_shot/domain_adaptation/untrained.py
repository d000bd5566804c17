"""What features give with nothing to train: the head that ships, the sources' pictures labelled, the target's not.

Unlike SIB-Rot, which sees a minibatch, it sees the whole target, or the sample that `SIBClassifier` takes of it.
"""

import numpy as np

from sib_tf.estimator.classifier import SIBClassifier
from sib_tf.zero_shot.domain_adaptation import tasks
from sib_tf.zero_shot.domain_adaptation.training import Checkpoint


def predict(method: str, sources: tasks.Sources, minibatch: int, seed: int) -> Checkpoint:
    """Predicts the target by "shipped_head", or "prototypes", which are its theta^0.

    Args:
        method: one of `UNTRAINED_METHODS`.
        sources: of features `[pictures, 4, F]`, of which the pictures as they are count.
        minibatch: pictures of a row of the answer.
        seed: of the samples, where there are more rows than the head sees.
    """
    rows, labels = (np.concatenate(each) for each in zip(*map(_labelled, sources.train.values()), strict=True))
    unlabelled = sources.target[:, 0]
    classifier = SIBClassifier(random_state=seed)
    classifier.fit(np.concatenate([rows, unlabelled]), np.concatenate([labels, np.full(len(unlabelled), -1)]))
    answer = classifier.predict_proba if method == "shipped_head" else classifier.prototype_proba
    held_out = [_labelled(each) for each in sources.validation.values()]
    accuracy = np.mean([(answer(X).argmax(1) == y).mean() for X, y in held_out])
    found = answer(unlabelled).argmax(1)
    return Checkpoint(0, float(accuracy), found[tasks.fixed(np.arange(len(found)), minibatch)])


def _labelled(rows: tasks.Rows) -> tuple[np.ndarray, np.ndarray]:
    return rows.pictures.images[rows.rows, 0], rows.pictures.labels[rows.rows]
