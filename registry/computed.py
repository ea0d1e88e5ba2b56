"""What each dynamic layer computed of each clip.

Shape legend: N clips, L dynamic layers.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .vared.policy import Policy


class Computed:
    """What each dynamic layer computed, clip by clip.

    Args:
        policy: None where there are no dynamic layers; then there is nothing to see.
    """

    def __init__(self, policy: Policy | None) -> None:
        self.policy = policy
        self._shares: list[Tensor] = []

    def add(self) -> None:
        """Take in the last forward."""
        if self.policy is None:
            return
        channel, time = self.policy.stacked()
        costs = self.policy.costs
        shares = [
            ((live > 0) * kept).amax(-1) / kept[:, 0]
            for live, kept in ((channel, costs.kept_channels), (time, costs.kept_frames))
        ]
        self._shares.append(torch.stack(shares, -1).double())

    def means(self) -> dict[str, dict[str, float]]:
        """Return {layer: {"channels": share, "frames": share}}."""
        if self.policy is None:
            return {}
        sums = torch.stack([shares.sum(0) for shares in self._shares]).sum(0)
        mean = sums / sum(map(len, self._shares))
        names = [layer.name for layer in self.policy.costs.layers]
        return {
            name: {"channels": float(row[0]), "frames": float(row[1])}
            for name, row in zip(names, mean, strict=True)
        }

    def by_clip(self, num_clips: int) -> NDArray[np.float64]:
        """Return the shares of channels and of frames, (N, L, 2)."""
        if self.policy is None:
            return np.empty((num_clips, 0, 2))
        return np.asarray(torch.cat(self._shares).cpu().numpy())
