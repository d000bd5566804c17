"""`sib_tf.augmentation` in PyTorch: the released code's, on whole batches, drawn from a generator."""

import itertools

import torch
from torch.nn import functional

from sib_tf.config import PretrainConfig

_GREY = (0.299, 0.587, 0.114)
# Of the three colour steps.
ORDERS = tuple(itertools.permutations(range(3)))


def augment(
    images: torch.Tensor, size: int, config: PretrainConfig, generator: torch.Generator, order: tuple[int, ...]
) -> torch.Tensor:
    """Augments a batch `[pictures, side, side, 3]` uint8, RGB, of at least `size` pixels.

    Padding is as in `sib_tf.augmentation.augment`. Without `config.augment` it is the middle of each picture. `order`
    is one of `ORDERS`, for the whole batch.

    Returns:
        `[pictures, 3, size, size]` float32, 0-255, in the order of memory that convolutions on GPUs want.
    """
    if not config.augment:
        return plain(images, size)
    images = _random_crop(images, size, size // 8 if size <= 32 else size // 10, generator)
    if config.mirror:
        flip = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device) < 0.5
        images = torch.where(flip, images.flip(2), images)
    images = images.float()
    if config.color_jitter:
        images = _color_jitter(images, config.color_jitter, generator, order)
    return _channels_first(images)


def plain(images: torch.Tensor, size: int) -> torch.Tensor:
    """The middle `size` pixels of each picture, otherwise as `augment`."""
    first = (images.shape[1] - size) // 2
    return _channels_first(images[:, first : first + size, first : first + size])


def _random_crop(images, size: int, padding: int, generator):
    """Crops a random square of `size` from each picture, after padding it with black."""
    images = functional.pad(images, (0, 0, padding, padding, padding, padding))
    at = {"generator": generator, "device": images.device}
    corner = torch.randint(images.shape[1] - size + 1, (2, len(images), 1), **at)
    rows, columns = corner + torch.arange(size, device=images.device)
    pictures = torch.arange(len(images), device=images.device)[:, None, None]
    return images[pictures, rows[:, :, None], columns[:, None, :]]


def _color_jitter(images, strength: float, generator, order: tuple[int, ...]):
    """Changes brightness, contrast and saturation, each by its own factor in 1 +- strength, in that order."""
    at = {"generator": generator, "device": images.device}
    factors = 1 + strength * (2 * torch.rand(3, len(images), 1, 1, 1, **at) - 1)
    for step in order:
        images = (_brightness, _contrast, _saturation)[step](images, factors[step]).clamp(0, 255)
    return images


def _brightness(images, factor):
    return images * factor


def _contrast(images, factor):
    mean = _grey(images).mean((1, 2), keepdim=True)
    return mean + (images - mean) * factor


def _saturation(images, factor):
    grey = _grey(images)
    return grey + (images - grey) * factor


def _grey(images):
    return (images * torch.tensor(_GREY, device=images.device)).sum(-1, keepdim=True)


def _channels_first(images):
    return images.float().permute(0, 3, 1, 2)
