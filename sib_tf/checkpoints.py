"""Files of runs: whole models, and the state that training goes on from."""

import contextlib
import os
import re
import shutil
import warnings
from pathlib import Path

import keras
import tensorflow as tf

from sib_tf.errors import InputError, first_line
from sib_tf.storage import atomic, disk_errors, zip_files

BEST = "best.keras"
LAST = "last.keras"
# Checkpoints of a run: the last one, and the one before.
_KEPT = 2
_CHECKPOINT_FILE = re.compile(r"(ckpt-\d+)\.(index|data-\d+-of-\d+)")


def save_model(model: keras.Model, path: str | os.PathLike) -> None:
    """Saves a whole model as a `.keras` file, in one move."""
    with atomic.new_file(path) as partial:
        model.save(partial)


def load_model(path: str | os.PathLike, kind: type[keras.Model] = keras.Model) -> keras.Model:
    """Loads a `.keras` file in safe mode, so that it may hold no code; an InputError if it is damaged or no `kind`."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no model file {path}; name the folder of a finished run.")
    try:
        zip_files.open_zip(path, most_bytes=path.stat().st_size).close()  # Keras packs nothing.
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds for a damaged file.
        raise InputError(f"{path} cannot be loaded ({first_line(error)}); make it again.") from error
    if not isinstance(model, kind):
        raise InputError(f"{path} holds a {type(model).__name__}; a {kind.__name__} is needed.")
    return model


class TrainingState:
    """What a run needs to go on: models, optimisers, counters, saved together after a step and restored together.

    TensorFlow writes each checkpoint under a new number and then points to it in one move, so that a run that is cut
    off while saving goes on from the checkpoint before. Its files have reached the disk by then. The one before is
    kept, and taken where the last one turns out damaged.

    Args:
        folder: where the checkpoints lie.
        added: `tf.Variable`s by name that checkpoints of earlier versions may lack; they stay as they are then.
        writes: False for workers other than the chief: all variables are mirrored, so saving needs nothing of them.
        **trackables: Keras models, optimisers and `tf.Variable`s, by name.
    """

    def __init__(
        self, folder: str | os.PathLike, added: dict[str, tf.Variable] | None = None, writes: bool = True, **trackables
    ):
        self.folder, self.writes = Path(folder), writes
        self._list = self.folder / "checkpoint"
        if self._list.is_file() and self._list.stat().st_size == 0:
            self._list.write_bytes(b"?")  # TensorFlow looks past a list that it cannot read, but not past an empty one.
        self._required, self._added = tf.train.Checkpoint(**trackables), added or {}
        whole = tf.train.Checkpoint(**trackables, **self._added)
        try:
            self._manager = tf.train.CheckpointManager(whole, str(folder), max_to_keep=_KEPT)
        except ValueError as error:  # It reads which checkpoints there are.
            raise InputError(f"{self._list} is damaged; remove {folder} to start anew.") from error

    def restore(self) -> bool:
        """Restores the last whole checkpoint; returns False where there is none; an InputError where none is whole."""
        failure = None
        for prefix in self._newest_first():
            try:
                self._restore(prefix)
            except Exception as error:  # TensorFlow raises many kinds for a damaged checkpoint.
                failure = failure or f"Checkpoint {prefix} cannot be restored ({type(error).__name__})"
                continue
            if failure:
                warnings.warn(f"{failure}; going on from {prefix}.", stacklevel=2)
            self._remove_leftovers()
            return True
        if failure is None and not self._list.exists():
            return False
        raise InputError(f"{failure or f'{self._list} is damaged'}; remove {self.folder} to start anew.")

    def save(self) -> None:
        """Saves all as the new last checkpoint; an InputError if the disk refuses: the last one stays what it was."""
        if not self.writes:
            return
        with disk_errors.named(self.folder):
            self._manager.save(options=tf.train.CheckpointOptions(experimental_write_callbacks=[_to_disk]))
            atomic.to_disk(self.folder)
            self._remove_leftovers()

    def _restore(self, prefix: str) -> None:
        stored = {name.split("/")[0] for name, _ in tf.train.list_variables(prefix)}
        checkpoint = self._manager.checkpoint if stored.issuperset(self._added) else self._required
        checkpoint.restore(prefix).assert_existing_objects_matched()

    def _newest_first(self) -> list[str]:
        """Prefixes of the checkpoints; where the file that lists them is damaged, of those that are there."""
        if listed := self._manager.checkpoints:
            return listed[::-1]
        found = self.folder.glob("ckpt-*.index") if self._list.exists() else ()  # Without a list none was finished.
        numbers = [int(path.stem[5:]) for path in found if path.stem[5:].isdecimal()]
        return [str(self.folder / f"ckpt-{number}") for number in sorted(numbers, reverse=True)]

    def _remove_leftovers(self) -> None:
        """Removes what saves left that were cut off: parts of checkpoints, and older ones that were to go."""
        # TensorFlow lists a new checkpoint, removes an old one, index first, and then takes that off the list: a kill
        # may come before either of the last two.
        there = [Path(prefix).name for prefix in self._manager.checkpoints if Path(f"{prefix}.index").is_file()]
        listed = there[-_KEPT:]
        if not listed:  # The list is damaged: nobody knows.
            return
        for path in (*self.folder.glob("ckpt-*"), *self.folder.glob("checkpoint.tmp*")):
            whole = _CHECKPOINT_FILE.fullmatch(path.name)
            if whole is None or whole[1] not in listed:
                with contextlib.suppress(OSError):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _to_disk(prefix: str) -> None:
    for path in Path(prefix).parent.glob(f"{Path(prefix).name}.*"):
        atomic.to_disk(path)
