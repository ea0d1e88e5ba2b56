"""Passes over a map that PyTorch takes several for, compiled for the processor by Numba. Ours.

At paper scale these are what a clip costs beside its convolutions, and a route saves little of it.
Numbers in bfloat16 are read as the upper half of a float32 and rounded back as PyTorch rounds them.
On other devices, and in other types, PyTorch does the same in its own passes.

Shape legend: as in `values`; R rows of data.
"""

from __future__ import annotations

from ctypes import Structure, byref, c_double, c_int64
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numba import carray, types  # type: ignore[attr-defined]
from numba.extending import overload
from torch import Tensor

from ..compiled import Array, compiled, pointer
from ..team import TeamPass, share_of, team_size
from .packed import Blend, rectify

NUM_COLOURS = 3
FEW_PIXELS = 32
"""Pixels of all frames at a time, so that a frame is still at hand for the one beside it."""
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


class _Sum(Structure):
    """What a pass of `add_` is told: where both maps lie, sizes, and how to add."""

    _fields_ = (
        *((name, c_int64) for name in ("into", "y", "relu")),
        *((name, c_int64) for name in ("rows", "times", "pixels", "groups", "channels")),
        ("factor", c_double),
    )


class _Shift(Structure):
    """What a pass of `shift_` is told: where map and ends lie, sizes, and which way to go."""

    _fields_ = tuple(
        (name, c_int64)
        for name in ("data", "ends", "frames", "pixels", "channels", "moving", "back")
    )


