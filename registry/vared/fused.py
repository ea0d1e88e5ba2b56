"""Normalise, activate and blend copies in one pass, and keep one map less for it. Ours.

Training keeps what goes into a batch normalisation and what goes into the next convolution. A blend
between the two would keep its own input as well, for the gradients of the gate's weights. Here that
is made again in the backward, where it is used, from the statistics of the batch: less memory, and
fewer passes over it, which is what small maps cost. Compiled for one thread; with more, on other
devices and in other memory formats PyTorch's own passes do it: see `copies`.

Shape legend: N clips, T frames, C channels, H height, W width; P periods of frames, Q = N * P; G
groups of frames and channels, L numbers of a group in one period of a clip.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .compiled import compiled, dot
from .copies import CopyPlan, basis_of, gradients, matrices

NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)


def normalise_and_blend(
    u: Tensor,
    norm: Any,
    act: nn.Module | None,
    plan: CopyPlan,
    weights: tuple[Tensor, Tensor],
) -> Tensor | None:
    """Return what batch normalisation, ReLU and `blend_copies` do to a layer in training.

    Args:
        u: What its convolution makes, (N*T, C, H, W) or (N, C, T, H, W).
        norm: Its batch normalisation.
        act: Its activation, None where there is none.
        plan: Of its blend.
        weights: (N, S_channel) and (N, S_time).

    Returns:
        None where the layer, its map or the machine are not such that this is for them.
    """
    if type(norm) not in NORMS or not (act is None or type(act) is nn.ReLU):
        return None
    counts = norm.training and norm.affine and norm.track_running_stats and norm.momentum
    if not (counts and plan.has_groups and _is_compiled(u)):
        return None
    norm.num_batches_tracked.add_(1)
    y: Tensor = _Fused.apply(  # type: ignore[no-untyped-call]
        u, norm.weight, norm.bias, *weights, norm, act is not None, plan
    )
    return y


def _is_compiled(u: Tensor) -> bool:
    is_plain = u.device.type == "cpu" and u.dtype == torch.float32 and u.is_contiguous()
    return is_plain and torch.get_num_threads() == 1 and not torch.is_autocast_enabled("cpu")


class _Groups(NamedTuple):
    """Where the groups of a map lie in memory.

    Args:
        starts: (Q, G), the first number of each.
        lengths: (G,), how many there are: L, or less where an odd number of channels leaves a gap.
        run: How many of them lie side by side.
        next_run: From there to where the next lie.
    """

    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    run: int
    next_run: int


@lru_cache(maxsize=512)
def _groups(plan: CopyPlan, shape: torch.Size) -> _Groups:
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
    return _Groups(
        starts=starts.reshape(-1, plan.num_frame_groups * len(firsts)),
        lengths=np.tile(lengths, plan.num_frame_groups),
        run=size if has_frames_inside else plan.num_kept * size,
        next_run=next_channel if has_frames_inside else 0,
    )


class _Fused(torch.autograd.Function):
    """Batch normalisation, ReLU, and both axes of the blend."""

    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        weight: Tensor,
        bias: Tensor,
        channel: Tensor,
        time: Tensor,
        norm: Any,
        relu: bool,
        plan: CopyPlan,
    ) -> Tensor:
        # for its statistics; what it returns is written over
        y, mean, inverse_std = torch.native_batch_norm(
            u, weight, bias, norm.running_mean, norm.running_var, True, norm.momentum, norm.eps
        )
        scale = weight * inverse_std
        affine = torch.stack([scale, bias - mean * scale])
        mix = matrices(channel, time, basis_of(plan, u.device))
        ctx.save_for_backward(u, weight, mean, inverse_std, channel, time, affine, mix)
        ctx.options = plan, relu, norm.eps
        _blend(*(_flat(u), *_numbers(affine, relu, mix, plan, u.shape), _flat(y)))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        u, weight, *statistics, channel, time, affine, mix = ctx.saved_tensors
        plan, relu, eps = ctx.options
        dz, products = torch.empty_like(u), torch.empty_like(mix)
        learns = any(ctx.needs_input_grad[3:5])
        numbers = _numbers(affine, relu, mix, plan, u.shape)
        ends = (_flat(dy.contiguous()), _flat(dz), products.numpy(), learns)
        _unblend(*(_flat(u), *numbers, *ends))
        du, d_weight, d_bias = torch.ops.aten.native_batch_norm_backward(
            dz, u, weight, None, None, *statistics, True, eps, ctx.needs_input_grad[:3]
        )
        of_gates: tuple[Tensor | None, ...] = (None, None)
        if learns:
            of_gates = gradients(products, channel, time, basis_of(plan, u.device))
        return du, d_weight, d_bias, *of_gates, None, None, None


def _numbers(
    affine: Tensor, relu: bool, mix: Tensor, plan: CopyPlan, shape: torch.Size
) -> tuple[Any, ...]:
    """What the compiled passes need to make what is blended, and to find it.

    Returns:
        Scale and shift of each number of a group of channels, the least that it can become, the
        matrices, and, one by one since Numba is slow to know a tuple, where groups lie.
    """
    each = affine.numpy().repeat(shape[-2] * shape[-1], 1)
    if plan.num_missing:
        each = np.pad(each, ((0, 0), (0, plan.num_missing * shape[-2] * shape[-1])))
    least = np.float32(0 if relu else -np.inf)
    by_group = each.reshape(2, plan.channel_factors[-1], -1)
    return by_group, least, mix.numpy(), *_groups(plan, shape)


def _flat(x: Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = x.detach().view(-1).numpy()
    return array


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
    u: Any, affine: Any, least: Any, starts: Any, lengths: Any, run: int, next_run: int, z: Any
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
                weight, row = weights[group], rows[group, first:end]
                for n in range(len(into)):
                    into[n] += weight * row[n]
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


@compiled
def _blend(
    u: Any,
    affine: Any,
    least: Any,
    mix: Any,
    starts: Any,
    lengths: Any,
    run: int,
    next_run: int,
    y: Any,
) -> None:
    num_groups = len(lengths)
    z = np.zeros((num_groups, affine.shape[2]), np.float32)
    for q in range(len(mix)):
        _activate(u, affine, least, starts[q], lengths, run, next_run, z)
        for group in range(num_groups):
            start, length = starts[q, group], lengths[group]
            _sum(mix[q, group], z, length, y, start, run, next_run)


@compiled
def _unblend(
    u: Any,
    affine: Any,
    least: Any,
    mix: Any,
    starts: Any,
    lengths: Any,
    run: int,
    next_run: int,
    dy: Any,
    dz: Any,
    products: Any,
    learns: bool,
) -> None:
    """Gradients of what was blended, and, where gates learn, of the matrices."""
    num_groups = len(lengths)
    z = np.zeros((num_groups, affine.shape[2]), np.float32)
    d = np.zeros_like(z)
    for q in range(len(mix)):
        _activate(u, affine, least, starts[q], lengths, run, next_run, z)
        for group in range(num_groups):
            _gather(dy, starts[q, group], run, next_run, d[group, : lengths[group]])
        back = mix[q].T.copy()
        for group in range(num_groups):
            if learns:
                for source in range(num_groups):
                    products[q, group, source] = dot(d[group], z[source])
            start, length = starts[q, group], lengths[group]
            _sum(back[group], d, length, dz, start, run, next_run)
            _mask(z[group], least, length, dz, start, run, next_run)
