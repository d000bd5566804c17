"""Kills the stages of training at random moments, again and again, and compares what they end with.

    python -m tests.kill_run --times=300 --seed=0 [--stages=pretrain,meta_train,...] [--folder=DIR]

A trial starts one stage of a tiny run, kills it up to three times, each time starting the same command again, then lets
it end: its folder must be, byte for byte, that of an unbroken run, and nothing else may be left. Prints a line for each
stage; exit code 1 if a trial failed (its folder is kept). tests/test_faults.py runs a part of it.
"""

import argparse
import csv
import dataclasses
import json
import random
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from tests import killing
from tests.conftest import draw_pictures
from tests.killing import KILLED, Moment, Outcome

_PICTURES = ["--dataset=folder", "--data_dir=pictures", "--cache_dir=cache"]
_TRAINED = ["--model_dir=sib", "--backbone_dir=backbone", *_PICTURES, "--episodes=2"]
_SMALL = ["--way=3", "--query=3", "--num_steps=1", "--validate_every=2", "--steps_per_call=1"]
_SMALL += ["--gradient_network=per_class", "--validation_episodes=10"]
_EPISODES = ["--features_dir=features", "--model_dir=sib", "--way=3", "--query=3", "--episodes=20"]


@dataclasses.dataclass(frozen=True)
class Stage:
    """A command, what it adds to the folder it runs in, and what has to be there."""

    command: list[str]
    outputs: tuple[str, ...]
    needs: tuple[str, ...] = ("pictures", "cache", "backbone", "features", "sib")


# In their order; all names are relative to the folder. Extracting features prepares the data set anew.
STAGES = {
    "pretrain": Stage(
        ["train.pretrain", *_PICTURES, "--width=4", "--epochs=3", "--batch_size=8", "--output_dir=backbone"],
        ("backbone",),
        ("pictures", "cache"),
    ),
    "extract_features": Stage(
        ["train.extract_features", *_PICTURES, "--backbone_dir=backbone", "--output_dir=features", "--views=2"],
        ("features", "cache"),
        ("pictures", "backbone"),
    ),
    "meta_train": Stage(
        ["train.meta_train", "--features_dir=features", "--output_dir=sib", "--steps=6", *_SMALL],
        ("sib",),
        ("features",),
    ),
    "calibrate": Stage(["train.calibrate", *_EPISODES], ("sib/calibration.json",)),
    "evaluate": Stage(["train.evaluate", *_EPISODES, "--output=measured/metrics.json"], ("measured",)),
    "tune": Stage(
        ["train.tune", "--features_dir=features", "--output_dir=tune", "--trials=2", "--trial_steps=2", *_SMALL]
        + ["--search=learning_rate,hidden_units"],
        ("tune",),
        ("features",),
    ),
    "spinning_lines": Stage(
        ["train.spinning_lines", "--output_dir=lines", "--steps=4", "--test_tasks=10", "--batch_tasks=2"],
        ("lines",),
        (),
    ),
    "saved_model": Stage(["export.saved_model", *_TRAINED, "--output_dir=export", "--version=1"], ("export",)),
    "tflite": Stage(["export.tflite", *_TRAINED, "--output=exports/model.tflite"], ("exports",)),
}
FIRST = ("pretrain", "extract_features", "meta_train")
# Of every run its own: times, and TensorFlow's logs and programs, which hold some.
_TIMES = re.compile(r'"(seconds|date_saved|download_size|hardware)": [^,\n}]*|\d+\.\d s on |(?<=\| )\d+(?= \| \d)')
# Of a file that has some, the digest too, and in a SavedModel's record those of TensorFlow's files.
_SEAL = re.compile(r'"(sha256|fingerprint\.pb|saved_model\.pb|variables/[^"]*)": "[0-9a-f]{64}"')
# keras-tuner counts how often a trial started and ended. A trial written before the oracle was is known without having
# moved the seed on; drawing again finds it among those that were tried.
_COUNTS = ("start_order", "end_order", "run_times", "seed_state", "sha256")


