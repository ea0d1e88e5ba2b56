"""Blends of both axes of a map in one pass, where each alone would be another. Ours.

Shape legend: as in `values`; R rows of data, P pairs of them.
"""

from __future__ import annotations

from ctypes import Structure, byref, c_double, c_int64
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numba import carray  # type: ignore[attr-defined]
from torch import Tensor

from ..compiled import compiled, pointer
from ..team import TeamPass, share_of, team_size
from .numbers import float_of, like, number_type
from .packed import Blend


class _Blends(Structure):
    """What a pass of `blend_` is told: where map and pairs lie, how many, sizes, and shares."""

    _fields_ = (
        *((name, c_int64) for name in ("data", "pairs", "num_pairs")),
        *((name, c_int64) for name in ("rows", "pixels", "channels", "first")),
        *((name, c_double) for name in ("of_channels", "of_frames")),
    )


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
        others[c] = like(_between(float_of(others[c]), float_of(x[c]), share), x[0])


@compiled
def _blend_pair(kept: Any, other: Any, first: int, of_channels: Any, of_frames: Any) -> None:
    """Blend the channels of a pixel in two frames, and the frame that is kept into the other."""
    kept_others, others = kept[first:], other[first:]
    for c in range(len(others)):
        mine, theirs = float_of(kept[c]), float_of(other[c])
        rest = _between(float_of(kept_others[c]), mine, of_channels)
        kept_others[c] = like(rest, kept[0])
        other_rest = _between(float_of(others[c]), theirs, of_channels)
        others[c] = like(_between(other_rest, rest, of_frames), kept[0])
        other[c] = like(_between(theirs, mine, of_frames), kept[0])
    for c in range(len(others), first):
        other[c] = like(_between(float_of(other[c]), float_of(kept[c]), of_frames), kept[0])


@compiled
def _between(value: Any, other: Any, share: Any) -> Any:
    return value + share * (other - value)
