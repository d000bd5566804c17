"""The training itself: the recipe of `sib_tf.pretraining`, on one accelerator, saved between epochs."""

import dataclasses
import hashlib
import io
import math
import os
import random
import time
from pathlib import Path

import torch
from torch.nn import functional
from tqdm import tqdm

from sib_tf.config import BackboneConfig, PretrainConfig
from sib_tf.errors import InputError
from sib_tf.reports import history
from sib_tf.storage import atomic, disk_errors, preemption, run_lock, run_records, zip_files
from sib_tf.torch_pretraining import augmentation
from sib_tf.torch_pretraining.networks import CosineClassifier, build
from sib_tf.torch_pretraining.pictures import Pictures
from sib_tf.torch_pretraining.validation import Validation

# Called as the released code calls it; `train.import_checkpoint` reads it.
FILE = "netFeat.pth"
_STATE = "state.pth"
# What the state has: states of these, and values of those.
_PARTS, _PLACE = ("backbone", "classifier", "optimizer"), ("epoch", "taken", "sums")
# On the validation classes, in the file of the best.
_ACCURACY = "validation_accuracy"
_SECONDS_BETWEEN_SAVES = 30
_WARMUP_STEPS, _WARMUP_FROM = 6000, 1e-7


def pretrain(
    pictures: Pictures, backbone: BackboneConfig, config: PretrainConfig, output_dir: str | os.PathLike
) -> float:
    """Trains a backbone from scratch; keeps the best at nearest prototypes on the validation classes.

    Writes to `output_dir`: `config.json`, `netFeat.pth` (the best so far, how good it is, and the pictures that it
    takes), `state.pth` (after an epoch of the last half minute, or where SIGTERM came: the same call goes on from
    there), `history.csv`. Convolutions compute in `backbone.precision`, float32 or bfloat16, on a CUDA device if there
    is one. On one kind of device the order of an epoch depends on (seed, epoch) alone and a batch's augmentation on
    (seed, epoch, step), so that a run that is taken up again sees what an unbroken one would have seen.

    Returns:
        The best validation accuracy (nearest prototypes on the episodes of `pictures`), in [0, 1].

    Raises:
        InputError: `output_dir` holds another run or is in use, or loss or weights become NaN or infinite.
        Preempted: SIGTERM came; the state is saved.
    """
    folder, steps = Path(output_dir), len(pictures.labels) // config.batch_size
    if (classes := int(pictures.labels.max(initial=-1)) + 1) < 2:
        raise InputError(f"There must be pictures of at least 2 training classes to tell apart; got {classes}.")
    if steps < 1:
        raise InputError(f"batch_size {config.batch_size} is more than the {len(pictures.labels)} training pictures.")
    record = {"backbone": dataclasses.asdict(backbone), "pretraining": dataclasses.asdict(config)}
    with run_lock.held(folder), disk_errors.named(folder):
        run_records.claim_folder(folder, {**record, "pictures": _fingerprint(pictures)})
        run = _Run(pictures, backbone, config, folder)
        run.restore()
        run.train(steps)
    return run.best


def learning_rate(config: PretrainConfig, steps_per_epoch: int, step: int) -> float:
    """The rate of a step, which is that of `sib_tf.optimizers.backbone_rate`."""
    total, peak = config.epochs * steps_per_epoch, config.learning_rate
    if config.schedule == "paper":
        warm = _WARMUP_FROM + (peak - _WARMUP_FROM) * min(step / _WARMUP_STEPS, 1.0)
        return warm if step < 50 * steps_per_epoch else 0.1 * warm
    warmup = int(0.3 * total) if config.schedule == "one_cycle" else min(steps_per_epoch, total // 5)
    if step < warmup:
        return peak / 25 + (peak - peak / 25) * step / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * min((step - warmup) / max(total - warmup, 1), 1.0)))


