"""Blend copies on both axes at once: small matrices in place of passes over feature maps. Ours.

A blend of copies is linear in groups of channels and of frames. Training needs a product or two
forward and a few backward, and keeps nothing of it but the full computation, which its activation
kept already; what each axis alone would give is never stored.

Shape legend: N clips, S branches, G groups of channels or frames, P periods of frames, L length of
an axis, K what is left of a clip; z has five axes, clips first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from .frames import first_frames
from .moves import Factors, Moves, channel_moves, frame_moves
from .settings import Axis


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

    channel_factors: Factors
    time_factors: Factors
    num_channels: int
    num_frames: int
    mirrored: bool


def blend_copies(
    z: Tensor, plan: CopyPlan, weights: tuple[Tensor, Tensor], channel_axis: int
) -> Tensor | None:
    """Return the sum over channel branches, then over time branches, in the shape of z.

    Args:
        z: The full computation.
        plan: Of its layer.
        weights: (N, S_channel) and (N, S_time).
        channel_axis: 1 (NCTHW) or 2 (NTCHW).

    Returns:
        None where a number of groups does not divide its axis, and in mixed precision.
    """
    if plan.num_channels % plan.channel_factors[-1] or plan.num_frames % plan.time_factors[-1]:
        return None
    if z.dtype != torch.float32 or torch.is_autocast_enabled(z.device.type):
        return None
    if not z.is_contiguous():
        last = z.movedim(channel_axis, -1).contiguous()
        moves = _channel_moves(plan, z.device)
        mixed: Tensor = _InTurn.apply(last, *weights[::-1], _frames(plan, z.device), moves)  # type: ignore[no-untyped-call]
        return mixed.movedim(-1, channel_axis)
    blended: Tensor
    if channel_axis == 2:
        blended = _AtOnce.apply(z, *weights, _joint(plan, z.device))  # type: ignore[no-untyped-call]
    else:
        moves = _frame_moves(plan, z.device)
        blended = _InTurn.apply(z, *weights, _channels(plan, z.device), moves)  # type: ignore[no-untyped-call]
    return blended


class _AtOnce(torch.autograd.Function):
    """Both axes by one matrix: groups of frames and of channels lie side by side in memory."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, channel: Tensor, time: Tensor, basis: Tensor) -> Tensor:
        pairs = (channel[:, :, None] * time[:, None, :]).flatten(1)
        mix = _matrices(pairs, basis)
        ctx.save_for_backward(z, channel, time, mix, basis)
        return torch.bmm(mix, _rows(z, mix)).view(z.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        z, channel, time, mix, basis = ctx.saved_tensors
        dy = _rows(grads[0].contiguous(), mix)
        dz = torch.bmm(mix.mT, dy).view(z.shape)
        if not any(ctx.needs_input_grad[1:3]):
            return dz, None, None, None
        pairs = _weights_of(torch.bmm(dy, _rows(z, mix).mT), basis, len(z))
        pairs = pairs.view(len(z), channel.shape[1], time.shape[1])
        d_channel = torch.bmm(pairs, time[:, :, None])[:, :, 0]
        return dz, d_channel, torch.bmm(channel[:, None], pairs)[:, 0], None


class _InTurn(torch.autograd.Function):
    """One axis by matrices, then the other by moves along it.

    The axis of the matrices is the outer one in memory, frames or channels; `moves` knows the other
    axis. Both commute, so that no gradient needs what lies between them.
    """

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, outer: Tensor, inner: Tensor, basis: Tensor, moves: Moves
    ) -> Tensor:
        mix = _matrices(outer, basis)
        ctx.save_for_backward(z, inner, mix, basis)
        ctx.moves = moves
        return moves.blend(torch.bmm(mix, _rows(z, mix)).view(z.shape), inner)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        z, inner, mix, basis = ctx.saved_tensors
        dy = grads[0].contiguous()
        between = _rows(ctx.moves.blend_back(dy, inner), mix)
        dz = torch.bmm(mix.mT, between).view(z.shape)
        d_outer = d_inner = None
        if ctx.needs_input_grad[1]:
            d_outer = _weights_of(torch.bmm(between, _rows(z, mix).mT), basis, len(z))
        if ctx.needs_input_grad[2]:
            d_inner = ctx.moves.dots(torch.bmm(mix.mT, _rows(dy, mix)).view(z.shape), z)
        return dz, d_outer, d_inner, None, None


def _matrices(weights_NS: Tensor, basis: Tensor) -> Tensor:
    """Return (N*P, G, G): for each clip and period its weights' sum of the basis (S, P, G, G)."""
    return (weights_NS @ basis.flatten(1)).view(-1, *basis.shape[2:])


def _weights_of(matrices: Tensor, basis: Tensor, num_clips: int) -> Tensor:
    """Return (N, S), the transpose of `_matrices`."""
    return matrices.view(num_clips, -1) @ basis.flatten(1).T


def _rows(z: Tensor, mix: Tensor) -> Tensor:
    """Return (N*P, G, K): contiguous z as the rows that each matrix mixes."""
    return z.view(*mix.shape[:2], -1)


@lru_cache(maxsize=512)
def _joint(plan: CopyPlan, device: torch.device) -> Tensor:
    """Basis (S_channel * S_time, P, G, G) of both axes, frames outside, G = G_time * G_channel."""
    frames, channels = _frames(plan, device), _channels(plan, device)[:, 0]
    joint = torch.einsum("tpab,scd->stpacbd", frames, channels)
    num_groups = frames.shape[2] * channels.shape[1]
    return joint.reshape(-1, frames.shape[1], num_groups, num_groups)


@lru_cache(maxsize=512)
def _channels(plan: CopyPlan, device: torch.device) -> Tensor:
    """Basis (S, 1, G, G) of groups of channels."""
    return _sources("channel", plan.channel_factors, device)[:, None]


@lru_cache(maxsize=512)
def _frames(plan: CopyPlan, device: torch.device) -> Tensor:
    """Basis (S, P, G, G) of groups of frames, period by period."""
    period = plan.time_factors[-1]
    num_periods = plan.num_frames // period
    kept_first = _sources("time", plan.time_factors, device)[:, None]
    if not plan.mirrored:
        return kept_first.expand(-1, num_periods, -1, -1)
    first = first_frames(plan.num_frames, period) // period
    kept_last = kept_first.flip(2, 3)
    return torch.cat([kept_first] * first + [kept_last] * (num_periods - first), 1)


@lru_cache(maxsize=512)
def _channel_moves(plan: CopyPlan, device: torch.device) -> Moves:
    return channel_moves(plan.num_channels, plan.channel_factors, device)


@lru_cache(maxsize=512)
def _frame_moves(plan: CopyPlan, device: torch.device) -> Moves:
    return frame_moves(plan.num_frames, plan.time_factors, device, mirrored=plan.mirrored)


def _sources(axis: Axis, factors: Factors, device: torch.device) -> Tensor:
    """Return ones at [branch, group, source]: the group of channels or frames that is copied."""
    num = factors[-1]
    sources = torch.zeros(len(factors), num, num, device=device)
    for branch, factor in enumerate(factors):
        for group in range(num):
            kept = group % (num // factor) if axis == "channel" else group - group % factor
            sources[branch, group, kept] = 1
    return sources
