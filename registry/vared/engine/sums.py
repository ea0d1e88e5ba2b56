"""What ends a block: two maps of which neither need be there in full, added in one pass. Ours.

Shape legend: as in `values`; R rows of data, G times that a map's computed channels stand in a sum.
"""

from __future__ import annotations

from ctypes import Structure, byref, c_double, c_int64
from dataclasses import replace
from functools import cache, lru_cache
from typing import Any

import numpy as np
import torch
from numba import carray  # type: ignore[attr-defined]
from torch import Tensor

from ..compiled import compiled, pointer
from ..team import TeamPass, share_of, team_size
from .kernels import is_compiled
from .numbers import float_of, like, number_type
from .packed import rectify
from .values import Residual, Value, has_factor

FEW = 16
"""Numbers of a pixel that in bfloat16 fill a vector only if it is known how many there are.

Measured on an EPYC of family 26 with two threads, medians of 41: added to both halves of 32
channels, 32 x 56 x 56, 168 us and not 442; in float32 this takes longer, as do eight numbers.
"""

AT_A_TIME = 2048
"""Numbers of a sum, about, so that what was put down is at hand for what is added."""


class _Sum(Structure):
    """What a pass is told: where maps lie, whether ReLU ends it, sizes, and what to multiply by.

    Of each of both maps frames that a row stands for, pixels of a piece, times that they stand in a
    pixel of the sum, and their numbers.
    """

    _fields_ = (
        *((name, c_int64) for name in ("into", "x", "y", "relu", "rows", "pieces")),
        *((name, c_int64) for name in ("x_repeats", "x_pixels", "x_times", "x_size")),
        *((name, c_int64) for name in ("y_repeats", "y_pixels", "y_times", "y_size")),
        ("factor", c_double),
    )


