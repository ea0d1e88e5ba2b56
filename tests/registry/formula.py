"""The method's formulas as they are written down, for tests to compare with."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from registry.vared.frames import mirrors


def blend_by_branches(
    z: Tensor,
    weights: Tensor,
    factors: tuple[int, ...],
    axis: int,
    mirrored: bool = False,
) -> Tensor:
    """sum_i V[i] * branch_i, branch by branch: the recalled formula and nothing else."""
    total = torch.zeros_like(z)
    for branch, factor in enumerate(factors):
        size = z.shape[axis]
        kept = math.ceil(size / factor)
        index = torch.arange(size)
        source = index % kept if axis == 1 else index - index % factor
        if axis == 2 and mirrors(size, factors[-1], mirrored):
            second_half = index // factors[-1] >= size / factors[-1] / 2
            source = torch.where(second_half, source + factor - 1, source)
        total += weights[:, branch].view(-1, 1, 1, 1, 1) * z.index_select(axis, source)
    return total
