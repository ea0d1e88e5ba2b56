"""Passes over a map that PyTorch takes several for, compiled for the processor by Numba. Ours.

At paper scale these are what a clip costs beside its convolutions, and a route saves little of it.
Numbers in bfloat16 are read as the upper half of a float32 and rounded back as PyTorch rounds them.
On other devices, and in other types, PyTorch does the same in its own passes.

Shape legend: as in `values`; R rows of data.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numba import njit, types
from numba.extending import overload
from torch import Tensor

from .packed import rectify

Array = npt.NDArray[np.float32]

NUM_COLOURS = 3
NARROW = 32
"""Up to so many channels a whole line of pixels is summed at once, so that vectors are full."""

# sums may be added up in any order, numbers that are none stay so
_compiled = njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})


def is_compiled(x: Tensor) -> bool:
    """Return whether the compiled passes are for such a tensor."""
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16)


def channels_last(x_TCHW: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a clip, frames first in any memory layout, as (T, H, W, C), contiguous."""
    num_frames, channels, height, width = x_TCHW.shape
    if channels != NUM_COLOURS or x_TCHW.dtype != torch.float32 or x_TCHW.stride()[2:] != (width, 1):
        return x_TCHW.permute(0, 2, 3, 1).to(dtype).contiguous()
    y = torch.empty(num_frames, height, width, channels, dtype=dtype, device=x_TCHW.device)
    if not is_compiled(y):
        return y.copy_(x_TCHW.permute(0, 2, 3, 1))
    planes = x_TCHW.flatten(2).numpy()
    _interleave(planes[:, 0], planes[:, 1], planes[:, 2], _array(y).reshape(num_frames, -1))
    return y


def add_(into: Tensor, y: Tensor, factor: float, *, relu: bool) -> None:
    """Add a map to every place that it stands for, in place.

    Args:
        into: (R, places of a frame, pixels, places of a channel, C').
        y: (R, pixels, C').
        factor: What `y` is multiplied by.
        relu: ReLU after that.
    """
    if is_compiled(into):
        _add(_array(into), _array(y), factor, relu)
        return
    into.add_(y[:, None, :, None], alpha=factor)
    if relu:
        rectify(into)


def frame_sums(data: Tensor, stride: int) -> Array:
    """Sum each row of data over every so many rows and columns of pixels: (R, C')."""
    if not is_compiled(data):
        seen = data[:, ::stride, ::stride]
        elsewhere: Array = seen.sum((1, 2), dtype=torch.float32).cpu().numpy()
        return elsewhere
    sums = np.zeros((data.shape[0], data.shape[3]), np.float32)
    _sum(_array(data), stride, sums)
    return sums


def _array(x: Tensor) -> npt.NDArray[Any]:
    """The same memory for Numba, which knows no bfloat16: its bits."""
    return x.view(torch.int16).numpy().view(np.uint16) if x.dtype == torch.bfloat16 else x.numpy()


def _number(x: Any) -> Any:
    """A number of a map, as float32."""
    raise NotImplementedError


def _like(value: Any, x: Any) -> Any:
    """A float32 in the type of a number of a map."""
    raise NotImplementedError


@overload(_number, strict=False)
def _compile_number(x: Any) -> Any:
    if x == types.uint16:
        return lambda x: np.uint32(np.uint32(x) << np.uint32(16)).view(np.float32)
    return lambda x: x


@overload(_like, strict=False)
def _compile_like(value: Any, x: Any) -> Any:
    if x != types.uint16:
        return lambda value, x: value

    def to_nearest_even(value: Any, x: Any) -> Any:
        bits = np.float32(value).view(np.uint32)
        is_odd = np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(1))
        upper = np.uint32(np.uint32(bits + np.uint32(0x7FFF) + is_odd) >> np.uint32(16))
        return np.uint16(upper) if value == value else np.uint16(0x7FC0)

    return to_nearest_even


