"""Convolutions of a clip's few colours, by vectors of neighbouring pixels. Ours.

oneDNN computes sixteen output channels at once, so that a stem of few has it multiply by zeros,
those of wider filters (`columns`), and by more of them the fewer channels its route keeps. Here a
vector is neighbouring outputs of one channel, and four channels are the fewest at once. For that
the input is laid out in planes: one colour, and one of every so many columns as the stride says,
so that what neighbouring outputs read for one tap lies side by side.

Shape legend: as in `values`; I input channels, O output channels.
"""

from __future__ import annotations

from ctypes import Structure, byref, c_int64
from functools import cache
from typing import Any

import numpy as np
import torch
from numba import carray  # type: ignore[attr-defined]
from torch import Tensor

from ..compiled import compiled, pointer
from ..team import TeamPass, num_threads, share_of, team_size, thread_number
from .lanes import BYTES, LANES, TOGETHER, adds_taps

LINES = 16
"""Of the output, whose input is laid out at once: what neighbours read lies in caches then."""
MOST_COLOURS = 4
"""Of more, to lay them out in planes takes longer; not measured to the number."""
MOST_CHANNELS = 8
"""Of more outputs, oneDNN's vectors are full enough."""
LEAST_TAPS = 128
"""Of fewer products an output, to lay the input out takes longer than they do.

Time here of that of oneDNN, EPYC of family 25, medians of 15 to 41: with 735 taps .63 for 8
outputs and .57 for 4 of 32 frames at 224 pixels, .83 and .54 at 40 pixels, 1.03 for 16 outputs;
with 147 taps .93 for 8, .90 for 4, 1.28 for 16; with 27 to 81 taps 1.0 to 2.2.
"""

_HAS_AVX2 = torch.backends.cpu.get_cpu_capability() == "AVX2"
_add_one, _add_two, _add_three = (adds_taps(vectors) for vectors in (1, 2, 3))


class _Told(Structure):
    """What a pass is told: where all lies, sizes, and how filters move."""

    _fields_ = tuple(
        (name, c_int64)
        for name in (
            *("read", "planes", "places", "weight", "bias", "sums", "written", "relu"),
            *("frames", "height", "width", "colours"),
            *("rows", "phases", "columns", "line", "taps"),
            *("out_frames", "out_height", "out_width", "channels"),
            *("taps_in_time", "stride_in_time", "padding_in_time"),
            *("stride_down", "padding_above", "padding_before"),
        )
    )


def may_read_planes(weight: Tensor) -> bool:
    """Return whether filters (O, I, ..., height, width) had better run here.

    That is where oneDNN's vectors would be mostly empty. It was measured with vectors of AVX2;
    where they are longer, oneDNN's convolutions run.
    """
    is_single = weight.device.type == "cpu" and weight.dtype == torch.float32
    is_narrow = len(weight) <= MOST_CHANNELS and weight.shape[1] <= MOST_COLOURS
    return is_single and is_narrow and weight[0].numel() >= LEAST_TAPS and _HAS_AVX2


