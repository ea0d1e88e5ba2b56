"""Blend copies on both axes at once: small matrices in place of passes over feature maps. Ours.

A blend of copies is linear in groups of channels and of frames. With groups side by side in memory
training needs a product forward and two back, and keeps nothing of it but the full computation,
which its activation kept already; what each axis alone would give is never stored.

Shape legend: N clips, S branches, G groups of channels or frames, P periods of frames, K what is
left of a group; z has five axes, clips first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from .frames import first_frames
from .settings import Axis

Ints = tuple[int, ...]


@dataclass(frozen=True)
class CopyPlan:
    """What is fixed about one layer's blend.

    Args:
        channel_factors: Reductions on offer, ascending from 1.
        time_factors: Likewise.
        num_channels: Of the layer's output.
        num_frames: Likewise.
        mirrored: Which frames are kept: see `frames`.
    """

    channel_factors: Ints
    time_factors: Ints
    num_channels: int
    num_frames: int
    mirrored: bool

    @property
    def num_frame_groups(self) -> int:
        """Frames of a period: of fewer than the largest factor all are copies of one."""
        return min(self.time_factors[-1], self.num_frames)

    @property
    def num_kept(self) -> int:
        """Channels of a group."""
        return -(-self.num_channels // self.channel_factors[-1])

    @property
    def num_missing(self) -> int:
        """Channels that the last group has fewer than the others."""
        return -self.num_channels % self.channel_factors[-1]

    @property
    def has_groups(self) -> bool:
        """Whether every branch keeps whole groups of channels and of frames."""
        whole = self.num_channels + self.num_missing
        return self.num_frames % self.num_frame_groups == 0 and all(
            -(-self.num_channels // factor) * factor == whole for factor in self.channel_factors[1:]
        )


def blend_copies(
    z: Tensor, plan: CopyPlan, weights: tuple[Tensor, Tensor], channel_axis: int
) -> Tensor | None:
    """Return the sum over channel branches, then over time branches, in the shape of z.

    Args:
        z: The full computation.
        plan: Of its layer.
        weights: (N, S_channel) and (N, S_time).
        channel_axis: 1 (NCTHW), 2 (NTCHW) or 4 (NTHWC).

    Returns:
        None where a branch would keep part of a group, and in mixed precision.
    """
    if z.dtype != torch.float32 or torch.is_autocast_enabled(z.device.type):
        return None
    if not z.is_contiguous():
        blended = blend_copies(z.movedim(channel_axis, -1).contiguous(), plan, weights, 4)
        return None if blended is None else blended.movedim(-1, channel_axis)
    mixing = _mixing(plan, z.shape, channel_axis, z.device)
    if mixing is None:
        return None
    whole = z
    if plan.num_missing:
        whole = pad(z, [0, 0] * (4 - channel_axis) + [0, plan.num_missing])
    y: Tensor = _Blend.apply(whole, *weights, *mixing)  # type: ignore[no-untyped-call]
    return y.narrow(channel_axis, 0, plan.num_channels) if plan.num_missing else y


class _Layout:
    """Where the groups of a contiguous map lie.

    Args:
        shape: Of the map.
        sizes: The map's axes, those of channels and of frames in two: group, and what is in it.
        order: Brings them to (N, P, G_time, G_channel, K...), and back.
    """

    def __init__(self, shape: Ints, sizes: Ints, order: Ints) -> None:
        self.shape, self.sizes, self.order = shape, sizes, order
        self.sizes_of_rows = tuple(sizes[axis] for axis in order)

    def rows(self, z: Tensor, mix: Tensor) -> Tensor:
        """Return (N*P, G, K): the rows that each matrix mixes. Frames outside: no copy."""
        side_by_side = z.view(self.sizes).permute(self.order).contiguous()
        return side_by_side.view(*mix.shape[:2], -1)

    def map(self, rows: Tensor) -> Tensor:
        """Return the map of such rows."""
        return rows.view(self.sizes_of_rows).permute(self.order).contiguous().view(self.shape)


@lru_cache(maxsize=512)
def _mixing(
    plan: CopyPlan, shape: torch.Size, channel_axis: int, device: torch.device
) -> tuple[Tensor, _Layout] | None:
    """Return the basis of a layer's matrices, and how to lay its maps out for them."""
    if not plan.has_groups:
        return None
    num_groups = plan.channel_factors[-1]
    channels = (num_groups, plan.num_kept)
    frames = (plan.num_frames // plan.num_frame_groups, plan.num_frame_groups)
    places = math.prod(shape) // (shape[0] * plan.num_channels * plan.num_frames)
    sizes, order = {
        1: ((*channels, *frames, places), (0, 3, 4, 1, 2, 5)),
        2: ((*frames, *channels, places), (0, 1, 2, 3, 4, 5)),
        4: ((*frames, places, *channels), (0, 1, 2, 4, 3, 5)),
    }[channel_axis]
    whole = list(shape)
    whole[channel_axis] += plan.num_missing
    return basis_of(plan, device), _Layout(tuple(whole), (shape[0], *sizes), order)


class _Blend(torch.autograd.Function):
    """Both axes by one matrix for each clip and period of frames."""

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, channel: Tensor, time: Tensor, basis: Tensor, layout: _Layout
    ) -> Tensor:
        mix = matrices(channel, time, basis)
        ctx.save_for_backward(z, channel, time, mix, basis)
        ctx.layout = layout
        return layout.map(torch.bmm(mix, layout.rows(z, mix)))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        z, channel, time, mix, basis = ctx.saved_tensors
        layout: _Layout = ctx.layout
        dy = layout.rows(grads[0].contiguous(), mix)
        dz = layout.map(torch.bmm(mix.mT, dy))
        if not any(ctx.needs_input_grad[1:3]):
            return dz, None, None, None, None
        products = torch.bmm(dy, layout.rows(z, mix).mT)
        return dz, *gradients(products, channel, time, basis), None, None


