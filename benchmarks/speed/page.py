"""BENCHMARKS.md: what was measured, as tables, and the picture of the costs."""

import os
import platform
import re
import statistics
from pathlib import Path

from benchmarks.speed import aims, cost_lines, timing
from benchmarks.speed.head_steps import FLOOR, OURS, PEER
from benchmarks.speed.timing import Comparison
from sib_tf import templates
from sib_tf.reports import figures
from sib_tf.storage import atomic

FIGURE = "docs/cost.png"


def write(path: str | os.PathLike, comparisons: dict[str, Comparison], rounds: int, versions: dict[str, str]) -> None:
    """Writes the page (templates/speed.md), and its figure beside it, in one move each; `versions` are of libraries."""
    values = {"costs": []}
    if "head_steps" in comparisons and "head_batches" in comparisons:
        values["best"] = _best_batches({**comparisons["head_steps"].times, **comparisons["head_batches"].times})
    if run := comparisons.get("whole_run"):
        values["whole_run"] = [f"{statistics.median(t[OURS]):.1f} s ({setting})" for setting, t in run.times.items()]
    if costs := comparisons.get("cost_lines"):
        points = cost_lines.points(costs)
        _draw(points, Path(path).parent / FIGURE)
        for name, (sizes, seconds) in points.items():
            times = ", ".join(f"{size}: {_time(taken)}" for size, taken in zip(sizes, seconds, strict=True))
            values["costs"].append((name, times, f"{cost_lines.exponent(sizes, seconds):.2f}"))
    page = templates.render(
        "templates/speed.md",
        "benchmarks",
        {"ratio": _first_ratio, "times": table},
        measured=comparisons,
        rounds=rounds,
        machine=_machine(),
        aims=aims.counted(comparisons),
        libraries=", ".join(f"{name} {version}" for name, version in versions.items()),
        figure=FIGURE,
        **values,
    )
    atomic.write_text(path, page)


def table(comparison: Comparison) -> str:
    """A row for each setting: every contestant's median, and the quotients; of one setting alone a row a contestant."""
    if len(comparison.times) == 1 and not comparison.ratios:
        ((setting, times),) = comparison.times.items()
        rows = [(name, _amount(comparison, taken)) for name, taken in times.items()]
        return templates.table(rows, _each(comparison.unit), setting)
    names = dict.fromkeys(name for times in comparison.times.values() for name in times)
    pairs = dict.fromkeys(_words(*pair) for ratios in comparison.ratios.values() for pair in ratios)
    rows = []
    for setting, times in comparison.times.items():
        found = {_words(*pair): _ratio(times, *pair) for pair in comparison.ratios.get(setting, ())}
        cells = [_amount(comparison, times[name]) if name in times else "" for name in names]
        rows.append((setting, *cells, *(found.get(pair, "") for pair in pairs)))
    return templates.table(rows, _each(comparison.unit), *names, *pairs)


def _each(unit: str) -> str:
    return f"{'an' if unit[0] in 'aeiou' else 'a'} {unit}"


def _draw(points: dict[str, tuple[list[int], list[float]]], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with figures.panels(path, 1, len(points), figsize=(3.1 * len(points), 3.0), sharey=True) as axes:
        for axis, (name, (sizes, seconds)) in zip(axes, points.items(), strict=True):
            axis.loglog(sizes, [1e6 * s for s in seconds], "o-", color=figures.ADAPTED)
            axis.set(xlabel=name, xticks=sizes, xticklabels=sizes)
            axis.minorticks_off()
        axes[0].set(ylabel="microseconds a step")


def _best_batches(head: dict[str, dict[str, list[float]]]) -> dict:
    """Each one's fastest batch beside the other's, and the floor's there."""
    medians = [(statistics.median(t), name, s) for s, times in head.items() for name, t in times.items()]
    ours, _, setting = min(m for m in medians if m[1] == OURS)
    peer, *peer_words = min(m for m in medians if m[1].startswith(PEER))
    floor = statistics.median(head[setting][FLOOR])
    return {"ours": setting, "peer": ", ".join(peer_words), "ratio": peer / ours, "to_floor": ours / floor}


def _words(slower: str, faster: str) -> str:
    """All variants of the peer share a column: its best one counts."""
    return f"{PEER if slower.startswith(PEER) else slower} / {faster}"


def _first_ratio(comparison: Comparison) -> str:
    setting, (pair, *_) = next(iter(comparison.ratios.items()))
    return _ratio(comparison.times[setting], *pair)


def _ratio(times: dict[str, list[float]], slower: str, faster: str) -> str:
    middle, low, high = timing.ratio(times[slower], times[faster])
    return f"{middle:.1f} ({low:.1f}-{high:.1f})"


def _amount(comparison: Comparison, values: list[float]) -> str:
    middle = statistics.median(values)
    return f"{middle / 1e3:.0f} kB" if comparison.unit.endswith("bytes") else _time(middle)


def _time(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e3)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def _machine() -> str:
    info = Path("/proc/cpuinfo")
    model = re.search("^model name\\s*: (.*)$", info.read_text() if info.is_file() else "", re.MULTILINE)
    return f"{os.cpu_count()} cores of {model[1] if model else platform.processor() or platform.machine()}"
