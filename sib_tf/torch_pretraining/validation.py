"""Nearest prototypes on the validation classes, as `sib_tf.pretraining` chooses its best backbone by."""

import torch
from torch import nn
from torch.nn import functional

from sib_tf.torch_pretraining import augmentation
from sib_tf.torch_pretraining.pictures import Pictures

_PICTURES, _EPISODES = 512, 100  # At a time, for the sake of memory.


class Validation:
    """The validation pictures and episodes of a file of `train.pack_pictures`, on a device."""

    def __init__(self, pictures: Pictures, size: int, device: torch.device):
        self.size = size
        self.images = torch.from_numpy(pictures.validation_images).to(device)
        names = ("support", "support_labels", "query", "query_labels")
        self.episodes = [torch.from_numpy(getattr(pictures, name)).long().to(device) for name in names]

    @torch.inference_mode()
    def accuracy(self, backbone: nn.Module, autocast: torch.autocast) -> float:
        """The share of queries that nearest prototypes classify rightly, in [0, 1]; `backbone` computes in `autocast`.

        A prototype is the mean of its class's unit features, nearest by the cosine (`sib_tf.evaluation.prototypes`).
        """
        backbone.eval()
        with autocast:
            parts = [backbone(augmentation.plain(part, self.size)) for part in self.images.split(_PICTURES)]
        backbone.train()
        features = functional.normalize(torch.cat(parts).float(), dim=-1)
        parts = zip(*(rows.split(_EPISODES) for rows in self.episodes), strict=True)
        return float(torch.cat([_hits(features, *part) for part in parts]).float().mean())


def _hits(features, support, support_labels, query, query_labels) -> torch.Tensor:
    """Which queries are classified rightly, `[episodes, queries]`."""
    # The sum of a class's rows has the direction of their mean.
    prototypes = functional.one_hot(support_labels).float().mT @ features[support]  # [episodes, way, D]
    logits = features[query] @ functional.normalize(prototypes, dim=-1).mT
    return logits.argmax(-1) == query_labels
