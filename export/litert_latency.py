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
from ai_edge_litert.interpreter import Interpreter

from sib_tf import templates
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
    """Times files of `export.tflite` at all numbers of threads, in turns, beside `sgd`, a file of `sgd_baseline`.

    Returns:
        Medians over the rounds.
    """
    jobs = [(file, None, count) for file in files for count in threads] + [(files[0], sgd, count) for count in threads]
    # A process for each measurement: memory is a process's, and one file's caches are not another's.
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as pool:
        taken = [[pool.submit(_time, *job, load).result() for job in jobs] for _ in range(rounds)]
    return [_median(results) for results in zip(*taken, strict=True)]


def table(results: list[Latency]) -> str:
    """Returns the figures as a Markdown table."""
    rows = [
        (
            r.name,
            f"{r.threads}",
            f"{r.embed_ms:.3f} ({r.embed_p95_ms:.3f})",
            f"{r.adapt_ms:.3f} ({r.adapt_p95_ms:.3f})",
            f"{r.memory_mb:.1f}",
        )
        for r in results
    ]
    return templates.table(
        rows, "file", "threads", "embed a picture, ms (p95)", "learn the classes, ms (p95)", "memory, MB"
    )


def _time(path: str, sgd: str | None, threads: int, load: Load) -> Latency:
    """Times a file, or the usual alternative: the labelled pictures train the same head, a call of `sgd` a step."""
    before = _peak_memory()
    model = LiteRTModel(path, threads)
    name, calls = Path(path).name, load.calls
    random = np.random.RandomState(0)
    features = random.random_sample((load.way + load.queries, model.description["feature_dim"])).astype(np.float32)
    support, query = np.split(features, [load.way])
    labels = np.arange(load.way, dtype=np.int32)
    picture = random.randint(0, 256, (1, model.image_size, model.image_size, 3)).astype(np.uint8)

    learn = functools.partial(model.adapt, support, labels, query)
    if sgd is not None:
        name, calls = f"{load.sgd_steps} steps of SGD on the labelled pictures", max(load.calls // 10, 5)
        with quiet():
            step = Interpreter(sgd, num_threads=threads).get_signature_runner("step")
        learn = functools.partial(_descend, step, load.sgd_steps, support, labels)
    times = _milliseconds(functools.partial(model.embed, picture), load.calls), _milliseconds(learn, calls)
    figures = [float(np.percentile(each, share)) for each in times for share in (50, 95)]
    return Latency(name, threads, *figures, memory_mb=_peak_memory() - before)


def _descend(step: Callable, steps: int, support: np.ndarray, labels: np.ndarray) -> None:
    weights = support
    for _ in range(steps):
        weights = step(weights=weights, support=support, support_labels=labels)["weights"]


def _milliseconds(call: Callable, calls: int) -> np.ndarray:
    for _ in range(max(calls // 10, 1)):
        call()
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * np.array(times)


def _peak_memory() -> float:
    """The process's highest resident memory so far, in MB."""
    status = Path("/proc/self/status")
    if status.is_file():
        # getrusage's figure would count the parent's memory on Linux: it survives the start of a new program.
        kilobytes = re.search(r"VmHWM:\s+(\d+)", status.read_text())
        return int(kilobytes[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _median(rounds: tuple[Latency, ...]) -> Latency:
    numbers = [field.name for field in dataclasses.fields(Latency) if field.type is float]
    middle = np.median([[getattr(r, name) for name in numbers] for r in rounds], axis=0)
    return dataclasses.replace(rounds[0], **dict(zip(numbers, middle.tolist(), strict=True)))
