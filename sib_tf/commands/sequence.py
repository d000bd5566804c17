"""Several commands in one process, one after the other, so that TensorFlow is loaded once.

    python -m sib_tf.commands.sequence train.calibrate --model_dir=RUN/sib ... -- train.evaluate --model_dir=RUN/sib ...

Each is as `python -m` would run it. The first that fails is the last, and its exit code is that of all.
"""

import importlib
import itertools
import shlex
import sys
from collections.abc import Sequence

from sib_tf.commands import cli


def main(arguments: Sequence[str]) -> int:
    """Runs the commands, which `--` separates; returns the exit code."""
    groups = itertools.groupby(arguments, lambda argument: argument == "--")
    for name, *flags in (list(words) for separator, words in groups if not separator):
        print(shlex.join(["python", "-m", name, *flags]), flush=True)
        command = importlib.import_module(name)
        if code := cli.run(command.main, command.FLAGS, command.__doc__, [name, *flags]):
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
