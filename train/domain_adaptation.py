"""Zero-shot classification: SIB-Rot on a domain none of whose labels is seen, beside what it is made of.

    python -m train.domain_adaptation --dataset=glyph_domains --target=all --seeds=0,1,2 --output_dir=RUN/domains
    python -m train.domain_adaptation --dataset=pacs --data_dir=PACS --target=sketch --output_dir=RUN/pacs

Writes a folder for every target, method and seed (what is done is not done again), metrics.json, and report.md.
"""

import dataclasses
import sys

from absl import flags

from sib_tf.commands import cli
from sib_tf.config import GRADIENT_NETWORKS
from sib_tf.errors import InputError
from sib_tf.zero_shot.config import DOMAIN_BACKBONES, DOMAIN_DATASETS, DOMAIN_METHODS, DomainAdaptationConfig

DEFAULT = DomainAdaptationConfig()
# What a ResNet-18 that knows ImageNet needs, where it differs.
PACS = {"backbone": "resnet18", "shared_dim": 256, "steps": 2000, "learning_rate": 1e-4, "mirror": True}

FLAGS = flags.FlagValues()
flags.DEFINE_enum("dataset", None, DOMAIN_DATASETS, "Data set.", flag_values=FLAGS)
flags.DEFINE_list("target", None, "The domain without labels; several with commas, or all.", flag_values=FLAGS)
flags.DEFINE_string("output_dir", None, "Folder of this run.", flag_values=FLAGS)
for name in ("dataset", "target", "output_dir"):
    flags.mark_flag_as_required(name, flag_values=FLAGS)
flags.DEFINE_string("data_dir", None, "pacs only: folder with <domain>/<class>/; only read.", flag_values=FLAGS)
flags.DEFINE_string(
    "cache_dir",
    None,
    "Folder for prepared pictures. Default: $TFDS_DATA_DIR, or else ~/tensorflow_datasets.",
    flag_values=FLAGS,
)
flags.DEFINE_list("methods", list(DOMAIN_METHODS), "Methods, with commas.", flag_values=FLAGS)
flags.DEFINE_list("seeds", ["0"], "Seeds of weights, order and augmentation, with commas.", flag_values=FLAGS)
flags.DEFINE_string(
    "weights",
    None,
    "Of the backbone: imagenet (keras-hub), random, or a .keras or .weights.h5 file. Default: imagenet for resnet18, "
    "random for conv4.",
    flag_values=FLAGS,
)
flags.DEFINE_bool("oracle", False, "Show the best step by target accuracy beside the chosen one.", flag_values=FLAGS)


def _optional(define, name: str, text: str, *bounds) -> None:
    """A flag whose default depends on the data set."""
    usual = getattr(DEFAULT, name)
    other = f"; pacs {PACS[name]}" if name in PACS else ""
    define(name, None, f"{text} Default: {usual}{other}.", *bounds, flag_values=FLAGS)


flags.DEFINE_enum("backbone", None, DOMAIN_BACKBONES, "Default: conv4; pacs resnet18.", flag_values=FLAGS)
flags.DEFINE_integer("image_size", None, "Side of the pictures. Default: 32; pacs 224.", 16, flag_values=FLAGS)
flags.DEFINE_enum(
    "gradient_network", DEFAULT.gradient_network, GRADIENT_NETWORKS, "xi, of label logits alone.", flag_values=FLAGS
)
_optional(flags.DEFINE_integer, "width", "Filters of conv4's blocks.", 1)
_optional(flags.DEFINE_integer, "shared_dim", "H, width of the layer that adapts.", 1)
_optional(flags.DEFINE_integer, "num_steps", "K of sib_rot.", 1)
_optional(flags.DEFINE_float, "inner_learning_rate", "eta, of the synthetic-gradient steps.")
_optional(flags.DEFINE_float, "rotation_learning_rate", "eta_rot, of the step that makes theta^0.")
_optional(flags.DEFINE_float, "rotation_weight", "Of the rotation loss in the outer loss.", 0)
_optional(flags.DEFINE_bool, "target_in_training", "Whether the target's pictures join the outer rotation loss.")
_optional(flags.DEFINE_integer, "minibatch", "n, pictures of one domain in a task.", 2)
_optional(flags.DEFINE_integer, "steps", "Outer steps.", 1)
_optional(flags.DEFINE_float, "learning_rate", "Of Adam, at its highest.")
_optional(flags.DEFINE_float, "color_jitter", "Brightness, contrast, saturation factors 1 +- this.", 0, 1)
_optional(flags.DEFINE_bool, "mirror", "Whether training pictures are mirrored.")
_optional(flags.DEFINE_float, "validation_fraction", "Of every source's pictures, held out.", 0, 1)
_optional(flags.DEFINE_integer, "validations", "How often the sources are validated.", 1)


def main() -> None:
    given = {field.name: FLAGS[field.name].value for field in dataclasses.fields(DomainAdaptationConfig)}
    usual = PACS if FLAGS.dataset == "pacs" else {}
    config = DomainAdaptationConfig(**usual | {name: value for name, value in given.items() if value is not None})
    seeds = _seeds()
    cli.load_tensorflow()
    from sib_tf.datasets import domains
    from sib_tf.zero_shot import domain_adaptation

    targets = domains.names(FLAGS.dataset) if FLAGS.target == ["all"] else tuple(FLAGS.target)
    weights = FLAGS.weights or ("imagenet" if config.backbone == "resnet18" else "random")
    plan = domain_adaptation.Plan(targets, tuple(FLAGS.methods), seeds, weights, FLAGS.oracle)
    dataset = domains.load(FLAGS.dataset, FLAGS.data_dir, FLAGS.cache_dir, config.image_size)
    metrics = domain_adaptation.run(dataset, config, plan, FLAGS.output_dir)
    for row in metrics["rows"]:
        average = row["average"]
        print(f"{row['name']}: {100 * average['mean']:.2f} +-{100 * average['ci95_minibatches']:.2f} %")
    print(f"Report: {FLAGS.output_dir}/report.md")


def _seeds() -> tuple[int, ...]:
    if not FLAGS.seeds or not all(text.strip().isdigit() and int(text) < 2**31 for text in FLAGS.seeds):
        raise InputError(f"seeds must be whole numbers in [0, 2**31), with commas; got {','.join(FLAGS.seeds)!r}.")
    return tuple(map(int, FLAGS.seeds))


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