class _Run:
    def __init__(self, pictures: Pictures, backbone: BackboneConfig, config: PretrainConfig, folder: Path):
        self.config, self.folder, self.size = config, folder, backbone.image_size
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.backends.cudnn.benchmark = True  # Batches have one shape.
        self.images = torch.from_numpy(pictures.images).to(self.device)
        self.labels = torch.from_numpy(pictures.labels).to(self.device)
        torch.manual_seed(config.seed)
        self.backbone = build(backbone).to(self.device, memory_format=torch.channels_last).train()
        classes = int(self.labels.max()) + 1
        self.classifier = CosineClassifier(self.backbone.dim, classes, config.logit_scale).to(self.device)
        parameters = [*self.backbone.parameters(), *self.classifier.parameters()]
        self.optimizer = torch.optim.SGD(
            parameters, config.learning_rate, 0.9, weight_decay=config.weight_decay, nesterov=True, fused=True
        )
        self.validation = Validation(pictures, self.size, self.device)
        self.autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=backbone.precision == "bfloat16")
        self.epoch, self.saved_at, self.best = 0, time.monotonic(), -1.0
        # Of the epoch that is under way: steps taken, and their sums of loss and of the share of hits.
        self.taken, self.sums = 0, torch.zeros(2, device=self.device)

    def restore(self) -> None:
        path = self.folder / _STATE
        if not path.is_file():
            return
        state = _read(path, *_PARTS, *_PLACE)
        for name in _PARTS:
            getattr(self, name).load_state_dict(state[name])
        self.epoch, self.taken, self.sums = (state[name] for name in _PLACE)
        self.sums = self.sums.to(self.device)
        if (self.folder / FILE).is_file():  # Its own word: it may be of an epoch after the state's.
            self.best = float(_read(self.folder / FILE, _ACCURACY)[_ACCURACY])
        elif self.epoch:  # Somebody took the best away.
            self._validate()

    def train(self, steps: int) -> None:
        total = self.config.epochs * steps
        with (
            tqdm(
                total=total, initial=self.epoch * steps + self.taken, unit="step", desc="pretrain", mininterval=2
            ) as progress,
            preemption.notice() as notice,
        ):
            while self.epoch < self.config.epochs:
                self._take_epoch(steps, progress, notice)
                self._end_epoch(steps, progress)

    def _take_epoch(self, steps: int, progress: tqdm, notice) -> None:
        generator = torch.Generator(self.device).manual_seed(self._chance().getrandbits(63))
        order = torch.randperm(len(self.labels), generator=generator, device=self.device)
        for step in range(self.taken, steps):
            rows = order[step * self.config.batch_size : (step + 1) * self.config.batch_size]
            rate = learning_rate(self.config, steps, self.epoch * steps + step)
            # Colour steps are ordered on the processor's side, so that the accelerator is not waited for.
            chance = self._chance(step)
            generator.manual_seed(chance.getrandbits(63))
            self.sums += self._step(rows, rate, generator, chance.choice(augmentation.ORDERS))
            self.taken = step + 1
            progress.update()
            if notice.given:
                self._save()
                raise preemption.Preempted(
                    f"The state of step {self.taken} of epoch {self.epoch + 1} is saved; the same command goes on from "
                    "there."
                )

    def _chance(self, *step: int) -> random.Random:
        """Of the epoch that is under way, or of a step of it."""
        return random.Random(repr((self.config.seed, self.epoch, *step)))

    def _end_epoch(self, steps: int, progress: tqdm) -> None:
        loss, accuracy = (self.sums / steps).tolist()
        # Pooling and ReLU can hide a NaN from the loss.
        if not all(math.isfinite(float(value.sum())) for value in (self.sums, *self.backbone.state_dict().values())):
            raise InputError(
                f"The loss ({loss}) or a weight became NaN or infinite in epoch {self.epoch + 1}; lower learning_rate."
            )
        figures = {"accuracy": accuracy, "loss": loss, "val_prototype_accuracy": self._validate()}
        history.add(self.folder / "history.csv", {"epoch": self.epoch, **figures})
        self.epoch, self.taken, self.sums = self.epoch + 1, 0, torch.zeros_like(self.sums)
        val, best = (f"{100 * each:.2f}%" for each in (figures["val_prototype_accuracy"], self.best))
        progress.set_postfix(loss=f"{loss:.3f}", val=val, best=best)
        # Epochs may take seconds, and so does writing a wide network.
        if self.epoch == self.config.epochs or time.monotonic() > self.saved_at + _SECONDS_BETWEEN_SAVES:
            self._save()

    def _validate(self) -> float:
        """Measures nearest prototypes on the validation classes, in [0, 1]; keeps the backbone if it is the best."""
        accuracy = self.validation.accuracy(self.backbone, self.autocast)
        if accuracy > self.best:
            weights = {name: value.cpu() for name, value in self.backbone.state_dict().items()}
            _write(self.folder / FILE, {**weights, _ACCURACY: torch.tensor(accuracy, dtype=torch.float64)})
            self.best = accuracy
        return accuracy

    def _step(self, rows, rate: float, generator, order) -> torch.Tensor:
        """Takes a step; returns loss and share of hits, `[2]`."""
        pictures = augmentation.augment(self.images[rows], self.size, self.config, generator, order)
        labels = self.labels[rows]
        with self.autocast:
            features = self.backbone(pictures)
        logits = self.classifier(features.float())
        loss = functional.cross_entropy(logits, labels)
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return torch.stack([loss.detach(), (logits.argmax(-1) == labels).float().mean()])

    def _save(self) -> None:
        state = {name: getattr(self, name).state_dict() for name in _PARTS}
        _write(self.folder / _STATE, state | {name: getattr(self, name) for name in _PLACE})
        self.saved_at = time.monotonic()


def _write(path: Path, content: dict) -> None:
    with atomic.new_file(path) as partial, partial.open("wb") as file:
        buffer = io.BytesIO()  # PyTorch itself does not say why the disk refuses.
        torch.save(content, buffer)
        file.write(buffer.getbuffer())


def _read(path: Path, *needed: str) -> dict:
    try:
        zip_files.check_torch_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        return {name: content[name] for name in needed}
    except Exception as error:  # torch raises many kinds for damaged files.
        reason = f"{path} is damaged ({type(error).__name__}); remove it to go on without it."
        raise InputError(reason) from error


def _fingerprint(pictures: Pictures) -> str:
    digest = hashlib.sha256()
    for array in vars(pictures).values():
        digest.update(array.tobytes())
    return digest.hexdigest()
