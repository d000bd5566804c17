"""Makes a backbone that averages over several views of a picture, of one that is there.

    python -m train.average_views --backbone_dir=RUN/backbone --output_dir=RUN4/backbone

Its features are the mean over the picture, its mirror image, and two of these moved by a sixteenth. That is worth up
to three points, for four times the work of embedding (--views=2: twice). It goes wherever a backbone does: to
extraction, export, prediction. Not for classes that are each other's mirror images.
"""

import sys

from absl import flags

from sib_tf.commands import cli
from sib_tf.config import AVERAGED_VIEWS

FLAGS = flags.FlagValues()
flags.DEFINE_string("backbone_dir", None, "Folder of train.pretrain or train.import_backbone.", flag_values=FLAGS)
flags.DEFINE_string("output_dir", None, "Folder of the backbone that is made.", flag_values=FLAGS)
flags.mark_flags_as_required(["backbone_dir", "output_dir"], flag_values=FLAGS)
_VIEWS = "2: the picture and its mirror image; 4: two more, moved."
flags.DEFINE_enum("views", "4", [str(views) for views in AVERAGED_VIEWS[1:]], _VIEWS, flag_values=FLAGS)


def main() -> None:
    cli.load_tensorflow()
    from sib_tf import backbones

    config = backbones.write_averaged(FLAGS.backbone_dir, int(FLAGS.views), FLAGS.output_dir)
    print(f"Backbone {config.name}, averaged over {config.averaged_views} views, written to {FLAGS.output_dir}.")


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
