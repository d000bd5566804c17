"""Learns new classes from a few labelled pictures and gives every picture of a folder one of them.

    sib-tf predict --model=model.tflite --support=PICTURES/labelled --query=PICTURES/new \\
        --output=predictions.csv --html=predictions.html

From a checkout `python -m train.predict` is the same. The labelled pictures lie in PICTURES/labelled/<class>/. The
model is a .tflite file, a SavedModel folder or a run folder with backbone/ and sib/. The CSV has a row for each
picture: file (below --query), class and probability, second_class and second_probability, prototype_class and
prototype_probability (the answer before the steps, that of nearest prototypes), known_probability (that the picture is
of one of the classes at all; empty where the model was not fitted to tell), none_of_these ("yes" below
--unknown_below) and changed, "yes" where the steps changed the class. Names are written as they are: import them as
text where a spreadsheet would take "=1+1" for a formula.
"""

from pathlib import Path

from absl import flags

from sib_tf.commands import cli
from sib_tf.errors import InputError

FLAGS = flags.FlagValues()
flags.DEFINE_string("model", None, "A .tflite file, a SavedModel folder or a run folder.", flag_values=FLAGS)
_SUPPORT = "Folder of labelled pictures, a sub-folder for each class: DIR, or 'DIR/*/*'."
flags.DEFINE_string("support", None, _SUPPORT, flag_values=FLAGS)
flags.DEFINE_string("query", None, "Folder of pictures to be given a class, at any depth.", flag_values=FLAGS)
flags.DEFINE_string("output", None, "The file to write, ending in .csv.", flag_values=FLAGS)
flags.mark_flags_as_required(["model", "support", "query", "output"], flag_values=FLAGS)
flags.DEFINE_string("html", None, "Page with the pictures by class, ending in .html.", flag_values=FLAGS)
_UNKNOWN_BELOW = "Probability of being of one of the classes, below which a picture is none of these."
flags.DEFINE_float("unknown_below", 0.0, _UNKNOWN_BELOW, 0, 1, flag_values=FLAGS)
flags.DEFINE_integer("num_threads", 1, "Of a .tflite file; TensorFlow takes all cores.", 1, flag_values=FLAGS)


def main() -> None:
    support_folder, query_folder = _checked_flags()
    if Path(FLAGS.model).is_dir():
        cli.load_tensorflow()
    from sib_tf.pictures import picture_folders
    from sib_tf.prediction import models, page, predictions

    model = models.open_model(FLAGS.model, FLAGS.num_threads)
    support = picture_folders.read_support(support_folder, model.image_size)
    query = picture_folders.read_query(query_folder, model.image_size, allow_empty=True)
    answers = predictions.predict(model, support, query, query_folder, FLAGS.unknown_below)
    predictions.save(FLAGS.output, answers)
    if FLAGS.html:
        page.save(FLAGS.html, answers, support, query, model.description)
    print(_summary(answers, support, query, model.num_steps))


def _checked_flags() -> tuple[Path, Path]:
    """Refuses what can be refused before TensorFlow is loaded; returns the folders of support and query."""
    for name, suffix in (("output", ".csv"), ("html", ".html")):
        if FLAGS[name].value is not None and Path(FLAGS[name].value).suffix != suffix:
            raise InputError(f"{name} must end in {suffix}; got {FLAGS[name].value}.")
    from sib_tf.pictures.picture_folders import folder_of_classes

    folders = folder_of_classes(FLAGS.support), Path(FLAGS.query)
    for name, folder in zip(("support", "query"), folders, strict=True):
        if not folder.is_dir():
            raise InputError(f"{name} must be a folder of pictures; there is no folder {folder}.")
    return folders


def _summary(answers, support, query, num_steps: int) -> str:
    lines = []
    if skipped := [*support.skipped, *query.skipped]:
        # One line each, whatever the names hold.
        lines += [f"Skipped {len(skipped)}:", *(f"  {' '.join(reason.split())}" for reason in skipped)]
    if answers:
        lines.append(
            f"{len(answers)} picture{'s' * (len(answers) > 1)}, {len(set(support.labels))} classes learned from "
            f"{len(support.labels)} labelled pictures: K = {num_steps} steps changed "
            f"{sum(answer.changed for answer in answers)} answers of nearest prototypes."
        )
        if none := sum(answer.none_of_these for answer in answers):
            lines.append(f"None of these classes: {none} of the pictures.")
    else:
        lines.append(f"No picture in {FLAGS.query}: nothing to give a class to.")
    lines.append(f"Predictions: {FLAGS.output}" + ("" if answers else " (the header only)"))
    if FLAGS.html:
        lines.append(f"Page:        {FLAGS.html}")
    return "\n".join(lines)
