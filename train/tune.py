"""Searches settings of the SIB model with keras-tuner (extra `tune`).

    python -m train.tune --features_dir=RUN/features --output_dir=RUN/tune --gradient_network=per_class --trials=20 \\
        --search=inner_learning_rate,num_steps,learning_rate --range=num_steps=1:5 --trial_steps=2000

Every trial is a meta-training of --trial_steps steps, measured on the same validation list. The other flags are those
of train.meta_train: they stay as they are, and give the first trial its values of the searched fields. Writes
best.flags for train.meta_train, trials.csv, and report.md with a figure. Stopped, the same command goes on; more
--trials add to it.

Several processes share a search, on machines that see the same folder: the same command in each, the chief's with

    KERASTUNER_TUNER_ID=chief KERASTUNER_ORACLE_IP=127.0.0.1 KERASTUNER_ORACLE_PORT=8123

before it, and each worker's with the same but KERASTUNER_TUNER_ID=worker0, worker1, ... The chief runs no trials. A
worker that died goes on under its own id.
"""

import dataclasses
import importlib.util
import os
import shlex
import sys
from pathlib import Path

from absl import flags

from sib_tf.commands import cli
from sib_tf.errors import InputError
from sib_tf.storage import atomic
from sib_tf.tuning import processes, search_space
from train import meta_train_flags

FLAGS = flags.FlagValues()
flags.DEFINE_string("features_dir", None, "Folder of a feature cache.", required=True, flag_values=FLAGS)
flags.DEFINE_string("output_dir", None, "Folder of this search.", required=True, flag_values=FLAGS)
flags.DEFINE_integer("trials", 20, "Trials in all.", 1, flag_values=FLAGS)
flags.DEFINE_integer("trial_steps", 2000, "Outer steps of a trial; --steps goes to best.flags.", 1, flag_values=FLAGS)
flags.DEFINE_enum(
    "tuner", "random", search_space.TUNERS, "How values are chosen; bayesian: by a Gaussian process.", flag_values=FLAGS
)
flags.DEFINE_list(
    "search",
    ["inner_learning_rate", "num_steps", "hidden_units", "optimizer", "learning_rate", "weight_decay"],
    "Fields to search. Ranges: " + "; ".join(f"{f.name} {f.describe()}" for f in search_space.FIELDS.values()) + ".",
    flag_values=FLAGS,
)
flags.DEFINE_multi_string(
    "range", [], "Another range of a searched field: NAME=LOW:HIGH or NAME=A,B,C; once a field.", flag_values=FLAGS
)
meta_train_flags.define(FLAGS)
# XLA keeps what it compiled, some 80 MB and 400 memory maps a trial, until the process ends; Linux allows 65,530 maps.
_TRIALS_A_PROCESS = 50
_OWN = {"features_dir", "output_dir", "trials", "trial_steps", "tuner", "search", "range"}


def main() -> None:
    model, training = meta_train_flags.settings(FLAGS)
    training = dataclasses.replace(training, steps=FLAGS.trial_steps)
    settings = search_space.Search(model, training, search_space.space(FLAGS.search, FLAGS.range), FLAGS.tuner)
    role = processes.role()  # Its variables may be wrong.
    _require_extra(settings.tuner)
    cli.load_tensorflow(one_thread=settings.training.parts(os.cpu_count()) == 1)
    from sib_tf.features import FeatureCache
    from sib_tf.tuning import results, search, trials

    count = FLAGS.trials
    if role == "alone":  # A chief runs none.
        count = min(count, len(trials.read(FLAGS.output_dir)) + _TRIALS_A_PROCESS)
    found = search.search(FeatureCache.open(FLAGS.features_dir), settings, count, FLAGS.output_dir)
    if found is None:
        print(f"{os.environ[processes.TUNER_ID]}: no more trials; the chief has the results.")
        return
    if len(found) == count < FLAGS.trials:  # Goes on in a fresh process; what is searched is on the disk.
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-m", "train.tune", *sys.argv[1:]])
    folder = Path(FLAGS.output_dir)
    summary = results.summary(found, settings)
    _write_best_flags(folder / "best.flags", summary, settings, results.best_of(found).values)
    print(summary)
    if len(found) < FLAGS.trials:
        print(f"The space holds no more than these {len(found)} trials.")
    print(f"Flags:  {folder / 'best.flags'}\nReport: {folder / results.PAGE}")


def _require_extra(tuner: str) -> None:
    needed = {"keras_tuner": "keras-tuner", **({"sklearn": "scikit-learn"} if tuner == "bayesian" else {})}
    for module, package in needed.items():
        if importlib.util.find_spec(module) is None:
            raise InputError(f"A {tuner} search needs {package}: pip install 'sib_tf[tune]'.")


def _write_best_flags(path: Path, summary: str, settings: search_space.Search, values: dict) -> None:
    """Writes the flags that were given and not searched, those that keep the validation list as it was, and `values`.

    On top are the `summary` and the command that reads the file.
    """
    features, output = map(shlex.quote, (FLAGS.features_dir, str(path.parent.parent / "sib")))
    command = f"python -m train.meta_train --flagfile={shlex.quote(str(path))} --features_dir={features}"
    lines = [f"# {summary}", f"# Command:  {command}", f"#           --output_dir={output}"]
    searched = {field.name for field in settings.space}
    names = [name for name in FLAGS if name not in _OWN | searched and FLAGS[name].value != FLAGS[name].default]
    lines += [FLAGS[name].serialize() for name in names]
    for name in ("dirichlet_alpha", "balanced_fraction"):
        if name in searched and FLAGS[f"validation_{name}"].value is None:
            lines.append(f"--validation_{name}={FLAGS[name].value}")
    lines += [f"--{name}={value}" for name, value in values.items()]
    atomic.write_text(path, "\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, __doc__))
