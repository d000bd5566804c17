"""Latency and memory of exported files, each measured in a process of its own; no TensorFlow."""

import concurrent.futures
import dataclasses
import functools
import multiprocessing
import re
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sib_tf.prediction.litert import LiteRTModel
from sib_tf.runtime import quiet


@dataclasses.dataclass(frozen=True)
class Latency:
    """One way to learn new classes with a file, measured.

    Attributes:
        name: of the file.
        threads: of the interpreter.
        embed_ms, embed_p95_ms: median and 95th percentile of embedding one picture, in milliseconds.
        adapt_ms, adapt_p95_ms: of learning one episode's classes from features: K steps, or `sgd_steps` steps of SGD.
        memory_mb: peak memory of the process above that before the file was opened, in MB (1e6 bytes).
    """

    name: str
    threads: int
    embed_ms: float
    embed_p95_ms: float
    adapt_ms: float
    adapt_p95_ms: float
    memory_mb: float


@dataclasses.dataclass(frozen=True)
class Load:
    """What is timed.

    Attributes:
        way, queries: of the episode; one labelled picture a class.
        calls: of each signature, after a tenth as many to warm up.
        sgd_steps: steps of the usual alternative.
    """

    way: int = 5
    queries: int = 75
    calls: int = 100
    sgd_steps: int = 100


def measure(files: list[str], sgd: str, threads: list[int], load: Load, rounds: int) -> list[Latency]:
    """Times every file at every number of threads, in turns; medians over the rounds.

    Args:
        files: of `export.tflite`.
        sgd: a file of `sgd_baseline`: one step of SGD on the same head.
        threads: numbers of threads.
        load: what is timed.
        rounds: how often the turns are taken.
    """
    jobs = [(functools.partial(_time_file, file, count, load)) for file in files for count in threads]
    jobs += [functools.partial(_time_sgd, files[0], sgd, count, load) for count in threads]
    results: list[list[Latency]] = [[] for _ in jobs]
    # A process for each measurement: memory is a process's, and one file's caches are not another's.
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as pool:
        for _ in range(rounds):
            for result, job in zip(results, jobs, strict=True):
                result.append(pool.submit(job).result())
    return [_median(result) for result in results]


def table(results: list[Latency]) -> str:
    """Returns the figures as a Markdown table."""
    lines = [
        "| file | threads | embed a picture, ms (p95) | learn the classes, ms (p95) | memory, MB |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.name} | {r.threads} | {r.embed_ms:.3f} ({r.embed_p95_ms:.3f}) | "
        f"{r.adapt_ms:.3f} ({r.adapt_p95_ms:.3f}) | {r.memory_mb:.1f} |"
        for r in results
    ]
    return "\n".join(lines)


def _time_file(path: str, threads: int, load: Load) -> Latency:
    before = _peak_memory()
    model = LiteRTModel(path, threads)
    support, labels, query, picture = _inputs(model, load)
    embed = _milliseconds(lambda: model.embed(picture), load.calls)
    adapt = _milliseconds(lambda: model.adapt(support, labels, query), load.calls)
    return _latency(Path(path).name, threads, embed, adapt, before)


def _time_sgd(path: str, sgd: str, threads: int, load: Load) -> Latency:
    """The usual alternative: the labelled pictures train the same head, a call of the interpreter for every step."""
    from ai_edge_litert.interpreter import Interpreter

    before = _peak_memory()
    model = LiteRTModel(path, threads)
    with quiet():
        step = Interpreter(sgd, num_threads=threads).get_signature_runner("step")
    support, labels, _, picture = _inputs(model, load)

    def train():
        weights = support
        for _ in range(load.sgd_steps):
            weights = step(weights=weights, support=support, support_labels=labels)["weights"]

    embed = _milliseconds(lambda: model.embed(picture), load.calls)
    adapt = _milliseconds(train, max(load.calls // 10, 5))
    return _latency(f"{load.sgd_steps} steps of SGD on the labelled pictures", threads, embed, adapt, before)


def _inputs(model: LiteRTModel, load: Load):
    random = np.random.RandomState(0)
    dim, size = model.description["feature_dim"], model.image_size
    features = random.random_sample((load.way + load.queries, dim)).astype(np.float32)
    picture = random.randint(0, 256, (1, size, size, 3)).astype(np.uint8)
    return features[: load.way], np.arange(load.way, dtype=np.int32), features[load.way :], picture


def _milliseconds(call: Callable, calls: int) -> np.ndarray:
    for _ in range(max(calls // 10, 1)):
        call()
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * np.array(times)


def _latency(name: str, threads: int, embed: np.ndarray, adapt: np.ndarray, before: float) -> Latency:
    figures = [float(np.percentile(times, share)) for times in (embed, adapt) for share in (50, 95)]
    return Latency(name, threads, *figures, memory_mb=_peak_memory() - before)


def _peak_memory() -> float:
    """The process's highest resident memory so far, in MB."""
    status = Path("/proc/self/status")
    if status.is_file():
        # getrusage's figure would count the parent's memory on Linux: it survives the start of a new program.
        kilobytes = re.search(r"VmHWM:\s+(\d+)", status.read_text())
        return int(kilobytes[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _median(rounds: list[Latency]) -> Latency:
    numbers = [f.name for f in dataclasses.fields(Latency) if f.type is float]
    middle = {name: float(np.median([getattr(r, name) for r in rounds])) for name in numbers}
    return dataclasses.replace(rounds[0], **middle)