class Bench:
    """Unbroken runs of all stages, and trials against them.

    Args:
        root: an empty folder.
        seed: of the moments.
        names: of the stages to run, in their order.
    """

    def __init__(self, root: Path, seed: int, names: Iterable[str] = FIRST):
        self.root, self.random, self.whole = root, random.Random(seed), root / "whole"
        self.killed, self._lengths = 0, {}
        draw_pictures(self.whole / "pictures", {"train": (4, 8), "val": (3, 8), "test": (5, 16)})
        for name in names:
            outcome = self.run(name, self.whole)
            if outcome.code != 0:
                raise RuntimeError(f"{name} does not run: {outcome.text[-2000:]}")
            for output in STAGES[name].outputs:
                _copy(self.whole / output, root / "expected" / name / output)

    def run(self, name: str, folder: Path, moment: Moment | None = None, **limits) -> Outcome:
        """Runs a stage in `folder`; see `killing.run`."""
        # Exports are about compiled functions.
        return killing.run(STAGES[name].command, folder, moment, eager=name not in ("saved_model", "tflite"), **limits)

    def length(self, name: str) -> Outcome:
        """A second unbroken run of a stage, equal to the first."""
        if name not in self._lengths:
            self._lengths[name] = self.trial(name, [])
        return self._lengths[name]

    def moment(self, name: str) -> Moment:
        """Draws a moment in the unbroken run of a stage."""
        length = self.length(name)
        kind = self.random.choice(["write", "write", "time", "checkpoint"] if length.checkpoints else ["write", "time"])
        if kind == "write":
            return Moment("write", self.random.randint(1, length.writes))
        if kind == "checkpoint":  # One takes some 10 ms.
            return Moment(kind, self.random.randint(1, length.checkpoints), self.random.uniform(0, 0.03))
        return Moment(kind, seconds=self.random.uniform(0, length.seconds))

    def trial(self, name: str, moments: list[Moment]) -> Outcome:
        """Kills a stage at `moments`, lets it end, compares; returns how it ended at last.

        Raises:
            AssertionError: what it ended with differs; the folder is kept.
        """
        folder = Path(tempfile.mkdtemp(dir=self.root, prefix=f"{name}-"))
        self.lay_out(name, folder)
        for moment in [*moments, None]:
            outcome = self.run(name, folder, moment)
            self.killed += outcome.code == KILLED
            if "version 1 is in export already" in outcome.text:  # It was killed after the export had appeared.
                break
            assert outcome.code in (0, KILLED if moment else 0), f"{folder}, {moments}: {outcome.text[-2000:]}"
        self.check(name, folder, f"{moments}")
        shutil.rmtree(folder)
        return outcome

    def lay_out(self, name: str, folder: Path) -> None:
        """Copies what a stage needs into `folder`."""
        for need in STAGES[name].needs:
            _copy(self.whole / need, folder / need)
        if name == "calibrate":
            (folder / "sib" / "calibration.json").unlink()

    def check(self, name: str, folder: Path, what: str) -> None:
        """Raises an AssertionError where `folder` is not what an unbroken run of the stage leaves."""
        for output in STAGES[name].outputs:
            compare(self.root / "expected" / name / output, folder / output, what)
        assert not (left := leftovers(folder)), f"{folder}, {what}: left {left}"


def leftovers(folder: Path) -> list[str]:
    """Temporary names below `folder`: nobody writes there any more."""
    # A lock file that is left locks nothing.
    pattern = re.compile(r"\.partial-|incomplete\.|.*_temp$|.*\.tmp|.*tempstate")
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if pattern.match(path.name)]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)


def compare(expected: Path, found: Path, what: str) -> None:
    """Raises an AssertionError where a file differs, times apart."""
    names = [_files(path) for path in (expected, found)]
    assert names[0] == names[1], f"{found}, {what}: files {sorted(set(names[0]) ^ set(names[1]))}"
    for name in names[0]:
        one, other = (_content(path / name if name else path) for path in (expected, found))
        assert one == other, f"{found}, {what}: {name} differs"


def _files(path: Path) -> list[str]:
    if path.is_file():
        return [""]
    files = (child.relative_to(path) for child in path.rglob("*") if child.is_file())
    return sorted(str(name) for name in files if "tensorboard" not in name.parts and not name.name.startswith(".lock"))


def _content(path: Path):
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            files = {name: archive.read(name) for name in archive.namelist() if name != "metadata.json"}
        return {**files, "config.json": re.sub(rb'"shared_object_id": \d+', b"", files["config.json"])}
    # Of trials, names of optimisers count those of the process; in a SavedModel TensorFlow puts addresses.
    drawn = path.suffix in (".pb", ".tflite", ".png", ".gif") or path.name in ("checkpoint", "dataset_info.json")
    if drawn or (path.name.startswith("ckpt-") and "trials" in path.parts) or path.parent.name == "variables":
        return path.stat().st_size > 0
    if path.name in ("trial.json", "oracle.json", "result.json", "trials.csv", "report.md"):
        return _SEAL.sub("", _TIMES.sub("", _without_seconds(path)))
    if path.suffix == ".json":
        text = path.read_text(encoding="utf-8")
        varies = '"seconds"' in text or '"saved_model.pb"' in text
        return _SEAL.sub("", _TIMES.sub("", text)) if varies else _TIMES.sub("", text)
    return path.read_bytes()


def _without_seconds(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(text.splitlines())]
        return json.dumps(rows)
    if path.name == "oracle.json":
        return json.dumps({name: value for name, value in json.loads(text).items() if name not in _COUNTS})
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=100, help="kills in all, at least")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--stages", default=",".join(STAGES), help="with commas")
    parser.add_argument("--folder", default=None, help="for the runs; default: a temporary one")
    flags = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="kill_run-", dir=flags.folder))
    names = flags.stages.split(",")
    bench = Bench(root, flags.seed, (name for name in STAGES if name in names or name in FIRST))
    kills, trials, failures = dict.fromkeys(names, 0), 0, 0
    while sum(kills.values()) < flags.times:
        for name in names:
            moments = [bench.moment(name) for _ in range(bench.random.randint(1, 3))]
            before = bench.killed
            try:
                bench.trial(name, moments)
            except AssertionError as error:
                failures += 1
                print(f"{name}: {error}", file=sys.stderr, flush=True)
            kills[name] += bench.killed - before
        trials += len(names)
        print(f"{trials} trials, {sum(kills.values())} times killed, {failures} failures", flush=True)
    for name, count in kills.items():
        print(f"{name}: {count} times killed")
    if not failures:
        shutil.rmtree(root)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
