"""The flags that say which trained model is exported, and on which episodes it is compared with the file."""

import dataclasses
from pathlib import Path

from absl import flags

from sib_tf.commands import cli, dataset_flags
from sib_tf.errors import InputError

# The longest features of a head alone.
MOST_FEATURES = 1 << 20


def define(values: flags.FlagValues, episodes: int) -> None:
    """Defines --model_dir, --backbone_dir, --features_dir for heads alone, the data set's flags and --episodes, with
    its default, on `values`; `check_parts` says which of the folders belong together."""
    flags.DEFINE_string("model_dir", None, "Folder of a meta-training.", flag_values=values)
    flags.mark_flag_as_required("model_dir", flag_values=values)
    flags.DEFINE_string("backbone_dir", None, "Folder of its backbone's pre-training or import.", flag_values=values)
    text = "Of the head alone, instead of --backbone_dir: a feature cache of its backbone, to compare it on."
    flags.DEFINE_string("features_dir", None, text, flag_values=values)
    text = "S, samples of a gaussian posterior that classify together, with an uncertainty; 0: its mean classifies."
    flags.DEFINE_integer("posterior_samples", 0, text, 0, 100, flag_values=values)
    dataset_flags.define(values, "Data set for the check on real episodes. Default: the one it was trained on.")
    flags.DEFINE_integer("episodes", episodes, "Episodes of the comparison.", 2, flag_values=values)


def check_parts(values: flags.FlagValues, head_only: bool, has_length: bool = False) -> None:
    """Raises an InputError unless --backbone_dir alone, or for the head alone --features_dir alone, is given; a head
    whose features' length is given needs neither."""
    wanted, other = ("features_dir", "backbone_dir") if head_only else ("backbone_dir", "features_dir")
    what = "the head alone, which is compared on features of its backbone," if head_only else "a whole model"
    if values[wanted].value is None and not (head_only and has_length):
        raise InputError(f"{wanted} must be given for {what.rstrip(',')}; it is missing.")
    if values[other].value is not None:
        raise InputError(f"{other} does not belong to {what}; got {values[other].value}. Leave it out.")


def define_outputs(values: flags.FlagValues) -> None:
    """Defines --output and --report on `values`, for figures of exported files."""
    flags.DEFINE_string("output", None, "File for the figures, ending in .json.", flag_values=values)
    flags.DEFINE_string("report", None, "A report.md of train.evaluate to add the table to.", flag_values=values)


def check_outputs(values: flags.FlagValues) -> None:
    """Raises an InputError if --output is no .json file or --report is not there: before, not after, the work."""
    if values.output and Path(values.output).suffix != ".json":
        raise InputError(f"output must end in .json; got {values.output}.")
    if values.report and not Path(values.report).is_file():
        raise InputError(f"There is no report {values.report}; train.evaluate --report=FOLDER writes one.")


def publish(values: flags.FlagValues, title: str, figures, text: str) -> None:
    """Writes `figures`, JSON values, to --output, and `text` under `title` into --report, where they are given."""
    from sib_tf.reports import report
    from sib_tf.storage import atomic

    if values.output:
        atomic.write_json(values.output, figures)
    if values.report:
        report.set_section(values.report, title, text)


def define_feature_dim(values: flags.FlagValues) -> None:
    """Defines --feature_dim on `values`, of heads alone that know no length; `feature_dim` reads it."""
    text = "Of a head alone for features of any length: the length D of those it will get, or any. Default: that of "
    flags.DEFINE_string("feature_dim", None, text + "--features_dir.", flag_values=values)


def feature_dim(values: flags.FlagValues) -> int | None:
    """Returns the length that --feature_dim gives; None for any; raises an InputError for anything else."""
    text = values.feature_dim
    if text == "any":
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= MOST_FEATURES):
        raise InputError(f"feature_dim must be a whole number from 1 to {MOST_FEATURES}, or any; got {text}.")
    return int(text)


def load_head(values: flags.FlagValues):
    """Loads the head of a `trained_run.Run` for features of the length of --feature_dim, or else --features_dir."""
    if values.feature_dim is None:
        return load_run(values)
    length = feature_dim(values)
    cli.load_tensorflow()
    from sib_tf.features import FeatureCache
    from sib_tf.prediction import trained_run

    if values.features_dir is not None and length not in (
        None,
        own := FeatureCache.open(values.features_dir).feature_dim,
    ):
        raise InputError(f"feature_dim must be {own}, as those of features_dir {values.features_dir}; got {length}.")
    run = trained_run.load_head(values.model_dir, None, samples=values.posterior_samples)
    return run if length is None else dataclasses.replace(run, sib=run.sib.bound(length))


def load_run(values: flags.FlagValues):
    """Loads the trained model that the flags name, or its head: an `sib_tf.prediction.trained_run.Run`."""
    cli.load_tensorflow()
    from sib_tf.features import FeatureCache
    from sib_tf.prediction import trained_run

    if values.backbone_dir is not None:
        return trained_run.load(values.model_dir, values.backbone_dir, values.posterior_samples)
    cache = FeatureCache.open(values.features_dir)
    weights, other = cache.manifest["backbone"]["weights"], f"that of features_dir {values.features_dir}"
    size = cache.manifest.get("image_size")
    return trained_run.load_head(values.model_dir, cache.feature_dim, weights, other, values.posterior_samples, size)


def require_exportable(run) -> None:
    """Raises an InputError if the run's backbone is a .tflite file, which nothing else can hold."""
    from sib_tf.backbones.pretrained.litert_embedder import LiteRTEmbedder

    if run.backbone is not None and any(isinstance(layer, LiteRTEmbedder) for layer in run.backbone.layers):
        raise InputError(
            f"backbone_dir holds {run.backbone_config.source}, a .tflite file, which cannot be put into another file. "
            "Export the head to go beside it: export.tflite --head_only --features_dir=FEATURES, no --backbone_dir; "
            "sib-tf predict takes the run's folder as it is."
        )


def load_data(values: flags.FlagValues, run):
    """Loads the data set that the flags, or else the run, names: a `sib_tf.datasets.MetaDataset`.

    Of the head alone: a `verification.EmbeddedData`, made up where no features are given.
    """
    if values.backbone_dir is None:
        from export import verification

        if values.features_dir is None:
            return verification.EmbeddedData.made_up(run.sib.config.feature_dim or 64)
        return verification.EmbeddedData.open(values.features_dir)
    if values.dataset is None and run.dataset is None:
        raise InputError("dataset must be given: the run does not say which data set it was trained on.")
    return dataset_flags.load(values, run.dataset, run.backbone_config)


def reference(values: flags.FlagValues, run, data, *descriptions: dict, seed: int = 0):
    """Runs the trained model on episodes that fit the files described: a `verification.Reference`."""
    from export import verification
    from sib_tf.prediction.models import KerasModel

    model = KerasModel(run)
    spec = verification.episode_spec(data.test.labels, model.description, *descriptions)
    return verification.Reference(model, data.test, spec, values.episodes, seed)
