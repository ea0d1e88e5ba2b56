"""Normalise, activate and blend copies in one pass, and keep one map less for it. Ours.

Training keeps what goes into a batch normalisation and what goes into the next convolution. A blend
between the two would keep its own input as well, for the gradients of the gate's weights. Here that
is made again in the backward, where it is used, from the statistics of the batch: less memory, and
fewer passes over it, which is what small maps cost. What compiled passes take comes one by one,
since Numba is slow to know a tuple.

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
from .normalisation import by_number, remember, statistics, unnormalise


class Blend(NamedTuple):
    """What is fixed about the blend of one layer's map: see `blend_of`.

    Args:
        basis: (S_channel, S_time, P * G * G), each pair of branches' matrices side by side.
        starts: (Q, G), where the first number of each group lies in memory.
        lengths: (G,), how many there are: L, or less where an odd number of channels leaves a gap.
        run: How many of them lie side by side.
        next_run: From there to where the next lie.
        num_channel_groups: Of the G, those that differ in their channels.
    """

    basis: Array
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    run: int
    next_run: int
    num_channel_groups: int


@lru_cache(maxsize=512)
def blend_of(plan: CopyPlan, shape: torch.Size) -> Blend:
    """Return it for a map (N*T, C, H, W), or (N, C, T, H, W)."""
    size, has_frames_inside = shape[-2] * shape[-1], len(shape) == 5
    num_frames, num_channels = plan.num_frames, plan.num_channels
    next_frame, next_channel = (
        (size, num_frames * size) if has_frames_inside else (num_channels * size, size)
    )
    firsts = np.arange(plan.channel_factors[-1]) * plan.num_kept
    clips = np.arange(math.prod(shape) // (num_frames * num_channels * size))
    frames = np.arange(num_frames).reshape(-1, plan.num_frame_groups)
    starts = np.add.outer(
        clips * num_frames * num_channels * size,
        np.add.outer(frames * next_frame, firsts * next_channel),
    )
    lengths = np.minimum(plan.num_kept, num_channels - firsts) * size
    basis = basis_of(plan, torch.device("cpu"))
    return Blend(
        basis=basis.reshape(len(plan.channel_factors), len(plan.time_factors), -1).numpy(),
        starts=starts.reshape(-1, plan.num_frame_groups * len(firsts)),
        lengths=np.tile(lengths, plan.num_frame_groups),
        run=size if has_frames_inside else plan.num_kept * size,
        next_run=next_channel if has_frames_inside else 0,
        num_channel_groups=len(firsts),
    )


@compiled
def normalise_and_blend(
    rows: Any,
    weight: Any,
    bias: Any,
    least: Any,
    channel: Any,
    time: Any,
    basis: Any,
    starts: Any,
    lengths: Any,
    run: int,
    next_run: int,
    num_channel_groups: int,
    normalises: bool,
    running_mean: Any,
    running_variance: Any,
    momentum: float,
    eps: float,
    y: Any,
) -> Any:
    """Put into `y` what normalisation, activation and blend make of a map.

    Args:
        rows: (R, K), what the convolution made.
        weight: Of the batch normalisation; ones where there is none.
        bias: Likewise; zeros where there is none.
        least: The least that the activation gives.
        channel: (N, S_channel), weights of a gate.
        time: (N, S_time).
        basis: This and the next five: see `Blend`.
        starts: See above.
        lengths: See above.
        run: See above.
        next_run: See above.
        num_channel_groups: See above.
        normalises: Whether there is a normalisation.
        running_mean: Of it, as the next three; taken on by a step, as is the next.
        running_variance: See above.
        momentum: See above.
        eps: See above.
        y: (R, K).

    Returns:
        Statistics of each channel (3, C), and the matrices of the blend (Q, G, G).
    """
    if normalises:
        found = statistics(rows, len(weight), eps)
        remember(found, rows.size // len(weight), momentum, running_mean, running_variance)
    else:
        found = np.zeros((3, len(weight)), np.float32)
        found[2] = 1
    mix = _matrices(channel, time, basis, *starts.shape)
    u, flat = rows.reshape(-1), y.reshape(-1)
    num_groups = len(lengths)
    z = np.zeros((num_groups, lengths[0]), np.float32)
    affine = _affine(weight, bias, found, num_channel_groups, lengths[0])
    for q in range(len(mix)):
        _activate(u, affine, least, starts[q], lengths, run, next_run, z)
        for group in range(num_groups):
            start, length = starts[q, group], lengths[group]
            _sum(mix[q, group], z, length, flat, start, run, next_run)
    return found, mix


@compiled
def unblend_and_unnormalise(
    rows: Any,
    weight: Any,
    bias: Any,
    least: Any,
    channel: Any,
    time: Any,
    basis: Any,
    starts: Any,
    lengths: Any,
    run: int,
    next_run: int,
    num_channel_groups: int,
    normalises: bool,
    found: Any,
    mix: Any,
    dy: Any,
    learns: bool,
    du: Any,
) -> Any:
    """Put the gradient of `normalise_and_blend` for its map into `du`, given `dy`, both (R, K).

    Returns:
        Those of weight and bias, and of `channel` and `time`, zeros unless `learns`.
    """
    d_weight, d_bias = np.zeros_like(weight), np.zeros_like(bias)
    d_channel, d_time = np.zeros_like(channel), np.zeros_like(time)
    u, d_flat, d_given = rows.reshape(-1), du.reshape(-1), dy.reshape(-1)
    num_groups = len(lengths)
    z = np.zeros((num_groups, lengths[0]), np.float32)
    d = np.zeros_like(z)
    products, back = np.zeros_like(mix), np.empty_like(mix[0])
    affine = _affine(weight, bias, found, num_channel_groups, lengths[0])
    for q in range(len(mix)):
        _activate(u, affine, least, starts[q], lengths, run, next_run, z)
        for group in range(num_groups):
            _gather(d_given, starts[q, group], run, next_run, d[group, : lengths[group]])
        _transpose(mix[q], back)
        for group in range(num_groups):
            if learns:
                for source in range(num_groups):
                    products[q, group, source] = dot(d[group], z[source])
            start, length = starts[q, group], lengths[group]
            _sum(back[group], d, length, d_flat, start, run, next_run)
            _mask(z[group], least, length, d_flat, start, run, next_run)
    if learns:
        _add_gradients(products, channel, time, basis, d_channel, d_time)
    if normalises:
        unnormalise(du, rows, found, weight, d_weight, d_bias)
    return d_weight, d_bias, d_channel, d_time


@compiled
def _affine(weight: Any, bias: Any, found: Any, num_channel_groups: int, length: int) -> Any:
    """Scale and shift of each number of a group of channels, (2, groups of channels, L)."""
    kept = -(-len(weight) // num_channel_groups)
    each = np.zeros((2, num_channel_groups * kept), np.float32)
    for c in range(len(weight)):
        each[0, c] = weight[c] * found[2, c]
        each[1, c] = bias[c] - found[0, c] * each[0, c]
    numbers = by_number(each.reshape(-1), 2 * num_channel_groups * length)
    return numbers.reshape(2, num_channel_groups, length)


@compiled
def _transpose(matrix: Any, into: Any) -> None:
    for row in range(len(matrix)):
        for column in range(len(matrix)):
            into[column, row] = matrix[row, column]


@compiled
def _matrices(channel: Any, time: Any, basis: Any, num_periods: int, num_groups: int) -> Any:
    """As `copies.matrices`, (Q, G, G)."""
    mix = np.zeros((len(channel), basis.shape[2]), np.float32)
    for n in range(len(channel)):
        for c in range(channel.shape[1]):
            for t in range(time.shape[1]):
                add_scaled(channel[n, c] * time[n, t], basis[c, t], mix[n])
    return mix.reshape(num_periods, num_groups, num_groups)


@compiled
def _add_gradients(
    products: Any, channel: Any, time: Any, basis: Any, d_channel: Any, d_time: Any
) -> None:
    """As `copies.gradients`."""
    by_clip = products.reshape(len(channel), -1)
    for n in range(len(channel)):
        for c in range(channel.shape[1]):
            for t in range(time.shape[1]):
                of_pair = dot(by_clip[n], basis[c, t])
                d_channel[n, c] += of_pair * time[n, t]
                d_time[n, t] += of_pair * channel[n, c]


@compiled
def _gather(x: Any, start: int, run: int, next_run: int, into: Any) -> None:
    for first in range(0, len(into), run):
        part = into[first : first + run]
        read = x[start : start + len(part)]
        for n in range(len(part)):
            part[n] = read[n]
        start += next_run


@compiled
def _activate(
    u: Any,
    affine: Any,
    least: Any,
    starts: Any,
    lengths: Any,
    run: int,
    next_run: int,
    z: Any,
) -> None:
    """Gather the groups of one period as they are once normalised and activated."""
    scale, shift = affine[0], affine[1]
    for group in range(len(lengths)):
        into, c = z[group, : lengths[group]], group % len(scale)
        _gather(u, starts[group], run, next_run, into)
        a, b = scale[c], shift[c]
        for n in range(len(into)):
            value = a[n] * into[n] + b[n]
            into[n] = least if value < least else value


@compiled
def _sum(weights: Any, rows: Any, length: int, x: Any, start: int, run: int, next_run: int) -> None:
    """Put rows by their weights where a group lies."""
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
            for group in range(len(weights)):
                add_scaled(weights[group], rows[group, first:end], into)
        start += next_run


@compiled
def _mask(live: Any, least: Any, length: int, x: Any, start: int, run: int, next_run: int) -> None:
    """Put zeros where an activation had none but its least to give."""
    for first in range(0, length, run):
        end = min(first + run, length)
        part, into = live[first:end], x[start : start + end - first]
        for n in range(len(into)):
            into[n] = into[n] if part[n] > least else np.float32(0)
        start += next_run
