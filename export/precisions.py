"""The precisions of a .tflite file and the ops in it, each in one place: flags, conversion and verification read them
here."""

import dataclasses
import math

from sib_tf.errors import InputError

# What a file may contain: ops without state that LiteRT has kernels for on every platform.
ALLOWED_OPS = frozenset(
    """
    ADD AVERAGE_POOL_2D BATCH_MATMUL BROADCAST_TO CAST CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEQUANTIZE DIV EQUAL EXP
    EXPAND_DIMS FULLY_CONNECTED GATHER GELU GREATER HARD_SWISH L2_NORMALIZATION LOG LOG_SOFTMAX LOGISTIC MAX_POOL_2D
    MAXIMUM MEAN MINIMUM MUL NEG NOT_EQUAL ONE_HOT PACK PAD PADV2 QUANTIZE REDUCE_ANY REDUCE_MAX REDUCE_PROD RELU RELU6
    RESHAPE RSQRT SELECT_V2 SHAPE SOFTMAX SPLIT SQRT SQUARE SQUARED_DIFFERENCE STRIDED_SLICE SUB SUM TANH TILE TRANSPOSE
    UNPACK ZEROS_LIKE
    """.split()  # noqa: SIM905
)
# Ops with weights. The first of them ends what a backbone does to the pictures.
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


@dataclasses.dataclass(frozen=True)
class Limits:
    """How far a file may be from the trained model; the differences are the largest over all episodes.

    Attributes:
        features, weights: relative to the largest number of the trained model.
        probabilities: absolute.
        disagreement: share of queries with another predicted class.
    """

    features: float
    weights: float
    probabilities: float
    disagreement: float

    def of_deep_network(self) -> "Limits":
        """What is allowed of imported backbones, whose tens of layers round off up to 7e-5 of the features in float32.

        20 times as far in features and 5 in what follows from them; no limit grows beyond 0.05.
        """
        wider = {"features": 20 * self.features, "weights": 5 * self.weights, "probabilities": 5 * self.probabilities}
        return dataclasses.replace(self, **{n: max(getattr(self, n), min(limit, 0.05)) for n, limit in wider.items()})


@dataclasses.dataclass(frozen=True)
class Precision:
    """What becomes of the backbone; the head stays in float.

    Attributes:
        text: a line of help.
        limits: of the comparison with the trained model.
        ops: of the backbone that are quantised, from its first convolution on.
        recipe: how, an entry of an ai_edge_quantizer recipe less its `regex` and `operation`.
    """

    text: str
    limits: Limits
    ops: tuple[str, ...] = ()
    recipe: dict = dataclasses.field(default_factory=dict)

    @property
    def calibrated(self) -> bool:
        """Whether activations are quantised, by ranges that are measured on pictures."""
        return "activation_tensor_config" in self.recipe.get("op_config", {})


PRECISIONS = {
    # Of SavedModels, too: they have Keras's own kernels, but their graphs are optimised: steps and temperatures of a
    # badly conditioned model enlarge the rounding.
    "float32": Precision("as it was trained", Limits(1e-5, 1e-4, 1e-4, 0.001)),
    "float16": Precision(
        "weights of half the size; runtimes compute in float32 or, where they can, in float16",
        Limits(5e-3, 2e-2, 5e-2, 0.02),
        CONVOLUTIONS,
        {
            "algorithm_key": "float_casting",
            "op_config": {
                "weight_tensor_config": {"num_bits": 16, "dtype": "FLOAT"},
                "compute_precision": "FLOAT",
                "explicit_dequantize": True,
            },
        },
    ),
    # Quantised values are away from the original ones by intention: it is judged by what it predicts.
    "int8": Precision(
        "weights and activations, whose ranges are measured on --calibration_pictures",
        Limits(math.inf, math.inf, math.inf, 0.3),
        (
            *CONVOLUTIONS,
            *("AVERAGE_POOL_2D", "MAX_POOL_2D", "MEAN", "PAD", "PADV2", "RESHAPE", "STRIDED_SLICE", "CONCATENATION"),
            *("ADD", "MUL", "SUB", "RELU", "LOGISTIC", "HARD_SWISH"),
        ),
        {
            "algorithm_key": "min_max_uniform_quantize",
            "op_config": {
                "activation_tensor_config": {"num_bits": 8, "symmetric": False},
                "weight_tensor_config": {"num_bits": 8, "granularity": "CHANNELWISE"},
                "compute_precision": "INTEGER",
            },
        },
    ),
}
HELP = "; ".join(f"{name}: {precision.text}" for name, precision in PRECISIONS.items())


def named(name: str) -> Precision:
    """Returns the precision of a name, or raises an InputError."""
    if name == "full_int8":
        raise InputError(
            "precision full_int8 is refused: a head quantised to int8 gives logits of zero. Use int8: the backbone in "
            "int8 and the head, which is small, in float."
        )
    if name not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}; got {name}.")
    return PRECISIONS[name]