@_compiled
def _interleave(red: Any, green: Any, blue: Any, into: Any) -> None:
    num_frames, num_pixels = red.shape
    for t in range(num_frames):
        r, g, b, y = red[t], green[t], blue[t], into[t]
        for n in range(num_pixels):
            y[3 * n] = _like(r[n], y[0])
            y[3 * n + 1] = _like(g[n], y[0])
            y[3 * n + 2] = _like(b[n], y[0])


@_compiled
def _add(into: Any, y: Any, factor: float, relu: bool) -> None:
    rows, times, pixels, groups, channels = into.shape
    scale = np.float32(factor)
    least = np.float32(0) if relu else np.float32(-np.inf)
    for row in range(rows):
        for time in range(times):
            for pixel in range(pixels):
                read = y[row, pixel]
                for group in range(groups):
                    written = into[row, time, pixel, group]
                    for c in range(channels):
                        total = _number(written[c]) + scale * _number(read[c])
                        written[c] = _like(least if total < least else total, written[c])


@_compiled
def _sum_lines(lines: Any, sums: Any) -> None:
    rows, height, length = lines.shape
    channels = sums.shape[1]
    line = np.empty(length, np.float32)
    for row in range(rows):
        line[:] = 0
        for i in range(height):
            read = lines[row, i]
            for n in range(length):
                line[n] += _number(read[n])
        for n in range(length):
            sums[row, n % channels] += line[n]


@_compiled
def _sum(data: Any, stride: int, sums: Any) -> None:
    rows, height, width, channels = data.shape
    if stride == 1 and channels <= NARROW:
        _sum_lines(data.reshape(rows, height, width * channels), sums)
        return
    together = 4 * stride  # so that sums are fetched and put back for four pixels at once
    whole = width - width % together
    for row in range(rows):
        total = sums[row]
        for i in range(0, height, stride):
            line = data[row, i]
            for j in range(0, whole, together):
                first, second = line[j], line[j + stride]
                third, fourth = line[j + 2 * stride], line[j + 3 * stride]
                for c in range(channels):
                    total[c] += (_number(first[c]) + _number(second[c])) + (
                        _number(third[c]) + _number(fourth[c])
                    )
            for j in range(whole, width, stride):
                read = line[j]
                for c in range(channels):
                    total[c] += _number(read[c])


@_compiled
def excite(
    seen: Array,
    squeeze: Array,
    squeeze_bias: Array,
    norm_size: int,
    norm_eps: float,
    norm_weight: Array,
    norm_bias: Array,
    weight: Array,
    bias: Array,
) -> Array:
    """Return what gates say of what they see, before it is cut at zero.

    Args:
        seen: (K,) numbers.
        squeeze: (D, K), the first layers of all gates.
        squeeze_bias: (D,); both so that hidden units add up to zero where they are normalised.
        norm_size: Hidden units of a gate; 0: they are not normalised.
        norm_eps: As in `torch.nn.LayerNorm`.
        norm_weight: (D,).
        norm_bias: (D,).
        weight: (S, D), the second layers.
        bias: (S,).
    """
    num_hidden, num_seen = squeeze.shape
    hidden = np.empty(num_hidden, np.float32)
    for d in range(num_hidden):
        row, total = squeeze[d], np.float32(0)
        for k in range(num_seen):
            total += row[k] * seen[k]
        hidden[d] = total + squeeze_bias[d]
    if norm_size > 0:
        for start in range(0, num_hidden, norm_size):
            square = np.float32(0)
            for d in range(start, start + norm_size):
                square += hidden[d] * hidden[d]
            factor = np.float32(1 / math.sqrt(square / norm_size + norm_eps))
            for d in range(start, start + norm_size):
                hidden[d] = hidden[d] * factor * norm_weight[d] + norm_bias[d]
    for d in range(num_hidden):
        hidden[d] = math.tanh(hidden[d])
    u = np.empty(len(bias), np.float32)
    for s in range(len(bias)):
        total = bias[s]
        for d in range(num_hidden):
            total += weight[s, d] * hidden[d]
        u[s] = math.tanh(total)
    return u
