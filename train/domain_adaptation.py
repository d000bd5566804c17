"""Zero-shot classification: SIB-Rot on a domain none of whose labels is seen, beside what it is made of.

    python -m train.domain_adaptation --dataset=glyph_domains --target=all --seeds=0,1,2 --output_dir=RUN/domains
    python -m train.domain_adaptation --dataset=pacs --data_dir=PACS --target=sketch --output_dir=RUN/pacs
    python -m train.domain_adaptation --dataset=pacs --data_dir=PACS --target=all --backbone=imported \
        --weights=RUN/backbone --output_dir=RUN/pacs

Writes a folder for every target, method and seed (what is done is not done again), metrics.json, and report.md.
"""

import sys

from absl import flags

from sib_tf.commands import cli, record_flags
from sib_tf.datasets import DOMAIN_DATASETS
from sib_tf.errors import InputError
from sib_tf.zero_shot.config import DOMAIN_METHODS, UNTRAINED_METHODS, DomainAdaptationConfig

# Where the backbone stays as it is: its features are made once, and the head takes seconds.
IMPORTED = {"shared_dim": 256, "steps": 1000, "learning_rate": 1e-3}
_NOT_OF_IMPORTED = ("width", "color_jitter", "mirror")
# What a ResNet-18 that knows ImageNet needs, where it differs from the record's defaults.
PACS = {"backbone": "resnet18", "shared_dim": 256, "steps": 2000, "learning_rate": 1e-4, "mirror": True}
_TEXTS = DomainAdaptationConfig.help_texts()

FLAGS = flags.FlagValues()
flags.DEFINE_enum("dataset", None, DOMAIN_DATASETS, "Data set.", flag_values=FLAGS)
flags.DEFINE_list("target", None, "The domain without labels; several with commas, or all.", flag_values=FLAGS)
flags.DEFINE_string("output_dir", None, "Folder of this run.", flag_values=FLAGS)
flags.mark_flags_as_required(("dataset", "target", "output_dir"), flag_values=FLAGS)
flags.DEFINE_string("data_dir", None, "pacs only: folder with <domain>/<class>/; only read.", flag_values=FLAGS)
flags.DEFINE_string(
    "cache_dir",
    None,
    "Folder for prepared pictures. Default: $TFDS_DATA_DIR, or else ~/tensorflow_datasets.",
    flag_values=FLAGS,
)
flags.DEFINE_list(
    "methods", None, f"Methods, with commas: {', '.join(DOMAIN_METHODS)}; of an imported backbone's features also "
    f"{', '.join(UNTRAINED_METHODS)}. Default: all of them.", flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_list("seeds", ["0"], "Seeds of weights, order and augmentation, with commas.", flag_values=FLAGS)
flags.DEFINE_string(
    "weights",
    None,
    "Of the backbone: imagenet (keras-hub), random, or a .keras or .weights.h5 file; of an imported one its folder. "
    "Default: imagenet for resnet18, random for conv4.",
    flag_values=FLAGS,
)
flags.DEFINE_bool("oracle", False, "Show the best step by target accuracy beside the chosen one.", flag_values=FLAGS)
record_flags.define(
    FLAGS,
    DomainAdaptationConfig(),
    _TEXTS | {name: f"{_TEXTS[name]} Default for pacs: {value}." for name, value in PACS.items()},
)


def main() -> None:
    settings = record_flags.fields(FLAGS, DomainAdaptationConfig)
    imported = FLAGS.backbone == "imported"
    if imported and (unused := [name for name in _NOT_OF_IMPORTED if FLAGS[name].present]):
        raise InputError(f"{unused[0]} is for a backbone that is trained; leave it out with backbone=imported.")
    if imported or FLAGS.dataset == "pacs":
        defaults = IMPORTED if imported else PACS
        settings |= {name: value for name, value in defaults.items() if not FLAGS[name].present}
    config = DomainAdaptationConfig(**settings)
    seeds = _seeds()
    cli.load_tensorflow()
    from sib_tf.datasets import domains
    from sib_tf.zero_shot import domain_adaptation
    from sib_tf.zero_shot.domain_adaptation import backbone

    targets = domains.names(FLAGS.dataset) if "all" in FLAGS.target else tuple(FLAGS.target)
    usual = {"resnet18": "imagenet", "conv4": "random"}
    weights = FLAGS.weights or usual.get(config.backbone)
    size = backbone.imported(weights, config.image_size).input_shape[1] if imported else config.image_size
    methods = FLAGS.methods or DOMAIN_METHODS + (UNTRAINED_METHODS if imported else ())
    plan = domain_adaptation.Plan(targets, tuple(methods), seeds, weights, FLAGS.oracle)
    dataset = domains.load(FLAGS.dataset, FLAGS.data_dir, FLAGS.cache_dir, size)
    metrics = domain_adaptation.run(dataset, config, plan, FLAGS.output_dir)
    for row in metrics["rows"]:
        average = row["average"]
        print(f"{row['name']}: {100 * average['mean']:.2f} +-{100 * average['ci95_minibatches']:.2f} %")
    print(f"Report: {FLAGS.output_dir}/report.md")


def _seeds() -> tuple[int, ...]:
    if not FLAGS.seeds or not all(text.strip().isdecimal() and int(text) < 2**31 for text in FLAGS.seeds):
        raise InputError(f"seeds must be whole numbers in [0, 2**31), with commas; got {','.join(FLAGS.seeds)!r}.")
    return tuple(map(int, FLAGS.seeds))


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
