"""Learns new classes from a few labelled pictures and gives every picture of a folder one of them.

    sib-tf predict --support=PICTURES/labelled --query=PICTURES/new --output=predictions.csv --html=predictions.html

From a checkout `python -m train.predict` is the same. The labelled pictures lie in PICTURES/labelled/<class>/. Without
--model, EfficientNet-Lite0 (extra `photos`) embeds the pictures, and the head that ships learns: nothing is trained.
Any number of pictures is taken; what was embedded is kept in the cache, so that a run that was stopped or extended goes
on. --save=classes.sib keeps what was learned, --learned=classes.sib uses it, --add=DIR adds pictures or classes to it.
A model is a .tflite file, a SavedModel folder or a run folder with backbone/ and sib/. Without one --views=4 embeds
four views of each picture: itself, its mirror image, and both moved a little; --learned wants those of its --save.

The CSV has a row for each picture: file (below --query), class and probability, second_class and second_probability,
prototype_class and prototype_probability (the answer before the steps, that of nearest prototypes), known_probability
(that the picture is of one of the classes at all; empty where the model was not fitted to tell), none_of_these ("yes"
below --unknown_below) and changed, "yes" where the steps changed the class; with --label_next also label_next, which
numbers the pictures whose labels would help most. It is UTF-8 with a mark in front, for spreadsheets' sake; Python
reads it with encoding="utf-8-sig". Names are written as they are: import them as text where a spreadsheet would take
"=1+1" for a formula.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

from absl import flags

from sib_tf.commands import cli
from sib_tf.config import AVERAGED_VIEWS
from sib_tf.errors import InputError

FLAGS = flags.FlagValues()
_MODEL = "A .tflite file, a SavedModel folder or a run folder; without: EfficientNet-Lite0 and the head that ships."
flags.DEFINE_string("model", None, _MODEL, flag_values=FLAGS)
_SUPPORT = "Folder of labelled pictures, a sub-folder for each class: DIR, or 'DIR/*/*'."
flags.DEFINE_string("support", None, _SUPPORT, flag_values=FLAGS)
flags.DEFINE_string("query", None, "Folder of pictures to be given a class, at any depth.", flag_values=FLAGS)
flags.DEFINE_string("output", None, "The file to write, ending in .csv.", flag_values=FLAGS)
flags.DEFINE_string("html", None, "Page with the pictures by class, ending in .html.", flag_values=FLAGS)
_SAVE = "The file to keep what was learned in, ending in .sib; without a model only."
flags.DEFINE_string("save", None, _SAVE, flag_values=FLAGS)
_LEARNED = "What --save kept, in place of --support; its answers do not depend on the other pictures."
flags.DEFINE_string("learned", None, _LEARNED, flag_values=FLAGS)
_ADD = "Folder of labelled pictures, as --support, that are added to what --learned holds: all is learned anew."
flags.DEFINE_string("add", None, _ADD, flag_values=FLAGS)
_LABEL_NEXT = "Of how many pictures to say that their labels would help most."
flags.DEFINE_integer("label_next", 0, _LABEL_NEXT, 0, 1000, flag_values=FLAGS)
_UNKNOWN_BELOW = "Probability of being of one of the classes, below which a picture is none of these."
flags.DEFINE_float("unknown_below", 0.0, _UNKNOWN_BELOW, 0, 1, flag_values=FLAGS)
_VIEWS = "Views of a picture that its features are the mean over: more accurate, and as many times slower to embed."
flags.DEFINE_enum("views", "1", [str(views) for views in AVERAGED_VIEWS], _VIEWS, flag_values=FLAGS)
_NUM_THREADS = "Threads that read and embed; as many as there are cores by default."
flags.DEFINE_integer("num_threads", None, _NUM_THREADS, 1, flag_values=FLAGS)
_SUFFIXES = {"output": ".csv", "html": ".html", "save": ".sib"}


def main() -> None:
    _check_flags()
    folders = {name: _folder(name) for name in ("support", "query", "add") if FLAGS[name].value is not None}
    (_sort if FLAGS.model is None else _predict)(folders)


def _predict(folders: dict[str, Path]) -> None:
    """With a model: features are kept for as long as it runs."""
    if Path(FLAGS.model).is_dir():
        cli.load_tensorflow()
    from sib_tf.photographs import labelled, streaming
    from sib_tf.photographs.feature_store import FeatureStore
    from sib_tf.pictures.picture_folders import list_pictures
    from sib_tf.prediction import models, page, predictions

    model = models.open_model(FLAGS.model)
    image_size, threads = model.image_size, FLAGS.num_threads or streaming.workers()
    files, listing = labelled.listed(folders["support"], None), list_pictures(folders["query"])
    # Before the pictures are embedded, which takes time.
    predictions.check_sizes(model, files.labels, len(listing.pictures))
    predictions.check_unknown_below(FLAGS.unknown_below, model.description)
    opened = models.one_picture_embedders(FLAGS.model, model)
    with tempfile.TemporaryDirectory() as kept, FeatureStore(kept, model.description["feature_dim"]) as store:
        known = streaming.embed(files.paths, image_size, opened, store, threads, "labelled")
        known = labelled.checked(files, known)
        pile = streaming.embed(listing.pictures, image_size, opened, store, threads, "pictures")
        rows = store.read(known.pictures.places), store.read(pile.places)
    names = [path.relative_to(folders["query"]).as_posix() for path in pile.paths]
    answers = predictions.predict(model, rows[0], known.labels, rows[1], names, FLAGS.unknown_below)
    learned = page.Learned(
        sorted(set(known.labels)),
        len(known.labels),
        list(zip(known.labels, known.pictures.paths, strict=True)),
        model.num_steps,
        bool(model.description.get("calibrated")),
        [*known.skipped, *listing.skipped, *pile.skipped],
    )
    notes = [*known.notes, *labelled.also_unlabelled(known, pile)]
    seen, free = len(predictions.sample(len(pile.paths), model.max_query)), labelled.without_label(known, pile)
    _write(answers, pile.paths, learned, seen, notes, free)


def _sort(folders: dict[str, Path]) -> None:
    """Without a model: pictures are read, embedded and forgotten."""
    from sib_tf.photographs import sorting, streaming

    learned = FLAGS.learned and Path(FLAGS.learned)
    asked = folders.get("support"), learned, folders.get("add"), folders.get("query")
    threads, views = FLAGS.num_threads or streaming.workers(), int(FLAGS.views)
    request = sorting.Request(*asked, FLAGS.unknown_below, threads, views)
    classifier = sorting.opened(request)  # Before an embedder is prepared, which takes a minute.
    with sorting.new_store(views) as store:
        found = sorting.sort(request, classifier, store)
        if request.query is not None:
            _write(found.answers, found.files, found.learned, found.steps_saw, found.notes, found.without_label)
        # Last: whatever fails before, the same command finds what was learned as it was.
        if FLAGS.save:
            found.classifier.save(FLAGS.save)
            said = _told(found.learned, found.notes) + "Saved:" if request.query is None else "Saved:      "
            print(f"{said} {FLAGS.save}")


def _write(answers, files: list[Path], learned, steps_saw: int | None, notes: list[str], free) -> None:
    """Writes the answers; `free` are the places of the pictures that have no label yet."""
    from sib_tf.prediction import page, predictions

    asked = _label_next(answers, free) if FLAGS.label_next else None
    predictions.save(FLAGS.output, answers, asked)
    if FLAGS.html:
        page.save(FLAGS.html, answers, files, learned, asked or ())
    print(_told(learned, notes) + _summary(answers, learned, steps_saw, asked or []))


def _label_next(answers, free) -> list[int]:
    from sib_tf.prediction import next_labels

    chosen = next_labels.choose(answers.margins[free], lambda some: answers.features_of(free[some]), FLAGS.label_next)
    return free[chosen].tolist()


def _check_flags() -> None:
    """Refuses what can be refused before anything is loaded."""
    own = [name for name in ("save", "learned", "add") if FLAGS[name].value is not None]
    if FLAGS.model is not None and own:
        raise InputError(f"{own[0]} must be left out with a model, or the model: it is for EfficientNet-Lite0 alone.")
    if FLAGS.model is not None and FLAGS["views"].present:
        raise InputError("views must be left out with a model, whose own they are: see train.average_views.")
    if FLAGS.add is not None and FLAGS.learned is None:
        raise InputError("add needs learned, what is added to; without it, name all labelled pictures with --support.")
    if (FLAGS.support is None) == (FLAGS.learned is None):
        raise InputError("support, or learned in its place, must be named, and not both: what to learn from.")
    if FLAGS.query is None and FLAGS.save is None:
        raise InputError("query must be named, the folder of pictures to be given a class; or save, to learn alone.")
    if (FLAGS.query is None) != (FLAGS.output is None):
        raise InputError("query and output must be named together: what is answered, and where to.")
    if FLAGS.query is None and (FLAGS.html or FLAGS.label_next):
        raise InputError("html and label_next need query, the pictures that they are about.")
    if not 0 <= FLAGS.unknown_below <= 1:  # NaN is within any bounds of a flag.
        raise InputError(f"unknown_below must be a probability in [0, 1]; got {FLAGS.unknown_below}.")
    for name, suffix in _SUFFIXES.items():
        if FLAGS[name].value is not None and Path(FLAGS[name].value).suffix != suffix:
            raise InputError(f"{name} must end in {suffix}; got {FLAGS[name].value}.")


def _folder(name: str) -> Path:
    from sib_tf.pictures.picture_folders import folder_of_classes

    find: Callable[[str], Path] = Path if name == "query" else folder_of_classes
    folder = find(FLAGS[name].value)
    if not folder.is_dir():
        raise InputError(f"{name} must be a folder of pictures; there is no folder {folder}.")
    return folder


def _told(learned, notes: list[str]) -> str:
    """What was left out, and what should be known. One line each, whatever the names hold."""
    lines = [f"Skipped {len(learned.skipped)}:"] if learned.skipped else []
    lines += [f"  {' '.join(reason.split())}" for reason in learned.skipped]
    lines += [f"Note: {' '.join(note.split())}" for note in notes]
    return "".join(f"{line}\n" for line in lines)


def _summary(answers, learned, steps_saw: int | None, asked: list[int]) -> str:
    lines = [f"No picture in {FLAGS.query}: nothing to give a class to."]
    if answers:
        changed = sum(answer.changed for answer in answers)
        lines = [
            f"{len(answers)} picture{'s' * (len(answers) > 1)}, {len(learned.classes)} classes learned from "
            f"{learned.labelled} labelled pictures: K = {learned.num_steps} steps changed "
            f"{changed} answer{'s' * (changed != 1)} of nearest prototypes."
        ]
    if steps_saw is not None and steps_saw < len(answers):
        lines.append(f"The steps saw {steps_saw} of the pictures, drawn at random (seed 0); all were answered.")
    if none := sum(answer.none_of_these for answer in answers):
        lines.append(f"None of these classes: {none} of the pictures.")
    if asked:
        lines += ["Label these next:", *(f"  {' '.join(answers[place].file.split())}" for place in asked)]
    lines.append(f"Predictions: {FLAGS.output}" + ("" if answers else " (the header only)"))
    lines += [f"Page:        {FLAGS.html}"] if FLAGS.html else []
    return "\n".join(lines)
