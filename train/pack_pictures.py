"""Writes a data set's training and validation pictures to one file, for train.pretrain_torch on another machine.

python -m train.pack_pictures --dataset=mini_imagenet --data_dir=DIR --output=pictures.npz
"""

import sys

from absl import flags

from sib_tf.commands import cli, dataset_flags

FLAGS = flags.FlagValues()
dataset_flags.define(FLAGS)
flags.DEFINE_string("output", None, "The .npz file to write.", required=True, flag_values=FLAGS)


def main() -> None:
    data = dataset_flags.load(FLAGS)
    from sib_tf.pretraining import validation_episodes
    from sib_tf.torch_pretraining import pictures

    pictures.save(data, validation_episodes(data), FLAGS.output)
    parts = ("training", data.train), ("validation", data.validation)
    counts = (f"{len(split.labels)} pictures of {len(split.class_names)} {name} classes" for name, split in parts)
    print(f"{' and '.join(counts)} written to {FLAGS.output}.")


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
