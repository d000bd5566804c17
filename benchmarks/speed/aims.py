"""What the project wants of its speed and its files, and what was measured of it."""

import statistics

from benchmarks.speed import timing
from benchmarks.speed.device_runs import HEAD_ALONE, SHIPPED
from benchmarks.speed.head_steps import FLOOR, OURS, PEER
from benchmarks.speed.timing import Comparison


def counted(comparisons: dict[str, Comparison]) -> list[tuple[str, str, str]]:
    """Rows of the page's table, of the blocks that were measured: the aim, what came out, "reached" or "missed"."""
    rows = []
    if {"head_steps", "head_batches"} <= comparisons.keys():
        head = {**comparisons["head_steps"].times, **comparisons["head_batches"].times}
        rows.append(_at_least("the released head at its best batch, over ours at its best", 5, _best_batches(head)))
    if ways := comparisons.get("many_ways"):
        ((_, times),) = ways.times.items()
        rows.append(
            _at_most("a step of 100 ways over its matrix products", 3, timing.ratio(times[OURS], times[FLOOR])[0])
        )
    if device := comparisons.get("device"):
        ours = next(iter(next(iter(device.times.values())).values()))
        rows.append(_at_most("learning 5 classes on a device, ms", 0.15, 1e3 * statistics.median(ours)))
    if sizes := comparisons.get("sizes"):
        limits = {"Conv-4-64, float32": 600, "Conv-4-64, int8": 200, HEAD_ALONE: 60, SHIPPED: 200}
        rows += [_at_most(f"{name}, kB", most, sizes.times[name][OURS][0] / 1e3) for name, most in limits.items()]
    if demo := comparisons.get("demo"):
        rows.append(_at_most("`make demo`, s", 180, demo.times["`make demo`"][OURS][0]))
    return rows


def _best_batches(head: dict[str, dict[str, list[float]]]) -> float:
    def best(prefix: str) -> float:
        return min(
            statistics.median(t) for times in head.values() for name, t in times.items() if name.startswith(prefix)
        )

    return best(PEER) / best(OURS)


def _at_most(aim: str, limit: float, found: float) -> tuple[str, str, str]:
    return f"{aim}: at most {limit:g}", f"{found:.3g}", "reached" if found <= limit else "missed"


def _at_least(aim: str, limit: float, found: float) -> tuple[str, str, str]:
    return f"{aim}: at least {limit:g}", f"{found:.3g}", "reached" if found >= limit else "missed"
