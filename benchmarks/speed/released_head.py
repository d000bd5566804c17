"""The released SIB head written anew in PyTorch (extra `torch`): the peer that training speed is measured against.

The same arithmetic as the released code: BatchNorm on the statistics of the batch, a gradient taken by autograd in
every inner step and differentiated through, SGD with Nesterov momentum and coupled weight decay. Where the released
code has one episode a step, this has a batch, each episode with its own statistics: without that, no batch size above
one would be the same work. Checked against the numbers recorded from the released code (tests/test_released_head.py).
"""

import torch
from torch.nn import functional


class ReleasedHead(torch.nn.Module):
    """Initialisation network, cosine classifier, synthetic gradient network and K steps, of a sum over queries."""

    def __init__(self, way: int, feature_dim: int, num_steps: int, inner_learning_rate: float):
        super().__init__()
        self.way, self.num_steps, self.rate = way, num_steps, inner_learning_rate
        units = 8 * way
        self.feature_scale = torch.nn.Parameter(torch.ones(feature_dim))
        self.logit_scale = torch.nn.Parameter(torch.tensor([10.0]))
        self.logit_bias = torch.nn.Parameter(torch.zeros(1))
        self.dense1 = torch.nn.Linear(way, units)
        self.norm1 = torch.nn.BatchNorm1d(units)
        self.dense2 = torch.nn.Linear(units, units)
        self.norm2 = torch.nn.BatchNorm1d(units)
        self.dense3 = torch.nn.Linear(units, way)

    def forward(self, support, support_labels, query):
        """Returns the path theta^0 .. theta^K, `[episodes, way, D]` each, and the logits `[episodes, queries, way]`.

        Args:
            support: `[episodes, support_rows, D]` float32.
            support_labels: `[episodes, support_rows]` int64.
            query: `[episodes, queries, D]` float32.
        """
        members = functional.one_hot(support_labels, self.way).to(support.dtype)
        sums = members.transpose(1, 2) @ functional.normalize(support, dim=-1)
        theta = self.feature_scale * sums / members.sum(1)[..., None]
        units = functional.normalize(query, dim=-1)
        path = [theta]
        with torch.enable_grad():
            for _ in range(self.num_steps):
                theta = theta if theta.requires_grad else theta.requires_grad_()
                logits = self._logits(theta, units)
                # Differentiated through, as in the released code, unless nothing is learned from it.
                (gradient,) = torch.autograd.grad(logits, theta, self._synthetic(logits), create_graph=self.training)
                theta = theta - self.rate * gradient
                path.append(theta)
        return path, self._logits(theta, units)

    def _logits(self, theta, units):
        cosine = units @ functional.normalize(theta, dim=-1).transpose(1, 2)
        return self.logit_scale * (cosine + self.logit_bias)

    def _synthetic(self, logits):
        x = self._normalised(torch.relu(self.dense1(logits)), self.norm1)
        x = self._normalised(torch.relu(self.dense2(x)), self.norm2)
        return self.dense3(x)

    @staticmethod
    def _normalised(x, norm):
        """Batch normalisation of `[episodes, queries, units]` by each episode's own statistics, in one call."""
        episodes, queries, units = x.shape
        if episodes == 1:
            return functional.batch_norm(x[0], None, None, norm.weight, norm.bias, training=True, eps=norm.eps)[None]
        channels = x.transpose(0, 1).reshape(queries, episodes * units)
        scale, shift = norm.weight.repeat(episodes), norm.bias.repeat(episodes)
        out = functional.batch_norm(channels, None, None, scale, shift, training=True, eps=norm.eps)
        return out.reshape(queries, episodes, units).transpose(0, 1)


def optimizer(head: ReleasedHead) -> torch.optim.Optimizer:
    """The released code's outer optimiser."""
    return torch.optim.SGD(head.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=5e-4)


def train_step(head: ReleasedHead, outer: torch.optim.Optimizer, support, support_labels, query, query_labels):
    """One outer step; returns the mean query cross-entropy before it."""
    outer.zero_grad(set_to_none=True)
    _, logits = head(support, support_labels, query)
    loss = functional.cross_entropy(logits.flatten(0, 1), query_labels.flatten())
    loss.backward()
    outer.step()
    return loss.detach()
