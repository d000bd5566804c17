"""Checks that two sweeps agree: every method's accuracy in every setting that both have, within their intervals.

    python -m benchmarks.agreement --first=RUN/sweeps_quick --second=benchmarks/recorded/cifar_fs

Names those that do not, with exit code 2. Other constants are another method; a SIB model of the same configuration and
training episodes is the same, whatever its weights.
"""

import dataclasses
import sys

from absl import flags

from sib_tf.commands import cli
from sib_tf.config import SIBConfig

FLAGS = flags.FlagValues()
flags.DEFINE_string("first", None, "Folder of benchmarks.sweeps.", required=True, flag_values=FLAGS)
flags.DEFINE_string("second", None, "Another one, of the same data set.", required=True, flag_values=FLAGS)


def main() -> None:
    from benchmarks.records import load_sweep, points

    first, second = (load_sweep(folder) for folder in (FLAGS.first, FLAGS.second))
    others = {setting["setting"]: setting["methods"] for setting in second.settings}
    compared, apart = 0, []
    for setting in first.settings:
        for label, figures in setting["methods"].items():
            other = others.get(setting["setting"], {}).get(label)
            if other is None or _constants(other) != _constants(figures):
                continue
            compared += 1
            if abs(figures["accuracy"] - other["accuracy"]) > figures["ci95"] + other["ci95"]:
                own, others_own = (f"{points(each['accuracy'], each['ci95'])} %" for each in (figures, other))
                apart.append(f"{setting['setting']}, {label}: {own} and {others_own}")
    if not compared:
        raise cli.InputError(f"{FLAGS.first} and {FLAGS.second} have no method and setting in common.")
    if apart:
        raise cli.InputError(f"{len(apart)} of {compared} accuracies do not agree: {'; '.join(apart)}.")
    print(f"{compared} accuracies of {FLAGS.first} agree with those of {FLAGS.second} within their 95 % intervals.")


def _constants(figures: dict) -> dict:
    """What makes it the same method; a SIB model that was meta-trained anew, the same way, is the same."""
    config = {name: value for name, value in figures["config"].items() if name != "folder"}
    if "model" in config:
        # Settings that there were not yet when it was measured are at their defaults.
        own = {name: value for name, value in config["model"].items() if name != "weights"}
        config["model"] = dataclasses.asdict(SIBConfig.from_dict(own))
    return config


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
