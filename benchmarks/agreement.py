"""Checks that two sweeps agree: every method's accuracy in every setting that both have.

    python -m benchmarks.agreement --first=RUN/sweeps_quick --second=benchmarks/recorded/cifar_fs

Names those that do not, with exit code 2. Intervals are wide enough for all differences to be within theirs with 95 %
(Bonferroni): at 95 % each, one of twenty would be outside by chance. They are over episodes: a backbone that was
trained anew may be better or worse, which the mean difference tells. Other constants are another method; a SIB model
of the same configuration and training episodes is the same, whatever its weights.
"""

import dataclasses
import math
import statistics
import sys
from statistics import NormalDist

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
    if first.dataset != second.dataset:
        raise cli.InputError(
            f"{FLAGS.first} is of {first.dataset} and {FLAGS.second} of {second.dataset}; name sweeps of one data set."
        )
    pairs = {}
    for setting in first.settings:
        for label, figures in setting["methods"].items():
            other = others.get(setting["setting"], {}).get(label)
            if other is not None and _constants(other) == _constants(figures):
                pairs[f"{setting['setting']}, {label}"] = figures, other
    if not pairs:
        raise cli.InputError(f"{FLAGS.first} and {FLAGS.second} have no method and setting in common.")
    # Half-widths of 95 % each, widened so that all of them together have it.
    wider = NormalDist().inv_cdf(1 - 0.025 / len(pairs)) / NormalDist().inv_cdf(0.975)
    differences = {name: own["accuracy"] - other["accuracy"] for name, (own, other) in pairs.items()}
    apart = []
    for name, pair in pairs.items():
        if abs(differences[name]) > wider * math.hypot(*(each["ci95"] for each in pair)):
            own, others_own = (f"{points(each['accuracy'], each['ci95'])} %" for each in pair)
            apart.append(f"{name}: {own} and {others_own}")
    if apart:
        raise cli.InputError(
            f"{len(apart)} of {len(pairs)} accuracies do not agree: {'; '.join(apart)}. If what measures them was "
            "changed on purpose, make results records them anew."
        )
    mean = 100 * statistics.mean(differences.values())
    print(
        f"{len(pairs)} accuracies of {FLAGS.first} agree with those of {FLAGS.second} within their 95 % intervals; in "
        f"the mean they are {mean:+.2f} points away."
    )


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
