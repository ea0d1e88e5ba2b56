"""Convolutions of a clip's few colours, by vectors of neighbouring pixels. Ours.

oneDNN computes sixteen output channels at once, so that a stem of few has it multiply by zeros,
those of wider filters (`columns`), and by more of them the fewer channels its route keeps. Here a
vector is neighbouring outputs of one channel, and four channels are the fewest at once. For that
the input is laid out in planes: one colour, and one of every so many columns as the stride says,
so that what neighbouring outputs read for one tap lies side by side. Bfloat16 is multiplied in
pairs; where filters move by two columns, these are the pairs, and one plane holds all of a colour.

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
from torch.nn import functional as F  # noqa: N812

from ..compiled import compiled, pointer
from ..team import TeamPass, num_threads, share_of, team_size, thread_number
from .lanes import (
    BYTES,
    HAS_PAIRS,
    HAS_VECTORS,
    LANES,
    MOST_VECTORS,
    TOGETHER,
    adds_taps,
)
from .numbers import like, number_type

LINES = 16
"""Of the output, whose input is laid out at once: what neighbours read lies in caches then."""
NUM_COLOURS = 3
"""Of a clip as a rule."""
MOST_COLOURS = 4
"""Of more, to lay them out in planes takes longer; not measured to the number."""
MOST_CHANNELS = 8
"""Of more outputs, oneDNN's vectors are full enough."""
PAIR = 2
"""Neighbouring columns that bfloat16 is multiplied in."""
LEAST_TAPS = 128
"""Of fewer products an output, to lay the input out takes longer than they do.

Time here of that of oneDNN, EPYC of family 25, medians of 15 to 41: with 735 taps .63 for 8
outputs and .57 for 4 of 32 frames at 224 pixels, .83 and .54 at 40 pixels, 1.03 for 16 outputs;
with 147 taps .93 for 8, .90 for 4, 1.28 for 16; with 27 to 81 taps 1.0 to 2.2. EPYC of family 26,
with vectors of AVX-512, medians of 21: with 735 taps .80 and .56 at 224 pixels, .88 and .54 at 40,
in bfloat16 .80 and .53, 1.05 and .55; with 147 taps 1.08 and .84, in bfloat16 .97 and .85.
"""

