"""What a gate sees of its layer's input: means over space and time.

Shape legend: N clips, C channels, T frames, H height, W width.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .settings import SEEN_SIDE, GateInput, GateStride


class _ClipMean(torch.autograd.Function):
    """The mean over space and time whose gradient is a view: a number for each clip and channel.

    The backward of `mean` writes that number down for every element before it is added to the
    gradient that comes through the convolution. Ours.
    """

    @staticmethod
    def forward(ctx: Any, x_NCTHW: Tensor) -> Tensor:
        ctx.shape, ctx.dtype = x_NCTHW.shape, x_NCTHW.dtype
        mean_NC: Tensor = _sums(x_NCTHW).div_(math.prod(ctx.shape[2:]))
        return mean_NC

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        clips, channels, *place = ctx.shape
        each: Tensor = (grads[0] / math.prod(place)).to(ctx.dtype)
        return each.view(clips, channels, 1, 1, 1).expand(ctx.shape)


SHORT = 64
"""Places of a frame below which a sum over them takes longer than one over the frames first."""


def _sums(x_NCTHW: Tensor) -> Tensor:
    """Sums over space and time (N, C), in the order that suits how the map lies in memory.

    In float32 at least: float16 cannot hold the sum of a frame of 256 x 256 ones.
    """
    dtype = torch.promote_types(x_NCTHW.dtype, torch.float32)
    _, channels, frames, rows, _ = x_NCTHW.stride()
    has_frames_outside = frames > channels >= rows
    if has_frames_outside and x_NCTHW.shape[3] * x_NCTHW.shape[4] < SHORT:
        return x_NCTHW.sum(2, dtype=dtype).flatten(2).sum(2)
    return x_NCTHW.sum((2, 3, 4), dtype=dtype)


NUM_COLOURS = 4
"""Channels, at most, of clips themselves."""


def pooling_stride(gate_stride: GateStride, channels: int, height: int, width: int) -> int:
    """Return from which row and column of a map to the next a gate looks.

    `auto` reads clips in full: their pixels, unlike a feature map's, say nothing of those beside.
    """
    if gate_stride != "auto":
        return gate_stride
    return 1 if channels <= NUM_COLOURS else max(1, min(height, width) // SEEN_SIDE)


def pool(x_NCTHW: Tensor, gate_input: GateInput) -> Tensor:
    """Return what a gate sees of its layer's input, (N, `gate_inputs`)."""
    if gate_input == "frames":
        return x_NCTHW.mean((3, 4)).flatten(1)
    mean_NC = _mean(x_NCTHW)
    return torch.cat([mean_NC, _motion(x_NCTHW)], 1) if gate_input == "motion" else mean_NC


def _mean(x_NCTHW: Tensor) -> Tensor:
    if torch.is_grad_enabled() and x_NCTHW.requires_grad:
        mean_NC: Tensor = _ClipMean.apply(x_NCTHW)  # type: ignore[no-untyped-call]
        return mean_NC
    # one sum over all axes: what is counted is what is priced
    return x_NCTHW.mean((2, 3, 4))


def _motion(x_NCTHW: Tensor) -> Tensor:
    """Mean over space and time of |x_t - x_(t-1)|, (N, C); the same for a clip and its reverse."""
    if x_NCTHW.shape[2] == 1:
        return x_NCTHW.new_zeros(x_NCTHW.shape[:2])
    return (x_NCTHW[:, :, 1:] - x_NCTHW[:, :, :-1]).abs().mean((2, 3, 4))