class Planes:
    """Filters that read planes, for one shape of input.

    Args:
        weight: (O, I, height, width), or (O, I, time, height, width); float32.
        shape: Of the input: (T, H, W, I).
        stride: Two numbers, or three, time first.
        padding: Likewise.
    """

    def __init__(
        self,
        weight: Tensor,
        shape: tuple[int, ...],
        stride: tuple[int, ...],
        padding: tuple[int, ...],
    ) -> None:
        if weight.dim() == 4:
            weight, stride, padding = weight[:, :, None], (1, *stride), (0, *padding)
        self.channels, colours, *kernel = weight.shape
        sizes = zip(shape, kernel, stride, padding, strict=False)
        made = [(size + 2 * pad - taps) // step + 1 for size, taps, step, pad in sizes]
        rows = (LINES - 1) * stride[1] + kernel[1]
        self.line = -(-made[2] // LANES) * LANES
        columns = self.line + (kernel[2] - 1) // stride[2]
        self.planes = (shape[0], colours, rows, stride[2], columns)
        self.made = (*made, self.channels)
        self.weight, self.places = _by_groups(weight), _places(self.planes, kernel)
        moves = (kernel[0], stride[0], padding[0], stride[1], padding[1], padding[2])
        taps = (self.line, len(self.places))
        self.sizes = (*shape, *self.planes[2:], *taps, *self.made, *moves)

    def __call__(self, x_THWC: Tensor, bias: Tensor, *, relu: bool) -> Tensor:
        """Return (T, H, W, O) for (T, H, W, I), both contiguous, with ReLU or without."""
        y = x_THWC.new_empty(self.made)
        team = team_size(y.numel())
        planes = x_THWC.new_empty(team, *self.planes)
        sums = x_THWC.new_empty(team, len(self.weight) * TOGETHER, self.line)
        read = (x_THWC, planes, self.places, self.weight, bias.contiguous(), sums, y)
        _planes_pass()(byref(_Told(*(t.data_ptr() for t in read), relu, *self.sizes)), team)
        return y


def _by_groups(weight: Tensor) -> Tensor:
    """Filters in the order they are read in: (groups of O, time, I x height x width, O of one).

    The last group is filled with zeros.
    """
    num_channels, colours, time, *kernel = weight.shape
    missing = -num_channels % TOGETHER
    whole = torch.cat([weight, weight.new_zeros(missing, colours, time, *kernel)])
    groups = whole.transpose(1, 2).reshape(-1, TOGETHER, time, colours * kernel[0] * kernel[1])
    return groups.permute(0, 2, 3, 1).contiguous()


def _places(planes: tuple[int, ...], kernel: list[int]) -> Tensor:
    """Where each tap in space lies in a frame's planes, from the one for the first output."""
    _, colours, rows, phases, columns = planes
    colour, row, column = torch.meshgrid(
        *map(torch.arange, (colours, kernel[1], kernel[2])), indexing="ij"
    )
    line = (colour * rows + row) * phases + column % phases
    return (line * columns + column // phases).flatten()


@cache
def _planes_pass() -> TeamPass:
    layout, number = np.dtype(_Told), np.float32

    def planes_pass(address: Any) -> None:
        told = carray(address, (1,), layout)[0]
        clip = (told.frames, told.height, told.width, told.colours)
        x = carray(pointer(told.read), clip, number)
        band = (told.frames, told.colours, told.rows, told.phases, told.columns)
        planes = carray(pointer(told.planes), (num_threads(), *band), number)[thread_number()]
        places = carray(pointer(told.places), (told.taps,), np.int64)
        groups = (told.channels + TOGETHER - 1) // TOGETHER
        filters = (groups, told.taps_in_time, told.taps, TOGETHER)
        weight = carray(pointer(told.weight), filters, number)
        bias = carray(pointer(told.bias), (told.channels,), number)
        line = (groups * TOGETHER, told.line)
        sums = carray(pointer(told.sums), (num_threads(), *line), number)[thread_number()]
        made = (told.out_frames, told.out_height, told.out_width, told.channels)
        y = carray(pointer(told.written), made, number)
        first, end = share_of(told.out_height)
        for start in range(first, end, LINES):
            above = start * told.stride_down - told.padding_above
            for t in range(told.frames):
                _lay_out(x[t], planes[t], above, told.padding_before)
            for t in range(told.out_frames):
                earliest = t * told.stride_in_time - told.padding_in_time
                for row in range(min(LINES, end - start)):
                    _sum_line(planes, places, weight, earliest, row * told.stride_down, sums)
                    _write_line(sums, bias, told.relu != 0, y[t, start + row])

    return TeamPass(planes_pass)


@compiled
def _lay_out(frame: Any, planes: Any, above: int, before: int) -> None:
    """Lay lines of a frame (H, W, I) out in planes (I, rows, phases, columns).

    Args:
        frame: To be read.
        planes: To be written, with zeros where they reach beyond the frame.
        above: Line of the frame that the first row is.
        before: Columns that lie before the frame.
    """
    height, width, colours = frame.shape
    _, rows, phases, columns = planes.shape
    for row in range(rows):
        if not 0 <= above + row < height:
            planes[:, row] = 0
            continue
        numbers = frame[above + row].reshape(-1)
        for phase in range(phases):
            # column j is pixel j x phases + phase - before of the frame
            first = (before - phase + phases - 1) // phases
            end = min((width + before - phase + phases - 1) // phases, columns)
            start = first * phases + phase - before
            for c in range(colours):
                line = planes[c, row, phase]
                line[:first], line[end:] = 0, 0
                _pick(numbers[start * colours + c :], phases * colours, line[first:end])


@compiled
def _pick(numbers: Any, apart: int, into: Any) -> None:
    place = 0
    for n in range(len(into)):
        into[n] = numbers[place]
        place += apart


@compiled
def _sum_line(planes: Any, places: Any, weight: Any, start: int, row: int, sums: Any) -> None:
    """Make one line of all channels, before bias and ReLU.

    Args:
        planes: (T, I, rows, phases, columns).
        places: Of each tap in space.
        weight: (groups of O, taps in time, taps in space, O of a group).
        start: Frame that the first tap in time reads; it may lie before the clip.
        row: That the first tap in space reads.
        sums: (O, W), written.
    """
    sums[:] = 0
    # frame by frame, so that what all groups read of one is in the first level of caches
    for tap in range(max(0, -start), min(weight.shape[1], len(planes) - start)):
        read = planes[start + tap, 0, row].ctypes.data
        for group in range(len(weight)):
            into = sums[group * TOGETHER :]
            _add_line(read, places, weight[group, tap], into)


@compiled
def _add_line(read: int, places: Any, weight: Any, sums: Any) -> None:
    """Add what one group of channels makes of one frame, by pieces of up to three vectors."""
    taps, filters = places.ctypes.data, weight.ctypes.data
    width = sums.shape[1]
    n = 0
    while n < width:
        first, into = read + n * BYTES, sums[0, n:].ctypes.data
        left = (width - n) // LANES
        if left == 3 or left > 4:
            _add_three(into, width, first, taps, filters, len(places))
            n += 3 * LANES
        elif left > 1:
            _add_two(into, width, first, taps, filters, len(places))
            n += 2 * LANES
        else:
            _add_one(into, width, first, taps, filters, len(places))
            n += LANES


@compiled
def _write_line(sums: Any, bias: Any, relu: bool, y: Any) -> None:
    """Give (W, O) the sums, (O, W), with bias and ReLU."""
    channels = y.shape[1]
    whole = channels - channels % TOGETHER
    least = np.float32(0) if relu else np.float32(-np.inf)
    for c in range(0, whole, TOGETHER):
        _write_group(sums[c : c + TOGETHER], bias[c:], least, y[:, c:])
    for n in range(len(y)):
        for c in range(whole, channels):
            y[n, c] = _at_least(least, sums[c, n] + bias[c])


@compiled
def _write_group(sums: Any, bias: Any, least: Any, y: Any) -> None:
    first, second, third, fourth = sums
    for n in range(len(y)):
        y[n, 0] = _at_least(least, first[n] + bias[0])
        y[n, 1] = _at_least(least, second[n] + bias[1])
        y[n, 2] = _at_least(least, third[n] + bias[2])
        y[n, 3] = _at_least(least, fourth[n] + bias[3])


@compiled
def _at_least(least: Any, value: Any) -> Any:
    return least if value < least else value
