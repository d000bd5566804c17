"""Where a run computes: one device, all of this machine, several machines, or a TPU; all by `tf.distribute`.

Replicas hold the same weights. A batch is drawn whole, from the run's one seed, on every machine, and each replica
takes its own part of it: what is trained on does not depend on how many there are.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import tensorflow as tf

from sib_tf.errors import InputError, first_line

_EXAMPLE = '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'


class WorkerLostError(InputError):
    """Another worker of this job ended or cannot be reached; the message says what goes on from where."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: the same command may well succeed.


@dataclasses.dataclass(frozen=True, eq=False)
class Devices:
    """What a run computes on: the `strategy` of one of `config.DISTRIBUTIONS`, the default one for "none".

    `worker` is the number of this process, of `workers`; 0 is the chief, the only one that writes.
    """

    name: str = "none"
    strategy: tf.distribute.Strategy = dataclasses.field(default_factory=tf.distribute.get_strategy)
    worker: int = 0
    workers: int = 1

    @property
    def replicas(self) -> int:
        """How many copies of the model there are, over all workers."""
        return self.strategy.num_replicas_in_sync

    @property
    def local_replicas(self) -> int:
        """How many of them this worker has."""
        return self.replicas // self.workers

    @property
    def distributed(self) -> bool:
        """Whether `tf.distribute` is at work, be it with one replica."""
        return self.name != "none"

    @property
    def chief(self) -> bool:
        """Whether this is the worker that writes."""
        return self.worker == 0

    def check_shared(self, name: str, count: int) -> None:
        """Raises an InputError with the nearest counts unless replicas can share `count`, the argument `name`."""
        if rest := count % self.replicas:
            above = count - rest + self.replicas
            near = f"{above - self.replicas} or {above}" if count > rest else f"{above}"
            raise InputError(
                f"{name} must be a multiple of the {self.replicas} replicas, which share it evenly; got {count}. "
                f"Take {near}, or fewer devices."
            )

    def split(self, batch, axis: int = 0):
        """Parts, for `run`, of a nest of tensors that every worker has: replica i takes the i-th along `axis`."""

        def part(context):
            number = context.replica_id_in_sync_group
            return tf.nest.map_structure(lambda a: tf.split(a, self.replicas, axis)[number], batch)

        return batch if self.replicas == 1 else self.strategy.experimental_distribute_values_from_function(part)

    def run(self, function: Callable, *parts) -> tf.Tensor:
        """Returns the mean of what `function` of `parts` (see `split`) gives on this worker's replicas."""
        found = self.strategy.experimental_local_results(self.strategy.run(function, parts))
        return tf.add_n(found) / len(found)

    def mean(self, value):
        """Returns the mean over workers of this worker's `value`, a float32 array; every worker must ask."""
        if self.workers == 1:
            return value
        values = self.strategy.experimental_distribute_values_from_function(lambda _: tf.constant(value, tf.float32))
        return self.strategy.reduce("MEAN", values, axis=None).numpy()

    def any(self, flag: bool) -> bool:
        """Returns whether `flag` is set on any worker; every worker must ask."""
        return bool(self.mean(float(flag)) > 0)

    def agree(self, what: str, record) -> None:
        """Raises an InputError, which names `what` differs, unless all workers have the same `record` (JSON values)."""
        digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).digest()
        number = int.from_bytes(digest[:2], "little")  # Sums of such numbers are exact in float32.
        if self.mean(float(number)) != number:
            raise InputError(f"All workers must have the same {what}; this one's differ from another's.")

    @contextlib.contextmanager
    def own_folder(self, folder: Path) -> Iterator[Path]:
        """Yields the folder that this worker writes to: the chief `folder`, the others one that goes with the block."""
        if self.chief:
            yield folder
            return
        with tempfile.TemporaryDirectory(prefix="sib_tf-worker") as own:
            yield Path(own)

    @contextlib.contextmanager
    def lost_worker(self, going_on: str) -> Iterator[None]:
        """Turns TensorFlow's errors about workers that are gone into a `WorkerLostError` that ends with `going_on`."""
        try:
            yield
        except (tf.errors.UnavailableError, tf.errors.DeadlineExceededError, tf.errors.AbortedError) as error:
            if self.workers == 1:
                raise
            # TensorFlow puts names of graph nodes in front of what happened.
            happened = str(error).rpartition("}} ")[2].splitlines()[:1]
            reason = ": ".join([type(error).__name__, *happened])[:200]
            raise WorkerLostError(
                f"Worker {self.worker} lost another of the {self.workers} workers. {going_on} ({reason})"
            ) from error


def connect(name: str) -> Devices:
    """Returns the devices that `name`, one of `config.DISTRIBUTIONS`, stands for. Call it before TensorFlow computes.

    Raises an InputError if there is no such device, or TF_CONFIG does not say who the workers are.
    """
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return Devices(name, tf.distribute.MirroredStrategy([device.name for device in devices]))
    if name == "multi_worker":
        return _connect_workers()
    return Devices(name, _tpu_strategy()) if name == "tpu" else Devices()


def _connect_workers() -> Devices:
    workers, worker = _read_tf_config()
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()  # Waits for the others, as long as it takes.
    except (tf.errors.OpError, RuntimeError) as error:
        raise InputError(
            f"Worker {worker} of TF_CONFIG cannot start at {workers[worker]} "
            f"({first_line(error)}); is its port taken, or the address another machine's?"
        ) from error
    return Devices("multi_worker", strategy, worker, len(workers))


def _read_tf_config() -> tuple[list[str], int]:
    """Addresses of all workers, the chief's first, and the number of this one."""
    text = os.environ.get("TF_CONFIG")
    if not text:
        raise InputError(
            f"distribution=multi_worker needs TF_CONFIG on every worker, such as TF_CONFIG='{_EXAMPLE}'; it is not "
            "set. docs/scaling.md has a recipe for Kubernetes and one for Slurm."
        )
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        places = [(kind, i) for kind in ("chief", "worker") for i in range(len(cluster.get(kind, [])))]
        addresses = [cluster[kind][i] for kind, i in places]
        worker = places.index((task["type"], int(task["index"])))
        whole = all(":" in address for address in addresses)
    except (ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise InputError(f"TF_CONFIG must look like {_EXAMPLE}, with index the place of this worker; got {text!r}.")
    return addresses, worker


def _tpu_strategy() -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
    except (tf.errors.OpError, ValueError) as error:
        raise InputError(
            f"distribution=tpu found no TPU ({first_line(error)}); run on a TPU VM, or name another distribution."
        ) from error
    return tf.distribute.TPUStrategy(resolver)
