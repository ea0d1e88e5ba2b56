"""Blend copies on both axes at once: small matrices in place of passes over feature maps. Ours.

Shape legend: N clips, S branches, G groups of channels or frames, P periods of frames.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .frames import first_frames
from .settings import Axis


def copy_sources(axis: Axis, factors: tuple[int, ...]) -> Tensor:
    """Return ones at [branch, group, source]: the group of channels or frames that is copied."""
    num = factors[-1]
    sources = torch.zeros(len(factors), num, num)
    for branch, factor in enumerate(factors):
        for group in range(num):
            kept = group % (num // factor) if axis == "channel" else group - group % factor
            sources[branch, group, kept] = 1
    return sources


def blend_copies(
    z: Tensor,
    sources: tuple[Tensor, Tensor],
    weights: tuple[Tensor, Tensor],
    channel_axis: int,
    *,
    mirrored: bool,
) -> Tensor | None:
    """Blend all branches of both axes, as products with one small matrix a clip.

    A blend of copies is linear in groups of channels and of frames, so that training needs one
    matrix product forward and two backward instead of a dozen passes over the feature map.

    Args:
        z: The full computation, five axes.
        sources: Of channels and of frames, (S, G, G) each: see `copy_sources`.
        weights: (N, S_channel) and (N, S_time).
        channel_axis: 1 (NCTHW) or 2 (NTCHW).
        mirrored: Which frames are kept: see `frames`.

    Returns:
        The sum over channel branches, then over time branches; None where a number of groups does
        not divide its axis.
    """
    groups = (sources[0].shape[1], sources[1].shape[1])
    sizes = (z.shape[channel_axis], z.shape[3 - channel_axis])
    if any(size % group for size, group in zip(sizes, groups, strict=True)):
        return None
    channels = torch.einsum("ns,sgh->ngh", weights[0], sources[0].to(z))
    frames = torch.einsum("ns,sgh->ngh", weights[1], sources[1].to(z))
    frames = _over_periods(frames, sizes[1], mirrored)
    if channel_axis == 2:
        return _blend_ntchw(z, channels, frames)
    return _blend_ncthw(z, channels, frames)


def _over_periods(frames_NGG: Tensor, num_frames: int, mirrored: bool) -> Tensor:
    """Return (N, P, G, G): one matrix for all periods (P = 1), or one for each, mirrored."""
    if not mirrored:
        return frames_NGG[:, None]
    period = frames_NGG.shape[1]
    first = first_frames(num_frames, period) // period
    flipped = frames_NGG.flip(1, 2)
    return torch.stack([frames_NGG] * first + [flipped] * (num_frames // period - first), 1)


def _blend_ntchw(z: Tensor, channels_NGG: Tensor, frames_NPGG: Tensor) -> Tensor:
    """One product for both axes: groups of frames and of channels lie side by side in memory."""
    period = frames_NPGG.shape[2]
    num_groups = channels_NGG.shape[1] * period
    mix = torch.einsum("npab,ncd->npacbd", frames_NPGG, channels_NGG)
    mix = mix.reshape(len(z), -1, num_groups, num_groups)
    parts = z.reshape(len(z), z.shape[1] // period, num_groups, -1)
    return (mix @ parts).view(z.shape)


def _blend_ncthw(z: Tensor, channels_NGG: Tensor, frames_NPGG: Tensor) -> Tensor:
    """Channels first, then all frames of a channel by one matrix, groups on its diagonal."""
    num_frames, num_groups = z.shape[2], frames_NPGG.shape[2]
    if channels_NGG.shape[1] > 1:
        parts = z.reshape(len(z), channels_NGG.shape[1], -1)
        z = (channels_NGG @ parts).view(z.shape)
    if num_groups > 1:
        repeats = torch.eye(num_frames // num_groups).to(z)
        each = frames_NPGG.expand(-1, len(repeats), -1, -1)
        mix = torch.einsum("ij,niab->niajb", repeats, each)
        z = (mix.reshape(-1, 1, num_frames, num_frames) @ z.flatten(3)).view(z.shape)
    return z
