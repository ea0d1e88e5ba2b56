"""Passes over a map that PyTorch takes several for, compiled for the processor by Numba. Ours.

At paper scale these are what a clip costs beside its convolutions, and a route saves little of it.
On other devices, and in other types, PyTorch does the same in its own passes.

Shape legend: as in `values`; R rows of data.
"""

from __future__ import annotations

from ctypes import Structure, byref, c_int64
from functools import cache
from typing import Any

import numpy as np
import torch
from numba import carray  # type: ignore[attr-defined]
from torch import Tensor

from ..compiled import Array, compiled, pointer
from ..team import TeamPass, share_of, team_size
from .numbers import array_of, float_of, like, number_type
from .planes import NUM_COLOURS

NARROW = 8
"""Up to so many channels whole lines of pixels are summed, so that vectors are full.

Measured in float32 on an EPYC of family 25, lines against pixels, medians of 9 runs over maps out
of the second level of caches: 32 x 56 x 56 x 8, each fourth pixel, 53 against 77 us; 32 x 14 x 14
x 16 36 against 38, x 32 71 against 41.
"""


class _Clip(Structure):
    """What a pass over a clip is told: where it lies and is to lie, sizes, and steps in numbers."""

    _fields_ = tuple(
        (name, c_int64)
        for name in ("read", "written", "num_frames", "num_pixels", "next_frame", "next_colour")
    )


def is_compiled(x: Tensor) -> bool:
    """Return whether the compiled passes are for such a tensor."""
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16)


def channels_last(x_TCHW: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a clip, frames first in any memory layout, as (T, H, W, C), contiguous."""
    num_frames, channels, height, width = x_TCHW.shape
    y = torch.empty(num_frames, height, width, channels, dtype=dtype, device=x_TCHW.device)
    has_lines = x_TCHW.stride()[2:] == (width, 1) and x_TCHW.dtype == torch.float32
    if not (has_lines and channels == NUM_COLOURS and is_compiled(y)):
        return y.copy_(x_TCHW.permute(0, 2, 3, 1))
    next_frame, next_colour, *_ = x_TCHW.stride()
    sizes = (num_frames, height * width, next_frame, next_colour)
    told = _Clip(x_TCHW.data_ptr(), y.data_ptr(), *sizes)
    _clip_pass(dtype)(byref(told), team_size(y.numel()))
    return y


def frame_sums(data: Tensor, stride: int) -> Array:
    """Sum each row of data over every so many rows and columns of pixels: (R, C')."""
    if not is_compiled(data):
        seen = data[:, ::stride, ::stride]
        elsewhere: Array = seen.sum((1, 2), dtype=torch.float32).cpu().numpy()
        return elsewhere
    sums = np.zeros((data.shape[0], data.shape[3]), np.float32)
    _sum(array_of(data), stride, sums)
    return sums


@cache
def _clip_pass(dtype: torch.dtype) -> TeamPass:
    number, layout = number_type(dtype), np.dtype(_Clip)

    def clip_pass(address: Any) -> None:
        told = carray(address, (1,), layout)[0]
        size = told.num_pixels
        into = carray(pointer(told.written), (told.num_frames, 3 * size), number)
        x = carray(
            pointer(told.read),
            ((told.num_frames - 1) * told.next_frame + 2 * told.next_colour + size,),
            np.float32,
        )
        first, end = share_of(told.num_frames)
        for t in range(first, end):
            red = x[t * told.next_frame :]
            _interleave(red, red[told.next_colour :], red[2 * told.next_colour :], into[t], size)

    return TeamPass(clip_pass)


@compiled
def _interleave(red: Any, green: Any, blue: Any, y: Any, num_pixels: int) -> None:
    for n in range(num_pixels):
        y[3 * n] = like(red[n], y[0])
        y[3 * n + 1] = like(green[n], y[0])
        y[3 * n + 2] = like(blue[n], y[0])


@compiled
def _sum_lines(frame: Any, stride: int, total: Any) -> None:
    """Add the pixels seen of (H, W, C') up in `total`, line by line, whichever of a line are."""
    height, width, channels = frame.shape
    lines, line = frame.reshape(height, width * channels), np.zeros(width * channels, np.float32)
    for i in range(0, height, stride):
        read = lines[i]
        for n in range(len(line)):
            line[n] += float_of(read[n])
    for start in range(0, len(line), stride * channels):
        for c in range(channels):
            total[c] += line[start + c]


@compiled
def _sum_pixels(frame: Any, stride: int, total: Any) -> None:
    """Add the pixels seen of (H, W, C') up in `total`, whose numbers are fetched for four."""
    height, width, channels = frame.shape
    whole = width - width % (4 * stride)
    for i in range(0, height, stride):
        read = frame[i]
        for j in range(0, whole, 4 * stride):
            first, second = read[j], read[j + stride]
            third, fourth = read[j + 2 * stride], read[j + 3 * stride]
            for c in range(channels):
                total[c] += (float_of(first[c]) + float_of(second[c])) + (
                    float_of(third[c]) + float_of(fourth[c])
                )
        for j in range(whole, width, stride):
            pixel = read[j]
            for c in range(channels):
                total[c] += float_of(pixel[c])


@compiled
def sum_frame(frame: Any, stride: int, total: Any) -> None:
    """Add the pixels seen of (H, W, C') up in `total`."""
    if frame.shape[2] <= NARROW:
        _sum_lines(frame, stride, total)
    else:
        _sum_pixels(frame, stride, total)


@compiled
def _sum(data: Any, stride: int, sums: Any) -> None:
    for row in range(len(data)):
        sum_frame(data[row], stride, sums[row])
