"""The flags that say what an episode looks like, shared by meta-training and evaluation."""

from absl import flags

from sib_tf.config import QUERY_DISTRIBUTIONS, EpisodeSpec
from train import cli


def define(values: flags.FlagValues) -> None:
    """Defines --way, --shot, --query, --query_distribution and --dirichlet_alpha on `values`."""
    flags.DEFINE_string("way", "5", "Classes per episode: a number, or a range such as 5-20.", flag_values=values)
    flags.DEFINE_string("shot", "1", "Labelled pictures per class: a number or a range.", flag_values=values)
    flags.DEFINE_string(
        "query", "15", "Unlabelled pictures per class, on average: a number or a range.", flag_values=values
    )
    flags.DEFINE_enum(
        "query_distribution",
        "balanced",
        QUERY_DISTRIBUTIONS,
        "How an episode's unlabelled pictures are spread over its classes.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "dirichlet_alpha",
        2.0,
        "Concentration of the Dirichlet distribution; small is imbalanced.",
        flag_values=values,
    )


def spec(values: flags.FlagValues, **fields) -> EpisodeSpec:
    """Returns the specification that the flags give; `fields` go over them."""
    given = {name: cli.number_range(name, values[name].value) for name in ("way", "shot", "query")}
    given |= {name: values[name].value for name in ("query_distribution", "dirichlet_alpha")}
    return EpisodeSpec(**{**given, **fields})
