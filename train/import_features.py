"""Makes a feature cache of anyone's embeddings, of text, sound or pictures, as train.extract_features writes it.

    python -m train.import_features --features=embeddings.npz --output_dir=RUN/features

EMBEDDINGS is one of
  FILE.npz       arrays X [rows, D] and y [rows], text or whole numbers; split [rows], if there is one
  FILE.npy       X alone, of any size, with --labels=FILE
  FILE.csv       a header, a column of labels (--label_column), numbers in all others
  FILE.parquet   the same, or one column of lists of numbers; needs pandas and pyarrow

Classes are split by a seeded hash of their names, as those of picture folders are, unless --split_column or --all_for
says where they go. To models the file is the backbone: a head that is meta-trained on it takes features of it alone.
"""

import sys

from absl import flags

from sib_tf.commands import cli, record_flags
from sib_tf.datasets import META_SPLITS
from sib_tf.datasets.embedding_options import EmbeddingOptions

FLAGS = flags.FlagValues()
flags.DEFINE_string("features", None, "File with the embeddings; see above.", flag_values=FLAGS)
flags.DEFINE_string("output_dir", None, "Folder of the cache.", flag_values=FLAGS)
flags.mark_flags_as_required(["features", "output_dir"], flag_values=FLAGS)
flags.DEFINE_string(
    "name", None, "What the backbone is called. Default: as the file, without its ending.", flag_values=FLAGS
)
record_flags.define(FLAGS, EmbeddingOptions(), EmbeddingOptions.help_texts())


def main() -> None:
    options = EmbeddingOptions(**record_flags.fields(FLAGS, EmbeddingOptions))
    from sib_tf.datasets import embeddings

    found = embeddings.read(FLAGS.features, options)  # Before the wait for TensorFlow.
    cli.load_tensorflow()
    from sib_tf.features import importing

    made = importing.import_embeddings(found, FLAGS.output_dir, FLAGS.name)
    counts = " + ".join(f"{len(found.members(split)[0])} in {len(found.classes[split])}" for split in META_SPLITS)
    features = f"Features of {counts} classes (length {found.features.shape[1]})"
    print(f"{features} {'written to' if made else 'already in'} {FLAGS.output_dir}.")


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
