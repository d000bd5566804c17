"""Folders of photographs to answers: EfficientNet-Lite0 embeds, the head that ships learns, every one is answered."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sib_tf import SIBClassifier
from sib_tf.config import AVERAGED_VIEWS, backbone_name
from sib_tf.errors import InputError
from sib_tf.photographs import cache, embedder, labelled, streaming
from sib_tf.photographs.feature_store import FeatureStore
from sib_tf.photographs.labelled import Labelled
from sib_tf.photographs.streaming import Embedded
from sib_tf.pictures.picture_folders import list_pictures
from sib_tf.prediction.page import Learned
from sib_tf.prediction.predictions import AnswerTable, check_unknown_below, sample

# Pictures that are answered at once: 10 MB of features.
_BLOCK = 2048


class Request(NamedTuple):
    """What a user asks for.

    Attributes:
        support: folder of labelled pictures, `<class>/<pictures>`; None with `learned`.
        learned: a saved classifier; None: a new one learns from `support`.
        add: folder of further labelled pictures, of its classes or of new ones.
        query: folder of unlabelled pictures; None: there are none.
        unknown_below: as of `predictions.predict`.
        threads: that read and embed.
        views: of a picture, that its features are the mean over: 1, 2 or 4.
    """

    support: Path | None
    learned: Path | None
    add: Path | None
    query: Path | None
    unknown_below: float
    threads: int
    views: int = 1


class Sorted(NamedTuple):
    """What came out.

    Attributes:
        classifier: fitted.
        answers: of every picture that could be read, `files`, in the same order.
        files: of the unlabelled pictures.
        learned: what the classes were learned from.
        steps_saw: how many unlabelled pictures the steps saw; None: nothing was learned anew.
        notes: what should be said, in sentences.
        without_label: places of the unlabelled pictures that have no label elsewhere.
    """

    classifier: SIBClassifier
    answers: AnswerTable
    files: list[Path]
    learned: Learned
    steps_saw: int | None
    notes: list[str]
    without_label: np.ndarray


def opened(request: Request) -> SIBClassifier:
    """Returns the classifier that a request goes on from: a new one, or the saved one.

    Raises:
        InputError: the saved one is damaged, of another backbone or other views, or of classes that no folder names.
    """
    backbone = backbone_name(embedder.BACKBONE, request.views)
    if request.learned is None:
        return SIBClassifier(backbone=backbone)
    own = SIBClassifier.load(request.learned).backbone_
    views = {backbone_name(embedder.BACKBONE, views): views for views in AVERAGED_VIEWS}.get(own, request.views)
    if views != request.views:
        raise InputError(f"views must be {views} as when {request.learned} was saved; got {request.views}.")
    classifier = SIBClassifier.load(request.learned, backbone)
    if classifier.n_features_in_ != embedder.FEATURE_DIM:
        raise InputError(
            f"learned must be of {embedder.BACKBONE}'s features, {embedder.FEATURE_DIM} numbers a picture; "
            f"{request.learned} has {classifier.n_features_in_}."
        )
    if request.add is not None and classifier.classes_.dtype.kind not in "OU":
        raise InputError(
            f"add must be left out: its folders' names are text, and {request.learned} has classes that are none, such "
            f"as {classifier.classes_.tolist()[0]!r}."
        )
    return classifier


def sort(request: Request, classifier: SIBClassifier, store: FeatureStore) -> Sorted:
    """Learns, and answers; the memory hardly grows with the number of pictures.

    Args:
        request: what is asked for.
        classifier: that of `opened`.
        store: where features are looked up and kept; of the same views.

    Raises:
        InputError: there is nothing to learn from, or pictures of no class are asked for and the head cannot tell.
    """
    files = labelled.listed(request.support, request.add, getattr(classifier, "classes_", ()))
    listing = None if request.query is None else list_pictures(request.query)
    known = labelled.checked(files, _embedded(request, files.paths, store, "labelled"))
    pile = _embedded(request, listing.pictures if listing else [], store, "pictures")
    seen, again = _learn(classifier, known, pile, store)
    check_unknown_below(request.unknown_below, classifier.head_description_)
    if len(classifier.classes_) < 2:
        raise InputError(f"learned must know at least two classes; it knows {classifier.classes_.tolist()}. Use add.")
    answers = _answers(request, classifier, pile, store)
    skipped = [*known.skipped, *(listing.skipped if listing else []), *pile.skipped]
    notes = [*known.notes, *again, *labelled.also_unlabelled(known, pile)]
    free = labelled.without_label(known, pile)
    if request.learned is not None and len(free):
        free = free[~np.concatenate([classifier.keeps(rows) for rows in _blocks(pile.places[free], store)])]
    return Sorted(classifier, answers, pile.paths, _learned(classifier, known, skipped), seen, notes, free)


def new_store(views: int = 1) -> FeatureStore:
    """Opens the features that were kept of pictures seen before, in the cache; 5 kB a picture."""
    return FeatureStore(cache.folder() / "features" / embedder.file(views).stem, embedder.FEATURE_DIM)


def _embedded(request: Request, paths: list[Path], store: FeatureStore, what: str) -> Embedded:
    content: list[bytes] = []

    def opened() -> embedder.Embedder:
        if not content:
            content.append(embedder.file(request.views).read_bytes())
        return embedder.Embedder(content[0])

    return streaming.embed(paths, embedder.IMAGE_SIZE, opened, store, request.threads, what)


def _learn(
    classifier: SIBClassifier, known: Labelled, pile: Embedded, store: FeatureStore
) -> tuple[int | None, list[str]]:
    """Learns from the labelled pictures and a sample of the others; returns how many these are, and notes.

    None: what was learned stays as it is, since no picture has a label, or all are kept already.
    """
    if not known.labels:
        return None, []
    seen = sample(len(pile.places), classifier.max_unlabelled)
    rows = store.read(np.concatenate([known.pictures.places, pile.places[seen]]))
    labels = np.array([*known.labels, *[None] * len(seen)], dtype=object)
    if not hasattr(classifier, "classes_"):
        classifier.fit(rows, labels)
        return len(seen), []
    kept, labelled = classifier.keeps(rows, labels), len(known.labels)
    again, elsewhere = int(kept[:labelled].sum()), int((classifier.keeps(rows[:labelled]) & ~kept[:labelled]).sum())
    notes = [f"Learned from already, and counted once: {_pictures(again)} of add."] if again else []
    notes += (
        [f"Kept under another class already, and now under both: {_pictures(elsewhere)} of add."] if elsewhere else []
    )
    if kept.all():
        return None, notes
    classifier.add(rows[~kept], labels[~kept])
    return len(seen), notes


def _pictures(count: int) -> str:
    return f"{count} picture{'s' * (count != 1)}"


def _answers(request: Request, classifier: SIBClassifier, pile: Embedded, store: FeatureStore) -> AnswerTable:
    names = [path.relative_to(request.query).as_posix() for path in pile.paths]
    answers = AnswerTable(
        names, classifier.classes_.tolist(), request.unknown_below, lambda places: store.read(pile.places[places])
    )
    # One picture alone has nothing to be compared with, unless something was learned with others.
    tells = classifier.head_description_.get("known") is not None and (len(names) > 1 or request.learned is not None)
    for rows in _blocks(pile.places, store):
        known = classifier.known_proba(rows) if tells else None
        answers.extend(classifier.prototype_proba(rows), classifier.predict_proba(rows), known)
    return answers


def _blocks(places: np.ndarray, store: FeatureStore) -> Iterator[np.ndarray]:
    for start in range(0, len(places), _BLOCK):
        yield store.read(places[start : start + _BLOCK])


def _learned(classifier: SIBClassifier, known: Labelled, skipped: list[str]) -> Learned:
    description = classifier.head_description_
    return Learned(
        classifier.classes_.tolist(),
        classifier.labelled_seen_,
        list(zip(known.labels, known.pictures.paths, strict=True)),
        description["num_steps"],
        bool(description.get("calibrated")),
        skipped,
    )