def summed(residual: Residual, y: Value, *, keeps_copies: bool = True) -> Value:
    """Add what came past a block to what came through it, reading copies from their originals.

    Args:
        residual: What came past it.
        y: What came through it; the sum may take its place in memory, if it is no view.
        keeps_copies: Leave channels that both copy alike to be told from what they are copies of.
    """
    add, y = _readable(residual.value), _readable(y)
    repeats = min(add.repeats, y.repeats)
    copies = add.copies if keeps_copies and add.data.shape[3] == y.data.shape[3] else None
    channels = add.num_channels if copies is None else copies.num_computed
    rows = -(-add.num_frames // repeats)
    shape = (rows, *add.data.shape[1:3], channels)
    if not is_compiled(add.data):
        maps = [_written(part, repeats, channels) for part in (add, y)]
        into = torch.add(maps[0], maps[1], alpha=y.scale / add.scale)
        into = rectify(into) if residual.relu else into
    else:
        if add.data.shape != shape or add.is_view or not residual.may_write:
            add, y = y, add  # whose place the sum may take, if it is as large
        may_replace = add.data.shape == shape and not add.is_view
        into = add.data if may_replace else add.data.new_empty(shape)
        _add(into, add, y, y.scale / add.scale, repeats, relu=residual.relu)
    return replace(add, data=into, repeats=repeats, copies=copies, is_view=False)


def _readable(value: Value) -> Value:
    """Write down copies that are not whole: of a factor, or of a part of the computed channels."""
    is_whole = not has_factor(value) and value.num_channels % value.data.shape[3] == 0
    return value if is_whole else value.all_channels()


def _written(value: Value, repeats: int, channels: int) -> Tensor:
    """Data with so many repeats and channels left to be told from."""
    value = value if value.data.shape[3] == channels else value.all_channels()
    return value.repeated(repeats).data


def _add(into: Tensor, add: Value, y: Value, factor: float, repeats: int, *, relu: bool) -> None:
    """Put a sum down, maybe in the place of the first map."""
    maps = [part.data.contiguous() for part in (add, y)]  # as they are, but the pass must know
    computed = add.data.shape[3], y.data.shape[3]
    told = _Sum(
        *(data.data_ptr() for data in (into, *maps)),
        relu,
        *_sizes(into.shape, (add.repeats // repeats, y.repeats // repeats), computed),
        factor,
    )
    _sum_pass(into.dtype)(byref(told), team_size(into.numel()))


@lru_cache(maxsize=512)
def _sizes(
    shape: tuple[int, ...], repeats: tuple[int, int], computed: tuple[int, int]
) -> tuple[int, ...]:
    """What a pass is told of sizes."""
    rows, height, width, channels = shape
    most = max(AT_A_TIME // channels, 1)
    pixels = max(n for n in range(1, width + 1) if width % n == 0 and n <= most)
    sizes = [rows, height * width // pixels]
    for times, size in zip(repeats, computed, strict=True):
        if size == channels:  # all pixels of a piece are one, so that vectors are full
            sizes += [times, 1, 1, pixels * size]
        else:
            sizes += [times, pixels, channels // size, size]
    return tuple(sizes)


@cache
def _sum_pass(dtype: torch.dtype) -> TeamPass:
    number, layout, is_half = number_type(dtype), np.dtype(_Sum), dtype == torch.bfloat16

    def sum_pass(address: Any) -> None:
        told = carray(address, (1,), layout)[0]
        rows, pieces = told.rows, told.pieces
        rows_of_x, rows_of_y = -(-rows // told.x_repeats), -(-rows // told.y_repeats)
        x = carray(pointer(told.x), (rows_of_x, pieces, told.x_pixels, told.x_size), number)
        y = carray(pointer(told.y), (rows_of_y, pieces, told.y_pixels, told.y_size), number)
        shape = (rows, pieces, told.x_pixels, told.x_times, told.x_size)
        put = carray(pointer(told.into), shape, number)
        shape = (rows, pieces, told.y_pixels, told.y_times, told.y_size)
        added = carray(pointer(told.into), shape, number)
        first, end = share_of(rows * pieces)
        for n in range(first, end):
            row, piece = n // pieces, n % pieces
            if told.x != told.into:
                put_down(x[row // told.x_repeats, piece], put[row, piece])
            read, relu = y[row // told.y_repeats, piece], told.relu != 0
            if is_half and told.y_size == FEW:
                _add_up_few(read, told.factor, relu, added[row, piece])
            else:
                add_up(read, told.factor, relu, added[row, piece])

    return TeamPass(sum_pass)


@compiled
def put_down(numbers: Any, into: Any) -> None:
    """Put what each pixel has, (pixels, C'), in all of its places, (pixels, G, C')."""
    for pixel in range(len(numbers)):
        read = numbers[pixel]
        for group in range(into.shape[1]):
            written = into[pixel, group]
            for c in range(len(read)):
                written[c] = read[c]


@compiled
def add_up(numbers: Any, factor: float, relu: bool, into: Any) -> None:
    """Add what each pixel has, times a factor, to all of its places."""
    scale, least = np.float32(factor), _least(relu)
    for pixel in range(len(numbers)):
        read = numbers[pixel]
        for group in range(into.shape[1]):
            written = into[pixel, group]
            for c in range(len(read)):
                _add_one(read, c, scale, least, written)


@compiled
def _add_up_few(numbers: Any, factor: float, relu: bool, into: Any) -> None:
    """Do the same where pixels have `FEW` numbers."""
    scale, least = np.float32(factor), _least(relu)
    for pixel in range(len(numbers)):
        read = numbers[pixel]
        for group in range(into.shape[1]):
            written = into[pixel, group]
            for c in range(FEW):
                _add_one(read, c, scale, least, written)


@compiled
def _least(relu: bool) -> Any:
    return np.float32(0) if relu else np.float32(-np.inf)


@compiled
def _add_one(read: Any, c: int, scale: Any, least: Any, written: Any) -> None:
    total = float_of(written[c]) + scale * float_of(read[c])
    written[c] = like(least if total < least else total, written[c])
