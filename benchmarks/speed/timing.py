"""Contestants that take turns: what is timed beside what, and the ratios that come of it."""

import dataclasses
import statistics
import time
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One way to do the work of a setting."""

    run: Callable[[], object]  # Does it once, to the end.
    units: int = 1  # How much of the setting's unit that is: steps, episodes, pictures.


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What was measured, as JSON and the page have it; keys are settings.

    Attributes:
        unit: what a time is of, "episode" or "picture".
        times: of each contestant: seconds per unit of every round, in the order of the rounds.
        ratios: (slower, faster) contestants, for whose quotients the page has columns.
    """

    unit: str
    times: dict[str, dict[str, list[float]]]
    ratios: dict[str, list[tuple[str, str]]] = dataclasses.field(default_factory=dict)


def in_turns(contestants: dict[str, Contestant], rounds: int, first_call: bool = True) -> dict[str, list[float]]:
    """Times all contestants `rounds` times, one after the other in every round: seconds per unit.

    What a machine does besides is then beside all of them. A `first_call` does not count, because it compiles.
    """
    for contestant in contestants.values() if first_call else ():
        contestant.run()
    times = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            start = time.perf_counter()
            contestant.run()
            times[name].append((time.perf_counter() - start) / contestant.units)
    return times


def ratio(slower: list[float], faster: list[float]) -> tuple[float, float, float]:
    """Median, smallest and largest quotient of the times of the same rounds."""
    quotients = [a / b for a, b in zip(slower, faster, strict=True)]
    return statistics.median(quotients), min(quotients), max(quotients)


def best(times: dict[str, list[float]], prefix: str) -> str:
    """Returns the contestant with the smallest median among those whose name starts with `prefix`."""
    return min((n for n in times if n.startswith(prefix)), key=lambda n: statistics.median(times[n]))
