"""One setting of the comparison, from folders to its results; what a process of its own is given."""

import dataclasses
from pathlib import Path

from benchmarks import entrants, measurement, sweeping, tuning
from benchmarks.peers import known_names
from benchmarks.settings import Setting
from sib_tf.features import FeatureCache


@dataclasses.dataclass(frozen=True)
class SweepRun:
    """What the flags of `benchmarks.sweeps` say, for all settings alike.

    Attributes:
        features_dir, output_dir: folders.
        models: name=FOLDER texts.
        tuned: file of `benchmarks.tune_peers`, or None.
        peers: names of methods; None: all.
        episodes: of each list; `slow_episodes` of it for slow methods.
        seed: of the lists.
    """

    features_dir: str
    output_dir: str
    models: tuple[str, ...]
    tuned: str | None
    peers: list[str] | None
    episodes: int
    slow_episodes: int
    seed: int

    def check(self) -> None:
        """Raises an InputError if a file, folder or name is none that can be used."""
        known_names(self.peers)
        cache = FeatureCache.open(self.features_dir)
        entrants.load_models(self.models, cache)
        entrants.load_tuned(self.tuned, cache)


def measure(run: SweepRun, setting: Setting) -> str:
    """Measures what is not measured yet of a setting; returns a line that says what came out.

    Raises:
        InputError: the data set has too few classes or pictures for the setting.
    """
    measurement.expect_many_functions()
    cache = FeatureCache.open(run.features_dir)
    tuned, base_mean = entrants.load_tuned(run.tuned, cache), tuning.base_mean_of(cache)
    peers = list(dict.fromkeys(["prototypes", *known_names(run.peers)]))
    taking_part = entrants.peer_entrants(peers, tuned, setting, base_mean)
    taking_part += [model.entrant() for model in entrants.load_models(run.models, cache) if model.fits(setting)]
    sweep = sweeping.Sweep(cache, Path(run.output_dir), run.episodes, run.slow_episodes, run.seed)
    record = sweep.run(setting, taking_part, lambda label: print(f"{setting.name}: {label}", flush=True))
    # Not by accuracy: slow methods are measured on fewer episodes.
    label, figures = max(record["methods"].items(), key=lambda item: item[1]["difference"])
    points = f"{100 * figures['difference']:+.2f} points to nearest prototypes"
    return f"{setting.name}: done; best is {label}, {points}."