class _Blends(Structure):
    """What a pass of `blend_` is told: where map and pairs lie, how many, sizes, and shares."""

    _fields_ = (
        *((name, c_int64) for name in ("data", "pairs", "num_pairs")),
        *((name, c_int64) for name in ("rows", "pixels", "channels", "first")),
        *((name, c_double) for name in ("of_channels", "of_frames")),
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


def add_(into: Tensor, y: Tensor, factor: float, *, relu: bool) -> None:
    """Add a map to every place that it stands for, in place.

    Args:
        into: (R, places of a frame, pixels, places of a channel, C'); contiguous as a rule.
        y: (R, pixels, C').
        factor: What `y` is multiplied by.
        relu: ReLU after that.
    """
    if is_compiled(into) and into.is_contiguous():
        read = y.contiguous()  # as it is already, but the pass would not notice
        told = _Sum(into.data_ptr(), read.data_ptr(), relu, *into.shape, factor)
        _add_pass(into.dtype)(byref(told), team_size(into.numel()))
        return
    into.add_(y[:, None, :, None], alpha=factor)
    if relu:
        rectify(into)


def shift_(data_THWC: Tensor, moving: int, ends: Tensor | None = None) -> Tensor:
    """Move channels by a frame as TSM does, in place, or back to where they were.

    Args:
        data_THWC: Contiguous, of a type that `is_compiled`.
        moving: The first so many channels take the next frame's, the next so many the one's before.
        ends: What an earlier call returned, to go back.

    Returns:
        What left the clip at its ends, where zeros came in.
    """
    num_frames, height, width, channels = data_THWC.shape
    back = ends is not None
    if ends is None:
        ends = data_THWC.new_empty(2, height * width, moving)
    sizes = (num_frames, height * width, channels, moving)
    told = _Shift(data_THWC.data_ptr(), ends.data_ptr(), *sizes, back)
    _shift_pass(data_THWC.dtype)(byref(told), team_size(data_THWC.numel() // 4))
    return ends


def blend_(data: Tensor, pairs: npt.NDArray[np.int64], blend: Blend, share: float) -> None:
    """Blend channels, and rows in pairs, in place; one pass, where each alone would be another.

    Args:
        data: (R, H, W, C), contiguous, of a type that `is_compiled`.
        pairs: (P, 2), a row that is kept and the other one; -1 where there is none.
        blend: Of channels.
        share: What a row that is kept has in the other, of one.
    """
    rows, height, width, channels = data.shape
    sizes = (len(pairs), rows, height * width, channels, blend.first)
    told = _Blends(data.data_ptr(), pairs.ctypes.data, *sizes, blend.share, share)
    _blend_pass(data.dtype)(byref(told), team_size(data.numel()))


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
    return _compile_number(_type_of(x))(x)


def _like(value: Any, x: Any) -> Any:
    """A float32 in the type of a number of a map."""
    return _compile_like(_type_of(value), _type_of(x))(value, x)


def _type_of(x: Any) -> Any:
    return types.uint16 if isinstance(x, np.uint16) else types.float32


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


def number_type(dtype: torch.dtype) -> Any:
    """What compiled passes read a map as."""
    return np.uint16 if dtype == torch.bfloat16 else np.float32


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
        y[3 * n] = _like(red[n], y[0])
        y[3 * n + 1] = _like(green[n], y[0])
        y[3 * n + 2] = _like(blue[n], y[0])


@cache
def _add_pass(dtype: torch.dtype) -> TeamPass:
    number, layout = number_type(dtype), np.dtype(_Sum)

    def add_pass(address: Any) -> None:
        told = carray(address, (1,), layout)[0]
        rows, pixels, channels = told.rows, told.pixels, told.channels
        into = carray(pointer(told.into), (rows, told.times, pixels, told.groups, channels), number)
        y = carray(pointer(told.y), (rows, pixels, channels), number)
        first, end = share_of(rows * pixels)
        _add(into, y, told.factor, told.relu != 0, first, end)

    return TeamPass(add_pass)


@compiled
def _add(into: Any, y: Any, factor: float, relu: bool, first: int, end: int) -> None:
    """Add the pixels from `first` to `end`, counted over all rows."""
    rows, times, pixels, groups, _ = into.shape
    scale = np.float32(factor)
    least = np.float32(0) if relu else np.float32(-np.inf)
    for row in range(rows):
        start = max(first - row * pixels, 0)
        stop = max(min(end - row * pixels, pixels), start)
        y_row = y[row, start:stop]
        for time in range(times):
            into_row = into[row, time, start:stop]
            for pixel in range(len(y_row)):
                read = y_row[pixel]
                for group in range(groups):
                    written = into_row[pixel, group]
                    for c in range(len(read)):
                        total = _number(written[c]) + scale * _number(read[c])
                        written[c] = _like(least if total < least else total, written[c])


@cache
def _shift_pass(dtype: torch.dtype) -> TeamPass:
    number, layout = number_type(dtype), np.dtype(_Shift)

    def shift_pass(address: Any) -> None:
        told = carray(address, (1,), layout)[0]
        shape = (told.frames, told.pixels, told.channels)
        x = carray(pointer(told.data), shape, number)
        ends = carray(pointer(told.ends), (2, told.pixels, told.moving), number)
        first, end = share_of(told.pixels)
        back = told.back != 0
        ahead, behind = (0, 1), (told.moving, -1)
        if back:
            ahead, behind = (0, -1), (told.moving, 1)
        for start in range(first, end, FEW_PIXELS):
            pixels = start, min(start + FEW_PIXELS, end)
            _move(x, ahead, pixels, ends[0], back)
            _move(x, behind, pixels, ends[1], back)

    return TeamPass(shift_pass)


@compiled
def _move(x: Any, way: Any, pixels: Any, end: Any, back: bool) -> None:
    """Give each frame what the one beside it has; the last one zeros, or what left the clip.

    Args:
        x: (T, pixels, channels).
        way: The first of the channels that move, and from a frame to the one it takes from.
        pixels: The first, and where they end.
        end: (pixels, channels that move): where to put what has left; what comes, if it goes back.
        back: Whether it does.
    """
    channel, step = way
    stop = channel + end.shape[1]
    first, last = (0, len(x) - 1) if step > 0 else (len(x) - 1, 0)
    if not back:
        for pixel in range(pixels[0], pixels[1]):
            _copy(x[first, pixel, channel:stop], end[pixel])
    for t in range(first, last, step):
        for pixel in range(pixels[0], pixels[1]):
            _copy(x[t + step, pixel, channel:stop], x[t, pixel, channel:stop])
    for pixel in range(pixels[0], pixels[1]):
        if back:
            _copy(end[pixel], x[last, pixel, channel:stop])
        else:
            x[last, pixel, channel:stop] = 0


@compiled
def _copy(numbers: Any, into: Any) -> None:
    for c in range(len(into)):
        into[c] = numbers[c]


@cache
def _blend_pass(dtype: torch.dtype) -> TeamPass:
    number, layout = number_type(dtype), np.dtype(_Blends)

    def blend_pass(address: Any) -> None:
        told = carray(address, (1,), layout)[0]
        data = carray(pointer(told.data), (told.rows, told.pixels, told.channels), number)
        pairs = carray(pointer(told.pairs), (told.num_pairs, 2), np.int64)
        of_channels, of_frames = np.float32(told.of_channels), np.float32(told.of_frames)
        first, end = share_of(told.pixels)
        for pair in range(len(pairs)):
            kept, other = pairs[pair]
            for pixel in range(first, end):
                if other < 0:
                    _blend_channels(data[kept, pixel], told.first, of_channels)
                else:
                    _blend_pair(
                        data[kept, pixel], data[other, pixel], told.first, of_channels, of_frames
                    )

    return TeamPass(blend_pass)


@compiled
def _blend_channels(x: Any, first: int, share: Any) -> None:
    """Blend a pixel's first channels into the others."""
    others = x[first:]
    for c in range(len(others)):
        others[c] = _like(_between(_number(others[c]), _number(x[c]), share), x[0])


@compiled
def _blend_pair(kept: Any, other: Any, first: int, of_channels: Any, of_frames: Any) -> None:
    """Blend the channels of a pixel in two frames, and the frame that is kept into the other."""
    kept_others, others = kept[first:], other[first:]
    for c in range(len(others)):
        mine, theirs = _number(kept[c]), _number(other[c])
        rest = _between(_number(kept_others[c]), mine, of_channels)
        kept_others[c] = _like(rest, kept[0])
        other_rest = _between(_number(others[c]), theirs, of_channels)
        others[c] = _like(_between(other_rest, rest, of_frames), kept[0])
        other[c] = _like(_between(theirs, mine, of_frames), kept[0])
    for c in range(len(others), first):
        other[c] = _like(_between(_number(other[c]), _number(kept[c]), of_frames), kept[0])


@compiled
def _between(value: Any, other: Any, share: Any) -> Any:
    return value + share * (other - value)


@compiled
def _sum_lines(frame: Any, stride: int, total: Any) -> None:
    """Add the pixels seen of (H, W, C') up in `total`, line by line, whichever of a line are."""
    height, width, channels = frame.shape
    lines, line = frame.reshape(height, width * channels), np.zeros(width * channels, np.float32)
    for i in range(0, height, stride):
        read = lines[i]
        for n in range(len(line)):
            line[n] += _number(read[n])
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
                total[c] += (_number(first[c]) + _number(second[c])) + (
                    _number(third[c]) + _number(fourth[c])
                )
        for j in range(whole, width, stride):
            pixel = read[j]
            for c in range(channels):
                total[c] += _number(pixel[c])


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