def matrices(channel: Tensor, time: Tensor, basis: Tensor) -> Tensor:
    """Return (N*P, G, G): for each clip and period its weights' sum of the basis (S, P, G, G)."""
    pairs = (channel[:, :, None] * time[:, None, :]).flatten(1)
    return (pairs @ basis.flatten(1)).view(-1, *basis.shape[2:])


def gradients(
    products: Tensor, channel: Tensor, time: Tensor, basis: Tensor
) -> tuple[Tensor, Tensor]:
    """Return those of the weights, given the one of `matrices`."""
    num_clips, num_channel = channel.shape
    pairs = (products.view(num_clips, -1) @ basis.flatten(1).T).view(num_clips, num_channel, -1)
    d_channel = torch.bmm(pairs, time[:, :, None])[:, :, 0]
    return d_channel, torch.bmm(channel[:, None], pairs)[:, 0]


@lru_cache(maxsize=512)
def basis_of(plan: CopyPlan, device: torch.device) -> Tensor:
    """What a layer's matrices are sums of, one for each pair of branches.

    Returns:
        (S_channel * S_time, P, G, G), frames outside, G = G_time * G_channel.
    """
    channels = _sources("channel", plan.channel_factors, plan.channel_factors[-1])
    joint = torch.einsum("tpab,scd->stpacbd", _frames(plan), channels)
    num_groups = plan.num_frame_groups * plan.channel_factors[-1]
    return joint.reshape(-1, joint.shape[2], num_groups, num_groups).to(device)


def _frames(plan: CopyPlan) -> Tensor:
    """Return (S, P, G, G) of groups of frames, period by period."""
    period = plan.num_frame_groups
    num_periods = plan.num_frames // period
    kept_first = _sources("time", plan.time_factors, period)[:, None]
    if not plan.mirrored:
        return kept_first.expand(-1, num_periods, -1, -1)
    first = first_frames(plan.num_frames, period) // period
    kept_last = kept_first.flip(2, 3)
    return torch.cat([kept_first] * first + [kept_last] * (num_periods - first), 1)


def _sources(axis: Axis, factors: Ints, num: int) -> Tensor:
    """Return ones at [branch, group, source]: which of `num` groups is copied."""
    sources = torch.zeros(len(factors), num, num)
    for branch, factor in enumerate(factors):
        for group in range(num):
            kept = group % (num // factor) if axis == "channel" else group - group % factor
            sources[branch, group, kept] = 1
    return sources
