"""Normalise, activate and blend copies in one pass, and keep one map less for it. Ours.

Training keeps what goes into a batch normalisation and what goes into the next convolution. A blend
between the two would keep its own input as well, for the gradients of the gate's weights. Here that
is made again in the backward, where it is used, from the statistics of the batch: less memory, and
fewer passes over it, which is what small maps cost. Each period of a clip is for itself.

Shape legend: N clips, C channels; R rows of a map, images or clips, of K numbers; P periods of
frames, Q = N * P; S branches, G groups of frames and channels, L numbers of a group in one period
of a clip.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from ..compiled import Array, add_scaled, compiled, dot
from ..copies import CopyPlan, basis_of


class Blend(NamedTuple):
    """What is fixed about the blend of one layer's map.

    Args:
        basis: (S_channel, S_time, P * G * G), each pair of branches' matrices side by side.
        starts: (Q, G), where the first number of each group lies in memory.
        lengths: (G,), how many there are: L, or less where an odd number of channels leaves a gap.
        told: Where these lie; `run`, how many numbers of a group lie side by side, and `next_run`,
            from there to where the next lie; and sizes: see `told.Told`.
    """

    basis: Array
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    told: dict[str, int]


class Groups(NamedTuple):
    """Where the numbers of each group lie: see `Blend`."""

    starts: Any
    lengths: Any
    run: int
    next_run: int


class Activation(NamedTuple):
    """What normalisation and activation make of each number.

    Args:
        affine: (2, groups of channels, L), scale and shift.
        least: The least that the activation gives.
    """

    affine: Any
    least: Any


@lru_cache(maxsize=512)
def blend_of(plan: CopyPlan, shape: torch.Size, *, is_last: bool = False) -> Blend:
    """Return it for a map (N*T, C, H, W), or (N, C, T, H, W), whose channels may lie last."""
    size, has_frames_inside = shape[-2] * shape[-1], len(shape) == 5
    num_frames, num_channels = plan.num_frames, plan.num_channels
    if is_last:
        next_frame, next_channel = num_channels * size, 1
        run, next_run = plan.num_kept, num_channels
    elif has_frames_inside:
        next_frame, next_channel = size, num_frames * size
        run, next_run = size, next_channel
    else:
        next_frame, next_channel = num_channels * size, size
        run, next_run = plan.num_kept * size, 0
    num_clips = math.prod(shape) // (num_frames * num_channels * size)
    firsts = np.arange(plan.channel_factors[-1]) * plan.num_kept
    frames = np.arange(num_frames).reshape(-1, plan.num_frame_groups)
    starts = np.add.outer(
        np.arange(num_clips) * num_frames * num_channels * size,
        np.add.outer(frames * next_frame, firsts * next_channel),
    )
    starts = np.ascontiguousarray(starts.reshape(-1, plan.num_frame_groups * len(firsts)))
    lengths = np.tile(
        np.minimum(plan.num_kept, num_channels - firsts) * size, plan.num_frame_groups
    )
    basis = basis_of(plan, torch.device("cpu")).contiguous().numpy()
    told = {
        "basis": basis.ctypes.data,
        "starts": starts.ctypes.data,
        "lengths": lengths.ctypes.data,
        "run": run,
        "next_run": next_run,
        "pixels": math.prod(shape[1:]) // num_channels if is_last else 0,
        "num_channel_groups": len(firsts),
        "num_periods": len(starts),
        "num_groups": len(lengths),
        "group_size": int(lengths[0]),
        "num_clips": num_clips,
        "num_rows": shape[0],
        "num_numbers": math.prod(shape[1:]),
        "num_channels": num_channels,
        "num_channel_branches": len(plan.channel_factors),
        "num_time_branches": len(plan.time_factors),
    }
    return Blend(basis, starts, lengths, told)


@compiled
def put_affine(weight: Any, bias: Any, found: Any, first: int, end: int, affine: Any) -> None:
    """Put down scale and shift of each number of some channels.

    Args:
        weight: (C,), of the batch normalisation; ones where there is none.
        bias: Likewise; zeros where there is none.
        found: (3, C), its statistics.
        first: Of the channels to do.
        end: Where they end.
        affine: (2, groups of channels, channels of a group, numbers of a channel).
    """
    for c in range(first, end):
        scale = weight[c] * found[2, c]
        group, channel = c // affine.shape[2], c % affine.shape[2]
        affine[0, group, channel] = scale
        affine[1, group, channel] = bias[c] - found[0, c] * scale


@compiled
def blend_periods(
    u: Any, activation: Any, groups: Any, mix: Any, first: int, end: int, y: Any
) -> None:
    """Put into `y` what normalisation, activation and blend make of some periods of a map.

    Args:
        u: What the convolution made, all numbers in a row.
        activation: `Activation`.
        groups: `Groups`.
        mix: (Q, G, G), matrices of the blend.
        first: Of the periods to do.
        end: Where they end.
        y: As `u`.
    """
    z = _room(groups)
    for q in range(first, end):
        _activate(u, activation, groups, q, z)
        for group in range(len(z)):
            _sum(mix[q, group], z, groups, q, group, y)


@compiled
def unblend_periods(
    u: Any,
    activation: Any,
    groups: Any,
    mix: Any,
    dy: Any,
    learns: bool,
    first: int,
    end: int,
    du: Any,
    products: Any,
) -> None:
    """Put the gradient for what was normalised into `du`, given `dy`; see `blend_periods`.

    Args:
        u: See there, as for the next three.
        activation: See above.
        groups: See above.
        mix: See above.
        dy: As `u`.
        learns: Whether weights have a gradient.
        first: Of the periods to do.
        end: Where they end.
        du: As `u`.
        products: (Q, G, G), the gradient of the matrices, if `learns`.
    """
    z, d = _room(groups), _room(groups)
    back = np.empty_like(mix[0])
    for q in range(first, end):
        _activate(u, activation, groups, q, z)
        for group in range(len(d)):
            _gather(dy, groups, q, group, d)
        _transpose(mix[q], back)
        for group in range(len(d)):
            if learns:
                for source in range(len(z)):
                    products[q, group, source] = dot(d[group], z[source])
            _sum(back[group], d, groups, q, group, du)
            _mask(z[group], activation.least, groups, q, group, du)


@compiled
def _room(groups: Any) -> Any:
    """Zeros for the numbers of a period, (G, L)."""
    return np.zeros((len(groups.lengths), groups.lengths[0]), np.float32)


@compiled
def _transpose(matrix: Any, into: Any) -> None:
    for row in range(len(matrix)):
        for column in range(len(matrix)):
            into[column, row] = matrix[row, column]


@compiled
def put_matrices(channel: Any, time: Any, basis: Any, first: int, end: int, mix: Any) -> None:
    """As `copies.matrices`, of some clips: (Q, G, G)."""
    by_clip = mix.reshape(len(channel), -1)
    for n in range(first, end):
        by_clip[n] = 0
        for c in range(channel.shape[1]):
            for t in range(time.shape[1]):
                add_scaled(channel[n, c] * time[n, t], basis[c, t], by_clip[n])


@compiled
def add_gradients(
    products: Any, channel: Any, time: Any, basis: Any, d_channel: Any, d_time: Any
) -> None:
    """As `copies.gradients`, in addition to what is there."""
    by_clip = products.reshape(len(channel), -1)
    for n in range(len(channel)):
        for c in range(channel.shape[1]):
            for t in range(time.shape[1]):
                of_pair = dot(by_clip[n], basis[c, t])
                d_channel[n, c] += of_pair * time[n, t]
                d_time[n, t] += of_pair * channel[n, c]


@compiled
def _gather(x: Any, groups: Any, q: int, group: int, rows: Any) -> None:
    """Read a group of a period into its row."""
    start, length, run = groups.starts[q, group], groups.lengths[group], groups.run
    for first in range(0, length, run):
        into = rows[group, first : min(first + run, length)]
        read = x[start : start + len(into)]
        for n in range(len(into)):
            into[n] = read[n]
        start += groups.next_run


@compiled
def _activate(u: Any, activation: Any, groups: Any, q: int, z: Any) -> None:
    """Gather the groups of one period as they are once normalised and activated."""
    scale, shift = activation.affine[0], activation.affine[1]
    least = activation.least
    for group in range(len(z)):
        _gather(u, groups, q, group, z)
        into, c = z[group, : groups.lengths[group]], group % len(scale)
        a, b = scale[c], shift[c]
        for n in range(len(into)):
            value = a[n] * into[n] + b[n]
            into[n] = least if value < least else value


@compiled
def _sum(weights: Any, rows: Any, groups: Any, q: int, group: int, x: Any) -> None:
    """Put rows by their weights where a group of a period lies."""
    start, length, run = groups.starts[q, group], groups.lengths[group], groups.run
    for first in range(0, length, run):
        end = min(first + run, length)
        into = x[start : start + end - first]
        if len(weights) == 4:  # a pass less for each
            a, b, c, d = weights
            r0, r1 = rows[0, first:end], rows[1, first:end]
            r2, r3 = rows[2, first:end], rows[3, first:end]
            for n in range(len(into)):
                into[n] = (a * r0[n] + b * r1[n]) + (c * r2[n] + d * r3[n])
        else:
            into[:] = 0
            for source in range(len(weights)):
                add_scaled(weights[source], rows[source, first:end], into)
        start += groups.next_run


@compiled
def _mask(live: Any, least: Any, groups: Any, q: int, group: int, x: Any) -> None:
    """Put zeros where an activation had none but its least to give."""
    start, length, run = groups.starts[q, group], groups.lengths[group], groups.run
    for first in range(0, length, run):
        end = min(first + run, length)
        part, into = live[first:end], x[start : start + end - first]
        for n in range(len(into)):
            into[n] = into[n] if part[n] > least else np.float32(0)
        start += groups.next_run
