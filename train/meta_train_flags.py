"""The flags of a meta-training, shared by training itself and by the search for its settings."""

from absl import flags

from sib_tf.commands import cli, record_flags
from sib_tf.config import EpisodeSpec, MetaTrainConfig, SIBConfig
from train import episode_flags


def define(values: flags.FlagValues) -> None:
    """Defines the flags of episodes, model and outer loop on `values`."""
    episode_flags.define(values)
    flags.DEFINE_multi_string(
        "mixture",
        [],
        "Further episodes for every outer step, such as 'shot=5 query_distribution=dirichlet'; what is not named is as "
        "the other flags say. May be given several times.",
        flag_values=values,
    )
    _define_validation(values)
    record_flags.define(values, SIBConfig(), SIBConfig.help_texts("feature_dim", "way"))
    record_flags.define(values, MetaTrainConfig(), MetaTrainConfig.help_texts())


def _define_validation(values: flags.FlagValues) -> None:
    record_flags.define(values, EpisodeSpec(), {"balanced_fraction": EpisodeSpec.help_texts()["balanced_fraction"]})
    text = "--way of the validation list. Default: the largest."
    flags.DEFINE_string("validation_way", None, text, flag_values=values)
    text = "--dirichlet_alpha of the validation list. Default: as in training."
    flags.DEFINE_string("validation_dirichlet_alpha", None, text, flag_values=values)
    text = "--balanced_fraction of the validation list. Default: as in training."
    flags.DEFINE_float("validation_balanced_fraction", None, text, 0, 1, flag_values=values)


def settings(values: flags.FlagValues) -> tuple[SIBConfig, MetaTrainConfig]:
    """Returns the model, but for the length of its features (256 stands in), and its training.

    Raises:
        InputError: values that cannot be, alone or together; names the flag.
    """
    episodes = episode_flags.spec(values, balanced_fraction=values.balanced_fraction)
    way = cli.number_range("validation_way", values.validation_way or str(episodes.way[1]))
    training = record_flags.fields(values, MetaTrainConfig) | {
        "episodes": episodes,
        "validation": episode_flags.spec(values, way=way, **_validation_distribution(values)),
        "mixture": episode_flags.mixture(values, balanced_fraction=values.balanced_fraction),
    }
    config = MetaTrainConfig(**training)
    shape = record_flags.fields(values, SIBConfig)
    shape["way"] = episodes.fixed_way() if SIBConfig(**{**shape, "way": 2}).fixed_way else None
    if shape["way"] and way != episodes.way:
        raise cli.InputError(
            f"validation_way must be {shape['way']} for gradient_network=joint, like way; got {values.validation_way}."
        )
    if shape["way"] and any(further.way != episodes.way for further in config.mixture):
        raise cli.InputError(f"mixture must keep way={shape['way']} for gradient_network=joint; leave way out of it.")
    return SIBConfig(**shape), config


def _validation_distribution(values: flags.FlagValues) -> dict:
    fraction, alpha = values.validation_balanced_fraction, values.validation_dirichlet_alpha
    given = {"balanced_fraction": values.balanced_fraction if fraction is None else fraction}
    if alpha is not None:
        given["dirichlet_alpha"] = episode_flags.alpha_range("validation_dirichlet_alpha", alpha)
    return given
