"""BENCHMARKS.md: what was measured, as tables, and the picture of the costs."""

import dataclasses
import os
import platform
import statistics
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from benchmarks.speed import cost_lines, timing
from benchmarks.speed.head_steps import FLOOR, OURS, PEER
from benchmarks.speed.timing import Comparison
from sib_tf.reports import figures
from sib_tf.storage import atomic

FIGURE = "docs/cost.png"
# Of a comparison that is all settings and no contestants, a table of figures would say nothing.
_DRAWN = "cost_lines"


def write(path: str | os.PathLike, comparisons: dict[str, Comparison], rounds: int, versions: dict[str, str]) -> None:
    """Writes the page, and its figure beside it, in one move each.

    Args:
        path: of BENCHMARKS.md.
        comparisons: name -> what was measured.
        rounds: turns of every contestant.
        versions: of the libraries, by name.
    """
    folder = Path(path).parent
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines = [
        "# How fast it is",
        "",
        f"Written by `make bench`. Medians of {rounds} rounds in which all contestants of a row take turns, each "
        f"block in a process of its own; in brackets the smallest and largest quotient of a round. {_machine()}. "
        f"{libraries}. A time says something about this machine, a quotient about the software.",
        "",
        *summary(comparisons),
    ]
    for name, comparison in comparisons.items():
        lines += ["", f"## {comparison.title}", "", comparison.equal, ""]
        lines += _cost(comparison, folder) if name == _DRAWN else table(comparison)
    atomic.write_text(path, "\n".join(lines) + "\n")


def summary(comparisons: dict[str, Comparison]) -> list[str]:
    """The figures that the README quotes, as a list."""
    lines = []
    if head := comparisons.get("head_steps"):
        single = next(iter(head.times))
        lines.append(
            f"- A one-episode step: {_quotient(head, single, 0)} times as fast as that of the released head in PyTorch."
        )
        if batches := comparisons.get("head_batches"):
            lines.append(f"- {_best_batches({**head.times, **batches.times})}")
    for name, words in (
        (
            "from_cache",
            "Meta-training from features, sampling included: {} times as fast as the head in PyTorch.",
        ),
        (
            "from_pictures",
            "Features embedded once make a meta-training step {} times as fast as pictures embedded in every step.",
        ),
        ("meta_testing", "Meta-testing: {} times as fast as the head in PyTorch."),
        ("device", "On a device, K = 3 steps are {} times as fast as 100 steps of SGD."),
    ):
        if comparison := comparisons.get(name):
            lines.append(f"- {words.format(_quotient(comparison, next(iter(comparison.ratios)), 0))}")
    if run := comparisons.get("whole_run"):
        seconds = {setting: statistics.median(times[OURS]) for setting, times in run.times.items()}
        texts = ", ".join(f"{value:.1f} s ({setting})" for setting, value in seconds.items())
        lines.append(f"- 50,000 one-episode steps with 50 validations take {texts}.")
    return lines


def table(comparison: Comparison) -> list[str]:
    """Returns a row for each setting: every contestant's median, and the quotients."""
    if len(comparison.times) == 1 and not comparison.ratios:
        return _long_table(comparison)
    names = list(dict.fromkeys(name for times in comparison.times.values() for name in times))
    pairs = list(dict.fromkeys(_words(*pair) for ratios in comparison.ratios.values() for pair in ratios))
    lines = [f"| a {comparison.unit} | {' | '.join([*names, *pairs])} |", "|---" * (1 + len(names) + len(pairs)) + "|"]
    for setting, times in comparison.times.items():
        cells = [_time(statistics.median(times[name])) if name in times else "" for name in names]
        found = {
            _words(*pair): _quotient(comparison, setting, i)
            for i, pair in enumerate(comparison.ratios.get(setting, []))
        }
        cells += [found.get(pair, "") for pair in pairs]
        lines.append(f"| {setting} | {' | '.join(cells)} |")
    return lines


def _long_table(comparison: Comparison) -> list[str]:
    (setting, times), *_ = comparison.times.items()
    rows = [f"| {name} | {_time(statistics.median(taken))} |" for name, taken in times.items()]
    return [f"| a {comparison.unit} | {setting} |", "|---|---|", *rows]


def _cost(comparison: Comparison, folder: Path) -> list[str]:
    points = cost_lines.points(comparison)
    figure, axes = plt.subplots(1, len(points), figsize=(3.1 * len(points), 3.0), layout="constrained", sharey=True)
    for axis, (name, (sizes, seconds)) in zip(axes, points.items(), strict=True):
        axis.loglog(sizes, [1e6 * s for s in seconds], "o-", color=figures.ADAPTED)
        axis.set(xlabel=name, xticks=sizes, xticklabels=sizes)
        axis.minorticks_off()
    axes[0].set(ylabel="microseconds a step")
    path = folder / FIGURE
    path.parent.mkdir(parents=True, exist_ok=True)
    figures.save(figure, path)
    rows = [
        f"| {name} | {', '.join(f'{size}: {_time(taken)}' for size, taken in zip(*data, strict=True))} | "
        f"{cost_lines.exponent(*data):.2f} |"
        for name, data in points.items()
    ]
    words = (
        "Small sizes cost what a step of many small operations costs. Ways count twice: an episode has more queries, "
        "and each more logits. Features count once they outweigh the network that reads logits, which does not see D."
    )
    return [
        "| | time of a step | exponent |",
        "|---|---|---|",
        *rows,
        "",
        words,
        "",
        f"![Time of a step against its sizes]({FIGURE})",
    ]


def _best_batches(head: dict[str, dict[str, list[float]]]) -> str:
    """Each one's fastest batch beside the other's, and the floor's there."""
    medians = [(statistics.median(t), name, s) for s, times in head.items() for name, t in times.items()]
    ours, _, setting = min(m for m in medians if m[1] == OURS)
    peer, peer_name, peer_setting = min(m for m in medians if m[1].startswith(PEER))
    floor = statistics.median(head[setting][FLOOR])
    return (
        f"Each at its best batch (sib_tf {setting}; {peer_name}, {peer_setting}): {peer / ours:.1f} times as fast; "
        f"it takes {ours / floor:.1f} times as long as its matrix products alone."
    )


def _words(slower: str, faster: str) -> str:
    return f"{_short(slower)} / {faster}"


def _short(name: str) -> str:
    """All variants of the peer share a column: its best one counts."""
    return PEER if name.startswith(PEER) else name


def _quotient(comparison: Comparison, setting: str, index: int) -> str:
    slower, faster = comparison.ratios[setting][index]
    times = comparison.times[setting]
    middle, low, high = timing.ratio(times[slower], times[faster])
    return f"{middle:.1f} ({low:.1f}-{high:.1f})"


def _time(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e3)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def _machine() -> str:
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return f"{os.cpu_count()} cores of {model}"


def from_json(values: dict) -> Comparison:
    """A comparison as `dataclasses.asdict` wrote it."""
    ratios = {setting: [tuple(pair) for pair in pairs] for setting, pairs in values["ratios"].items()}
    return Comparison(**{**values, "ratios": ratios})


def to_json(comparison: Comparison) -> dict:
    """JSON values of a comparison."""
    return dataclasses.asdict(comparison)
