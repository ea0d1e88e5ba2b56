"""What gates see, by the mean and variance of the clips seen so far. Ours.

Shape legend: N clips, F numbers that a gate sees.
"""

from __future__ import annotations

import torch
from mmengine.dist import all_reduce
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

HORIZON = 20
"""Batches that the statistics remember: the plain mean of the first ones, then exponential."""


class Standard(nn.Module):
    """Takes out what all clips have in common, and looks at no other clip of the batch for it.

    The statistics are constants of each forward: they have no gradient, and take a batch in after
    it has been standardised, in `watch` alone.

    Args:
        num_inputs: Numbers that a gate sees.
    """

    mean: Tensor
    variance: Tensor
    num_batches: Tensor

    def __init__(self, num_inputs: int) -> None:
        super().__init__()
        self.eps = 1e-5
        self.register_buffer("mean", torch.zeros(num_inputs))
        self.register_buffer("variance", torch.ones(num_inputs))
        self.register_buffer("num_batches", torch.tensor(0))

    def forward(self, seen_NF: Tensor) -> Tensor:
        """Return (seen - mean) / deviation, (N, F)."""
        # clones: the backward needs them as they are now
        return F.batch_norm(seen_NF, self.mean.clone(), self.variance.clone(), eps=self.eps)

    @torch.no_grad()
    def watch(self, seen_NF: Tensor) -> None:
        """Take a batch of clips into the statistics; all processes take in the same."""
        self.num_batches += 1
        weight = (1 / self.num_batches.clamp_max(HORIZON)).to(self.mean)
        mean = _over_processes(seen_NF.mean(0))
        variance = _over_processes((seen_NF - mean).square().mean(0))
        step = mean - self.mean
        # a mixture of two clouds: theirs, and what lies between their centres
        between = weight * (1 - weight) * step.square()
        self.variance.lerp_(variance, weight).add_(between)
        self.mean.add_(weight * step)


def _over_processes(value: Tensor) -> Tensor:
    all_reduce(value, op="mean")
    return value
