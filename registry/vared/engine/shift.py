"""TSM's shift: in place for as long as a convolution reads it, or of frames that may repeat. Ours.

Shape legend: as in `values`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import Structure, byref, c_int64
from functools import cache
from typing import Any

import numpy as np
import torch
from numba import carray  # type: ignore[attr-defined]
from torch import Tensor

from ..compiled import compiled, pointer
from ..team import TeamPass, share_of, team_size
from .kernels import is_compiled
from .numbers import number_type
from .values import Value

FEW_PIXELS = 32
"""Pixels of all frames at a time, so that a frame is still at hand for the one beside it."""


class _Shift(Structure):
    """What a pass of `_shift` is told: where map and ends lie, sizes, and which way to go."""

    _fields_ = tuple(
        (name, c_int64)
        for name in ("data", "ends", "frames", "pixels", "channels", "moving", "back", "both")
    )


def shifts_in_place(x: Value, step: int) -> bool:
    """Return whether `shifted_for_now` can shift a map, of which every `step`-th frame is read."""
    is_first = x.repeats == step and x.num_frames % step == 0  # the frame read of each row
    return is_first and not x.is_view and is_compiled(x.data)


@contextmanager
def shifted_for_now(data_THWC: Tensor, div: int, step: int) -> Iterator[None]:
    """Shift a map's own data as `shifted` does, and put them back at the end of the block.

    Most channels stay where they are, so that this reads and writes half of what a copy does, or a
    quarter where rows repeat: the frame behind a row's first one is equal to it.
    """
    moving = data_THWC.shape[3] // div
    ends = _shift(data_THWC, moving, step)
    yield
    _shift(data_THWC, moving, step, ends)


def shifts_groups(x: Value, step: int) -> bool:
    """Return whether `shifted` can read a map as it is."""
    return x.repeats % step == 0 or step % x.repeats == 0


def shifted(x: Value, step: int, div: int) -> Tensor:
    """Return every `step`-th frame after TSM's shift.

    A div-th of the channels comes from the next frame, another from the one before, zeros beyond
    the clip's ends. In its group of repeats a frame's neighbours are equal to it, but for the first
    one's predecessor and the last one's successor.

    Args:
        x: All channels written down; frames may repeat, as `shifts_groups` says.
        step: From one wanted frame to the next.
        div: Inverse of the share of channels that moves either way.

    Returns:
        (wanted frames, H, W, C).
    """
    rows, fold = x.data, x.data.shape[3] // div
    wanted = range(0, x.num_frames, step)
    out = rows.new_empty(len(wanted), *rows.shape[1:])
    num_places = max(x.repeats // step, 1)
    apart = max(step // x.repeats, 1)
    for place in range(num_places):
        into = out[place::num_places]
        into.copy_(rows[::apart][: len(into)])
        if place * step == 0:
            earlier = rows[apart - 1 :: apart][: len(into) - 1]
            into[1:, ..., fold : 2 * fold] = earlier[..., fold : 2 * fold]
        if place * step == x.repeats - 1:
            later = rows[1::apart][: len(into)]
            into[: len(later), ..., :fold] = later[..., :fold]
    out[0, ..., fold : 2 * fold] = 0
    if wanted[-1] == x.num_frames - 1:
        out[-1, ..., :fold] = 0
    return out


def _shift(data_THWC: Tensor, moving: int, step: int, ends: Tensor | None = None) -> Tensor:
    """Move channels by a frame as TSM does, in place, or back to where they were.

    Args:
        data_THWC: Contiguous, of a type that `is_compiled`.
        moving: The first so many channels take the next frame's, the next so many the one's before.
        step: Frames that a row stands for; of more than one, the first channels stay.
        ends: What an earlier call returned, to go back.

    Returns:
        What left the clip at its ends, where zeros came in.
    """
    num_frames, height, width, channels = data_THWC.shape
    back = ends is not None
    if ends is None:
        ends = data_THWC.new_empty(2, height * width, moving)
    sizes = (num_frames, height * width, channels, moving)
    told = _Shift(data_THWC.data_ptr(), ends.data_ptr(), *sizes, back, step == 1)
    _shift_pass(data_THWC.dtype)(byref(told), team_size(num_frames * ends.numel()))
    return ends


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
            if told.both != 0:
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
