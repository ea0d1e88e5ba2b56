"""Motion of a clip, measured from its pixels, and the clip without any: one frame repeated. Ours.

Shape legend: T frames, H, W pixels. A clip is packed as (T, 3, H, W) for "NCHW" and as
(1, 3, T, H, W) for "NCTHW".
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset


def time_axis(clip: Tensor) -> int:
    """Return the axis of the frames of one packed clip: told by how many axes it has."""
    return 0 if clip.dim() == 4 else 2


def motion_of(clip: Tensor) -> float:
    """Return the mean of |x_t - x_(t-1)| over frames, pixels and colours, in grey levels of 255.

    Of the frames that the recognizer sees. Whatever changes counts: noise and a cut as much as a
    movement. 0 for a still clip, and for a single frame.

    Args:
        clip: One packed clip, uint8.
    """
    axis = time_axis(clip)
    if clip.shape[axis] < 2:
        return 0.0
    return float(clip.to(torch.int16).diff(dim=axis).abs().double().mean())


class Frozen(Dataset[dict[str, Any]]):
    """Clips whose middle frame is repeated: what they show stays, what moves does not.

    Args:
        clips: Items as `Splits` describes them.
        indices: Which of them.
    """

    def __init__(self, clips: Dataset[Any], indices: list[int]) -> None:
        self.clips = clips
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return the clip's item with other `inputs`."""
        item = self.clips[self.indices[index]]
        clip = item["inputs"]
        axis = time_axis(clip)
        middle = clip.narrow(axis, clip.shape[axis] // 2, 1)
        return {**item, "inputs": middle.expand_as(clip).contiguous()}
