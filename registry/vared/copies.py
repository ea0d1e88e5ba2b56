"""Blend copies on both axes at once: small matrices in place of passes over feature maps. Ours.

Shape legend: N clips, S branches, G groups of channels or frames.
"""

from __future__ import annotations

import torch
from torch import Tensor

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
) -> Tensor | None:
    """Blend all branches of both axes, as products with one small matrix a clip.

    A blend of copies is linear in groups of channels and of frames, so that training needs one
    matrix product forward and two backward instead of a dozen passes over the feature map.

    Args:
        z: The full computation, five axes.
        sources: Of channels and of frames, (S, G, G) each: see `copy_sources`.
        weights: (N, S_channel) and (N, S_time).
        channel_axis: 1 (NCTHW) or 2 (NTCHW).

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
    if channel_axis == 2:
        return _blend_ntchw(z, channels, frames)
    return _blend_ncthw(z, channels, frames)


def _blend_ntchw(z: Tensor, channels_NGG: Tensor, frames_NGG: Tensor) -> Tensor:
    """One product for both axes: groups of frames and of channels lie side by side in memory."""
    num_groups = channels_NGG.shape[1] * frames_NGG.shape[1]
    mix = torch.einsum("nab,ncd->nacbd", frames_NGG, channels_NGG)
    mix = mix.reshape(len(z), 1, num_groups, num_groups)
    parts = z.reshape(len(z), z.shape[1] // frames_NGG.shape[1], num_groups, -1)
    return (mix @ parts).view(z.shape)


def _blend_ncthw(z: Tensor, channels_NGG: Tensor, frames_NGG: Tensor) -> Tensor:
    """Channels first, then all frames of a channel by one matrix, groups on its diagonal."""
    num_frames, num_groups = z.shape[2], frames_NGG.shape[1]
    if channels_NGG.shape[1] > 1:
        parts = z.reshape(len(z), channels_NGG.shape[1], -1)
        z = (channels_NGG @ parts).view(z.shape)
    if num_groups > 1:
        repeats = torch.eye(num_frames // num_groups).to(z)
        mix = torch.einsum("ij,nab->niajb", repeats, frames_NGG)
        z = (mix.reshape(-1, 1, num_frames, num_frames) @ z.flatten(3)).view(z.shape)
    return z
