"""What meta-training keeps: snapshots of a model in training, validated and saved while the training goes on."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from sib_tf import checkpoints
from sib_tf.devices import Devices
from sib_tf.evaluation import Evaluator, mean_and_ci95
from sib_tf.features import large
from sib_tf.optimizers import outer_optimizer
from sib_tf.outer_steps import Trainer
from sib_tf.reports import history
from sib_tf.sib import SIB


class Snapshots:
    """Copies of a model and its optimiser: each is validated and saved, the next one only after that.

    Steps in a compiled loop are one core's work; a thread of its own validates meanwhile. What is written is of one
    snapshot, and its state comes last: a run that is broken off goes on from the last whole one, and takes the steps
    after it again. Use as a context: leaving it waits for the last validation.

    The evaluators are those of the validation lists, whose mean accuracy counts; `tables` has the features of their
    split, `[pictures, D]` float32, of every cache, which has as many lists as the others. The copy is a plain one, on
    one device.
    """

    def __init__(self, trainer: Trainer, evaluators: list[Evaluator], tables, output_dir: Path, devices: Devices):
        self.trainer, self.output_dir, self.devices = trainer, output_dir, devices
        each = len(evaluators) // len(tables)
        self.lists = [(evaluator, large.held(tables[i // each])) for i, evaluator in enumerate(evaluators)]
        self.model = SIB(trainer.model.config, name=trainer.model.name)
        self.model.build()
        self.optimizer = outer_optimizer(trainer.config)
        self.optimizer.build(self.model.trainable_variables)
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._best = tf.Variable(-1.0, dtype=tf.float64, trainable=False)
        # Of the steps since the last validation, of a run that was asked to end between two.
        self._losses = tf.Variable(np.zeros(trainer.config.validate_every, np.float32), trainable=False)

    def __enter__(self) -> "Snapshots":
        self._writer = tf.summary.create_file_writer(str(self.output_dir / "tensorboard"))
        self._thread, self._running = ThreadPoolExecutor(1), None
        return self

    def __exit__(self, *_) -> None:
        self._thread.shutdown()
        self._writer.close()

    @property
    def step(self) -> int:
        """The outer step that the last snapshot was taken after."""
        return int(self._step.numpy())

    @property
    def best(self) -> float:
        """The best validation accuracy so far, in [0, 1]."""
        return float(self._best.numpy())

    @property
    def losses(self) -> np.ndarray:
        """`[steps]` float32 losses of the steps between the last validation and the snapshot."""
        return self._losses.numpy()[: self.step % self.trainer.config.validate_every]

    def restore(self, folder: Path) -> None:
        """Takes the trainer to the last state in `folder`, where there is one; states are saved there from now on."""
        parts = {"model": self.model, "optimizer": self.optimizer, "step": self._step, "best": self._best}
        added = {"losses": self._losses}
        self._state = checkpoints.TrainingState(folder, added=added, writes=self.devices.chief, **parts)
        if self._state.restore():
            _copy(self._variables(), self.trainer.variables)
        self.devices.agree("checkpoints (does every worker see output_dir?): they", self.step)
        if self.step < self.trainer.config.steps:
            # While the trainer compiles.
            self._running = self._thread.submit(lambda: [each.prepare(self.model, table) for each, table in self.lists])

    def validate(self, step: int, loss: float, progress: tqdm) -> None:
        """Takes a snapshot after outer step `step`, and starts to validate it and to save it.

        `loss` is the mean since the last validation; `progress` shows what was found.
        """
        self._take(step)
        self._running = self._thread.submit(self._keep, step, loss, progress)

    def save(self, step: int, losses: np.ndarray) -> None:
        """Takes and saves a snapshot between two validations; `losses` `[steps]` are those since the last one."""
        self._take(step)
        self._losses.assign(np.pad(losses, (0, self._losses.shape[0] - len(losses))))
        self._state.save()

    def finish(self) -> None:
        """Waits until the last snapshot is validated and saved; raises what went wrong there."""
        if self._running:
            self._running.result()

    def _take(self, step: int) -> None:
        self.finish()
        _copy(self.trainer.variables, self._variables())
        self._step.assign(step)

    def _variables(self) -> list:
        return [*self.model.variables, *self.optimizer.variables]

    def _keep(self, step: int, loss: float, progress: tqdm) -> None:
        lists = [evaluator(self.model, table).accuracy[-1] for evaluator, table in self.lists]
        accuracy, half = mean_and_ci95(np.mean(lists, axis=0))
        if accuracy > self.best:
            checkpoints.save_model(self.model, self.output_dir / checkpoints.BEST)
            self._best.assign(accuracy)
        checkpoints.save_model(self.model, self.output_dir / checkpoints.LAST)
        row = {"step": step, "loss": loss, "validation_accuracy": accuracy, "validation_ci95": half}
        history.add(self.output_dir / "history.csv", row)
        with self._writer.as_default(step):
            tf.summary.scalar("loss", loss)
            tf.summary.scalar("validation_accuracy", accuracy)
        self._writer.flush()
        self._state.save()  # Last: a run broken off before takes these steps again, and logs them again.
        best = f"{100 * self.best:.2f}%"
        progress.set_postfix(loss=f"{loss:.3f}", val=f"{100 * accuracy:.2f}%", best=best)


def _copy(source: list, target: list) -> None:
    for one, other in zip(source, target, strict=True):
        other.assign(one.value.numpy())