_add_one, _add_two, _add_three, _add_four = (adds_taps(vectors) for vectors in (1, 2, 3, 4))


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

    That is where oneDNN's vectors would be mostly empty.
    """
    is_single = weight.dtype == torch.float32 and HAS_VECTORS
    in_pairs = weight.dtype == torch.bfloat16 and HAS_PAIRS
    is_narrow = len(weight) <= MOST_CHANNELS and weight.shape[1] <= MOST_COLOURS
    is_known = weight.device.type == "cpu" and (is_single or in_pairs)
    return is_known and is_narrow and weight[0].numel() >= LEAST_TAPS


def moves_over_planes(dtype: torch.dtype, stride: tuple[int, ...]) -> bool:
    """Return whether filters that move so can read planes: of pairs, by a pair at a time."""
    return dtype != torch.bfloat16 or stride[-1] == PAIR


class Planes:
    """Filters that read planes, for one shape of input.

    Args:
        weight: (O, I, height, width), or (O, I, time, height, width); float32 or bfloat16, where
            `moves_over_planes`.
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
        self.dtype = weight.dtype
        self.channels, colours, *kernel = weight.shape
        sizes = zip(shape, kernel, stride, padding, strict=False)
        made = [(size + 2 * pad - taps) // step + 1 for size, taps, step, pad in sizes]
        rows = (LINES - 1) * stride[1] + kernel[1]
        self.line = -(-made[2] // LANES) * LANES
        columns = self.line + (kernel[2] - 1) // stride[2]
        in_pairs = self.dtype == torch.bfloat16
        together, phases = (PAIR, 1) if in_pairs else (1, stride[2])
        self.planes = (kernel[0], colours, rows, phases, columns * together)
        self.made = (*made, self.channels)
        self.weight = _by_groups(weight, together)
        self.places = _places(self.planes, kernel, together)
        moves = (kernel[0], stride[0], padding[0], stride[1], padding[1], padding[2])
        taps = (self.line, len(self.places))
        self.sizes = (*shape, *self.planes[2:], *taps, *self.made, *moves)

    def __call__(self, x_THWC: Tensor, bias: Tensor, *, relu: bool) -> Tensor:
        """Return (T, H, W, O) for (T, H, W, I), both contiguous, with ReLU or without."""
        y = x_THWC.new_empty(self.made)
        team = team_size(y.numel())
        planes = x_THWC.new_empty(team, *self.planes)
        sums = y.new_empty(team, len(self.weight) * TOGETHER, self.line, dtype=torch.float32)
        read = (x_THWC, planes, self.places, self.weight, bias.float().contiguous(), sums, y)
        told = _Told(*(t.data_ptr() for t in read), relu, *self.sizes)
        _planes_pass(self.dtype)(byref(told), team)
        return y


def _by_groups(weight: Tensor, together: int) -> Tensor:
    """Filters in the order they are read in: (groups of O, time, taps in space, O of a group, P).

    P numbers are taken together. The last group is filled with zeros, and so is the last tap of a
    line.
    """
    num_channels, _, time, _, width = weight.shape
    missing = (0, -width % together, 0, 0, 0, 0, 0, 0, 0, -num_channels % TOGETHER)
    whole = F.pad(weight, missing).transpose(1, 2).flatten(2)
    groups = whole.view(-1, TOGETHER, time, whole.shape[2] // together, together)
    return groups.permute(0, 2, 3, 1, 4).contiguous()


def _places(planes: tuple[int, ...], kernel: list[int], together: int) -> Tensor:
    """Where each tap in space lies in a frame's planes, from the one for the first output."""
    _, colours, rows, phases, columns = planes
    taps = (colours, kernel[1], -(-kernel[2] // together))
    colour, row, column = torch.meshgrid(*map(torch.arange, taps), indexing="ij")
    line = (colour * rows + row) * phases + column % phases
    return (line * (columns // together) + column // phases).flatten()


@cache
def _planes_pass(dtype: torch.dtype) -> TeamPass:
    layout, number = np.dtype(_Told), number_type(dtype)
    tap = np.uint32 if dtype == torch.bfloat16 else np.float32

    def planes_pass(address: Any) -> None:
        told = carray(address, (1,), layout)[0]
        clip = (told.frames, told.height, told.width, told.colours)
        x = carray(pointer(told.read), clip, number)
        band = (told.taps_in_time, told.colours, told.rows, told.phases, told.columns)
        planes = carray(pointer(told.planes), (num_threads(), *band), number)[thread_number()]
        places = carray(pointer(told.places), (told.taps,), np.int64)
        groups = (told.channels + TOGETHER - 1) // TOGETHER
        filters = (groups, told.taps_in_time, told.taps, TOGETHER)
        weight = carray(pointer(told.weight), filters, tap)
        bias = carray(pointer(told.bias), (told.channels,), np.float32)
        line = (groups * TOGETHER, told.line)
        sums = carray(pointer(told.sums), (num_threads(), *line), np.float32)[thread_number()]
        made = (told.out_frames, told.out_height, told.out_width, told.channels)
        y = carray(pointer(told.written), made, number)
        lines = np.empty((told.channels, told.out_width), number)
        planes[:] = 0
        first, end = share_of(told.out_height)
        for start in range(first, end, LINES):
            above, laid_out = start * told.stride_down - told.padding_above, 0
            for t in range(told.out_frames):
                earliest = t * told.stride_in_time - told.padding_in_time
                latest = min(earliest + told.taps_in_time, told.frames)
                for frame in range(max(earliest, laid_out), latest):
                    into = planes[frame % told.taps_in_time]
                    _lay_out(x[frame], into, above, told.padding_before)
                laid_out = max(latest, 0)
                for row in range(min(LINES, end - start)):
                    _sum_line(
                        planes, places, weight, earliest, latest, row * told.stride_down, sums
                    )
                    _write_line(sums, bias, told.relu != 0, lines, y[t, start + row])

    return TeamPass(planes_pass)


@compiled
def _lay_out(frame: Any, planes: Any, above: int, before: int) -> None:
    """Lay lines of a frame (H, W, I) out in planes (I, rows, phases, columns).

    Args:
        frame: To be read.
        planes: To be written, but for columns that reach beyond the frame: they are zeros already.
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
            part = slice(first, end)
            read, apart = numbers[(first * phases + phase - before) * colours :], phases * colours
            if colours == NUM_COLOURS:
                red, green, blue = planes[0, row], planes[1, row], planes[2, row]
                _pick_colours(read, apart, red[phase, part], green[phase, part], blue[phase, part])
                continue
            for c in range(colours):
                _pick(read[c:], apart, planes[c, row, phase, part])


@compiled
def _pick_colours(numbers: Any, apart: int, red: Any, green: Any, blue: Any) -> None:
    """As `_pick` for each of three colours, in less time.

    All of a clip of 32 frames at 224 pixels are laid out in .6 ms instead of 2.5 in bfloat16 (EPYC
    of family 26, medians of 9); in float32, by every second column, the stem takes .94 to .95 of
    its time (medians of 21).
    """
    if apart == NUM_COLOURS:  # one that is known makes vectors
        for n in range(len(red)):
            red[n], green[n], blue[n] = numbers[3 * n], numbers[3 * n + 1], numbers[3 * n + 2]
        return
    place = 0
    for n in range(len(red)):
        red[n], green[n], blue[n] = numbers[place], numbers[place + 1], numbers[place + 2]
        place += apart


@compiled
def _pick(numbers: Any, apart: int, into: Any) -> None:
    place = 0
    for n in range(len(into)):
        into[n] = numbers[place]
        place += apart


@compiled
def _sum_line(
    planes: Any, places: Any, weight: Any, earliest: int, latest: int, row: int, sums: Any
) -> None:
    """Make one line of all channels, before bias and ReLU.

    Args:
        planes: (taps in time, I, rows, phases, columns); each frame's place is its number modulo
            how many these are.
        places: Of each tap in space.
        weight: (groups of O, taps in time, taps in space, O of a group).
        earliest: Frame that the first tap in time reads; it may lie before the clip.
        latest: Where frames end.
        row: That the first tap in space reads.
        sums: (O, W), written.
    """
    sums[:] = 0
    # frame by frame, so that what all groups read of one is in the first level of caches
    for frame in range(max(earliest, 0), latest):
        tap, read = frame - earliest, planes[frame % len(planes), 0, row].ctypes.data
        for group in range(len(weight)):
            into = sums[group * TOGETHER :]
            _add_line(read, places, weight[group, tap], into)


@compiled
def _add_line(read: int, places: Any, weight: Any, sums: Any) -> None:
    """Add what one group of channels makes of one frame, by pieces of a few vectors."""
    taps, width = places.ctypes.data, sums.shape[1]
    n = 0
    while n < width:
        first, into = read + n * BYTES, sums[0, n:].ctypes.data
        left = (width - n) // LANES
        pieces = -(-left // MOST_VECTORS)
        vectors = -(-left // pieces)
        if vectors == 4:
            _add_four(into, width, first, taps, weight)
        elif vectors == 3:
            _add_three(into, width, first, taps, weight)
        elif vectors == 2:
            _add_two(into, width, first, taps, weight)
        else:
            _add_one(into, width, first, taps, weight)
        n += vectors * LANES


@compiled
def _write_line(sums: Any, bias: Any, relu: bool, lines: Any, y: Any) -> None:
    """Give (W, O) the sums, (O, W), with bias and ReLU; `lines`, (O, W), is room for it.

    Line by line first, so that vectors are full.
    """
    least = np.float32(0) if relu else np.float32(-np.inf)
    channels, width = lines.shape
    for c in range(channels):
        line, total = lines[c], sums[c]
        for n in range(width):
            value = total[n] + bias[c]
            line[n] = like(least if value < least else value, line[n])
    if channels == TOGETHER:
        _write_four(lines, y.reshape(-1))
    elif channels == 2 * TOGETHER:
        _write_eight(lines, y.reshape(-1))
    else:
        for n in range(width):
            for c in range(channels):
                y[n, c] = lines[c, n]


@compiled
def _write_four(lines: Any, y: Any) -> None:
    a, b, c, d = lines
    for n in range(len(a)):
        y[4 * n], y[4 * n + 1], y[4 * n + 2], y[4 * n + 3] = a[n], b[n], c[n], d[n]


@compiled
def _write_eight(lines: Any, y: Any) -> None:
    a, b, c, d, e, f, g, h = lines
    for n in range(len(a)):
        y[8 * n], y[8 * n + 1], y[8 * n + 2], y[8 * n + 3] = a[n], b[n], c[n], d[n]
        y[8 * n + 4], y[8 * n + 5], y[8 * n + 6], y[8 * n + 7] = e[n], f[n], g[n], h[n]
