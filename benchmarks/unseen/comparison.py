"""Runs the whole comparison: data sets, entrants, one cell after the other."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from benchmarks import unem_training
from benchmarks.peers import UNEM
from benchmarks.unseen import cells, data_sets, entrants, measuring
from sib_tf import heads
from sib_tf.errors import InputError
from sib_tf.features import FeatureCache
from sib_tf.storage import atomic

_HEADS = Path(heads.__file__).parent
_BALANCED = "balanced"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What the flags of `benchmarks.unseen` say; results go to `folder`."""

    folder: Path
    head: str
    episodes: int
    balanced_head: str | None = None
    data_sets: str | None = None
    tuning_dirs: Sequence[str] = ()
    only: Sequence[str] = ()
    peers: Sequence[str] | None = None
    tuning_steps: int = 300
    seed: int = 0
    quick: bool = False

    def run(self) -> None:
        """Measures what is not measured yet; an InputError if a name or file is none that can be used."""
        balanced = self.balanced_head or (_BALANCED if (_HEADS / _BALANCED).is_dir() else None)
        found, normalizer, called = entrants.heads(_folder(self.head), balanced and _folder(balanced))
        names = self.peers or entrants.DEFAULT_PEERS
        taking_part = entrants.peers(names, self._unem(normalizer, called), normalizer, called)
        # Nearest prototypes first: all others are compared with them.
        taking_part = [taking_part[0], *found, *taking_part[1:]]
        everything = list(data_sets.load(self.data_sets, list(self.only)))
        chosen = [cell for one in everything for cell in cells.of_data_set(one, self.quick)]
        if not chosen:
            raise InputError("data_sets must have classes and rows enough for some cell; there is none.")
        self._measure(chosen, taking_part)

    def _measure(self, chosen: Sequence[cells.Cell], taking_part: Sequence[entrants.Entrant]) -> None:
        with tqdm(chosen, desc="cells") as bar:
            for cell in bar:
                bar.set_postfix_str(cell.name)
                measuring.run(cell, taking_part, self.folder, self.episodes, self.seed)

    def _unem(self, normalizer, called: str) -> dict[str, UNEM]:
        """UNEM's numbers, trained on the validation episodes of `tuning_dirs` and kept; its defaults without these."""
        if not self.tuning_dirs:
            return {"raw": UNEM(), "normalised": UNEM()}
        caches, path = [FeatureCache.open(folder) for folder in self.tuning_dirs], self.folder / "unem.json"
        of = {"features": [c.identity for c in caches], "steps": self.tuning_steps, "seed": self.seed}
        of["episodes"] = [spec.describe() for spec in unem_training.SPECS]
        record = atomic.read_json(path, "UNEM's numbers") if path.is_file() else {}
        found = {}
        for kind, through in (("raw", None), ("normalised", normalizer)):
            own = {**of, "normalizer": called if through else None}
            held = record.get(kind, {})
            if held.get("of") != own:
                peer = unem_training.trained(caches, self.tuning_steps, self.seed, through)
                held = record[kind] = {"of": own, **dataclasses.asdict(peer)}
                atomic.write_json(path, record)
            found[kind] = UNEM(tuple(held["temperatures"]), tuple(held["balances"]))
        return found


def _folder(head: str) -> str:
    """Folder of a shipped head's name, or of a meta-training."""
    for folder in (_HEADS / head, Path(head)):
        if folder.is_dir():
            return str(folder)
    shipped = ", ".join(sorted(path.name for path in _HEADS.glob("*/"))) or "none"
    raise InputError(f"head must be a shipped head ({shipped}) or the folder of a meta-training; got {head}.")
