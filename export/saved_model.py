"""Exports a trained model as a SavedModel for TF Serving: OUTPUT_DIR/<version>/, in one move.

    python -m export.saved_model --model_dir=RUN/sib --backbone_dir=RUN/backbone --output_dir=EXPORT

Signatures: serving_default (pictures to classes), embed, adapt, classify; serving_encoded, embed_encoded, learn_encoded
and classify_encoded, the same for files of pictures; learn; head. The export is compared with the trained model
on real episodes and is not left behind if it differs.
"""

import json
import sys
from pathlib import Path

from absl import flags

from export import export_flags
from sib_tf.commands import cli
from sib_tf.storage import atomic, run_lock

FLAGS = flags.FlagValues()
export_flags.define(FLAGS, episodes=50)
flags.DEFINE_string("output_dir", None, "Folder of the versions, as a server watches it.", flag_values=FLAGS)
flags.mark_flag_as_required("output_dir", flag_values=FLAGS)
flags.DEFINE_integer("version", None, "Version. Default: one above the highest there, or 1.", 1, flag_values=FLAGS)
flags.DEFINE_multi_string(
    "metrics", [], "metrics.json of train.evaluate, for the model card; may be given several times.", flag_values=FLAGS
)


def main() -> None:
    folder = version_folder(Path(FLAGS.output_dir), FLAGS.version)
    export_flags.check_parts(FLAGS, head_only=False)
    run = export_flags.load_run(FLAGS)
    export_flags.require_exportable(run)
    from export import head_alone, model_card, serving, verification, warm_up
    from sib_tf.prediction.models import SavedModel

    summaries = model_card.load_metrics(FLAGS.metrics, run)
    data = export_flags.load_data(FLAGS, run)
    reference = export_flags.reference(FLAGS, run, data)
    with run_lock.held(folder, beside=True), atomic.new_folder(folder) as partial:
        if folder.exists():
            raise cli.InputError(f"{folder} was written by another process; start again for the next version.")
        serving.write(partial, run, head_alone.content(run, FLAGS.model_dir))
        atomic.write_text(partial / model_card.FILE, model_card.text(run.description(), summaries))
        # On one line: indented, its pixels would take eight times the space.
        request = serving.example_request(
            data.test, reference.spec, run.backbone_config.image_size, run.backbone_config.larger
        )
        atomic.write_text(partial / "example_request.json", json.dumps(request))
        atomic.write_text(partial / "example_encoded.json", json.dumps(serving.encoded_request(request)))
        verdict = reference.judge(partial, SavedModel(partial), f"{folder.parent.name}/{folder.name}")
        verdict.require("The SavedModel")
    print(verification.table([verdict]))
    if not (folder / warm_up.FILE).is_file():
        print("No warm-up requests, so a server's first answer is slow: pip install 'sib_tf[serve]', and export again.")
    print(f"{folder}: SavedModel, model card, example requests.")


def version_folder(root: Path, version: int | None) -> Path:
    """Returns the folder of a version, by default the one after the highest.

    Raises:
        InputError: the version is there already: a server may be using it.
    """
    names = [child.name for child in root.iterdir()] if root.is_dir() else []
    # As the server does: "٣" is a digit too.
    there = [int(name) for name in names if name.isascii() and name.isdigit()]
    version = max(there, default=0) + 1 if version is None else version
    if version in there:
        raise cli.InputError(f"version {version} is in {root} already; name another, or leave --version out.")
    return root / str(version)


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
