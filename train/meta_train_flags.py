"""The flags of a meta-training, shared by training itself and by the search for its settings."""

from absl import flags

from sib_tf.commands import cli
from sib_tf.config import GRADIENT_NETWORKS, OPTIMIZERS, POSTERIORS, PRIORS, STEP_REDUCTIONS, MetaTrainConfig, SIBConfig
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
    _define_model(values)
    flags.DEFINE_integer("steps", 50_000, "Outer steps.", flag_values=values)
    flags.DEFINE_integer("batch_episodes", 1, "B, episodes per outer step.", flag_values=values)
    flags.DEFINE_enum("optimizer", "sgd", OPTIMIZERS, "Outer optimiser.", flag_values=values)
    flags.DEFINE_float("learning_rate", 1e-3, "Outer learning rate.", flag_values=values)
    flags.DEFINE_float("momentum", 0.9, "Nesterov momentum of sgd.", flag_values=values)
    flags.DEFINE_float("weight_decay", 5e-4, "sgd: coupled; adamw: decoupled; adam: none.", flag_values=values)
    flags.DEFINE_bool("cosine_decay", False, "Let the outer learning rate fall to zero.", flag_values=values)
    flags.DEFINE_integer("validation_episodes", 1000, "Length of the fixed validation list.", flag_values=values)
    flags.DEFINE_integer("validate_every", 1000, "Outer steps between validations.", flag_values=values)
    flags.DEFINE_integer("steps_per_call", 100, "Outer steps per compiled call; only speed.", flag_values=values)
    flags.DEFINE_integer("seed", 0, "Seed of weights and episodes.", flag_values=values)


def _define_validation(values: flags.FlagValues) -> None:
    share = "Share of balanced episodes among Dirichlet ones."
    flags.DEFINE_float("balanced_fraction", 0.0, share, flag_values=values)
    text = "--way of the validation list. Default: the largest."
    flags.DEFINE_string("validation_way", None, text, flag_values=values)
    text = "--dirichlet_alpha of the validation list. Default: as in training."
    flags.DEFINE_string("validation_dirichlet_alpha", None, text, flag_values=values)
    text = "--balanced_fraction of the validation list. Default: as in training."
    flags.DEFINE_float("validation_balanced_fraction", None, text, 0, 1, flag_values=values)


def _define_model(values: flags.FlagValues) -> None:
    flags.DEFINE_enum(
        "gradient_network",
        "joint",
        GRADIENT_NETWORKS,
        "Synthetic gradient network: the paper's, for one way, or ours, for any way.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "hidden_units", None, "Its hidden width. Default: joint 8 * way, per_class 32.", flag_values=values
    )
    flags.DEFINE_integer("num_steps", 3, "K, synthetic-gradient steps.", flag_values=values)
    flags.DEFINE_float("inner_learning_rate", 1e-3, "eta, size of a synthetic-gradient step.", flag_values=values)
    flags.DEFINE_enum("step_reduction", "sum", STEP_REDUCTIONS, "How queries add up in a step.", flag_values=values)
    flags.DEFINE_bool("learned_initialization", True, "Learn the vector a of theta^0, or keep 1.", flag_values=values)
    flags.DEFINE_bool("separate_steps", False, "A synthetic gradient network for every step.", flag_values=values)
    text = "Every step also takes the gradient of the labelled pictures, by a learned step size."
    flags.DEFINE_bool("support_gradient", False, text, flag_values=values)
    flags.DEFINE_enum("prior", "none", PRIORS, "p(w), of a class's weights.", flag_values=values)
    flags.DEFINE_enum("posterior", "dirac", POSTERIORS, "q_theta(w); gaussian needs a prior.", flag_values=values)
    flags.DEFINE_integer("posterior_samples", 4, "S, samples of a gaussian posterior.", flag_values=values)
    text = "Of KL(q || p) against the summed cross-entropy, in steps and outer loss; 1 is the evidence lower bound."
    flags.DEFINE_float("kl_weight", 1.0, text, flag_values=values)


def settings(values: flags.FlagValues) -> tuple[SIBConfig, MetaTrainConfig]:
    """Returns the model, but for the length of its features (256 stands in), and its training.

    Raises:
        InputError: values that cannot be, alone or together; names the flag.
    """
    names = ("steps", "batch_episodes", "optimizer", "learning_rate", "momentum", "weight_decay", "cosine_decay")
    names += ("validation_episodes", "validate_every", "steps_per_call", "seed")
    episodes = episode_flags.spec(values, balanced_fraction=values.balanced_fraction)
    way = cli.number_range("validation_way", values.validation_way or str(episodes.way[1]))
    config = MetaTrainConfig(
        episodes=episodes,
        validation=episode_flags.spec(values, way=way, **_validation_distribution(values)),
        mixture=episode_flags.mixture(values, balanced_fraction=values.balanced_fraction),
        **{name: values[name].value for name in names},
    )
    names = ("gradient_network", "hidden_units", "num_steps", "inner_learning_rate", "step_reduction", "separate_steps")
    names += ("learned_initialization", "support_gradient", "prior", "posterior", "posterior_samples", "kl_weight")
    shape = {name: values[name].value for name in names}
    shape["way"] = episodes.fixed_way() if values.gradient_network == "joint" else None
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
