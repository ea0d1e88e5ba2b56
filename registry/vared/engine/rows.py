"""Convolutions behind TSM's shift, of rows that stand for several frames each: once a row. Ours.

Shape legend: as in `values`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .filters import Cut, Filters
from .packed import Convolve, Ending, rectify
from .values import Value

WORTH_ROWS = 32
"""From so many channels on that move either way, `arrives` costs less than to convolve more frames.

Two frames of each of four rows, both wanted, took with one thread and with two, in bfloat16, .72 to
.91 of a shifted copy's time and its convolution's where 32 to 256 channels moved, and 1.35 and 1.77
where 8 did; in float32 with two threads .70 to .79 and 1.11. One wanted frame of each row took 1.04
to 1.54 (EPYC of family 26, ResNet-50's first convolutions of a block, medians of 41).
"""


def shifts_by_rows(x: Value, step: int, div: int) -> bool:
    """Return whether to convolve each row once, though it stands for several wanted frames.

    They differ in what `arrives` alone. Where only one is wanted nothing would be saved.
    """
    are_whole = x.repeats % step == 0 and x.num_frames % x.repeats == 0
    return x.repeats > step and are_whole and x.data.shape[3] // div >= WORTH_ROWS


def arrives(data_THWC: Tensor, div: int, *, ahead: bool) -> Tensor:
    """Return what TSM's shift adds to a row of data where it meets another one.

    Args:
        data_THWC: Rows that stand for several frames each.
        div: Inverse of the share of channels that moves either way.
        ahead: In the last frame of each, the first channels, of the next row; else in the first
            frame the channels behind them, of the row before.

    Returns:
        (T', H, W, moving channels): those of the other row, zeros beyond the clip's ends, less the
        row's own.
    """
    fold = data_THWC.shape[3] // div
    channels = data_THWC[..., :fold] if ahead else data_THWC[..., fold : 2 * fold]
    moved = torch.empty_like(channels, memory_format=torch.contiguous_format)
    if ahead:
        torch.sub(channels[1:], channels[:-1], out=moved[:-1])
        torch.neg(channels[-1], out=moved[-1])
    else:
        torch.sub(channels[:-1], channels[1:], out=moved[1:])
        torch.neg(channels[0], out=moved[0])
    return moved


def ready_by_rows(
    filters: Filters, x: Value, step: int, div: int, cut: Cut, ending: Ending
) -> tuple[Convolve, int]:
    """Return what convolves such maps behind TSM's shift, and its multiply-adds.

    Args:
        filters: Of the convolution; not grouped.
        x: One of them, whose rows `shifts_by_rows`.
        step: From one wanted frame to the next.
        div: Inverse of the share of channels that moves either way.
        cut: What to compute.
        ending: What to do with the output.
    """
    fold = x.data.shape[3] // div
    rows, macs = filters.ready(x.data, cut, replace(ending, relu=False))
    adds = replace(ending, adds=True)
    ends = [
        filters.reading(start, start + fold).ready(x.data[..., :fold], cut, adds)
        for start in ((fold, 0) if step == 1 else (fold,))
    ]
    first, last = ends[0][0], ends[1][0] if step == 1 else None
    convolve = _ByRows(rows, first, last, x.repeats // step, div, ending.relu)
    return convolve, macs + sum(macs_of_end for _, macs_of_end in ends)


@dataclass(frozen=True)
class _ByRows:
    """A convolution behind TSM's shift, of rows that stand for several frames each.

    It is linear, so that frames of a row differ in what the convolution makes of what `arrives`: a
    few channels in the first frame and in the last one.

    Args:
        rows: Convolves rows as they are, to an output that is yet to be rectified.
        first: Convolves what arrives in the first frame, added to that; ends as the layer does.
        last: Likewise in the last frame; None where that is not wanted.
        num_places: Frames of a row that are wanted.
        div: Inverse of the share of channels that moves either way.
        relu: Apply ReLU to the other frames.
    """

    rows: Convolve
    first: Convolve
    last: Convolve | None
    num_places: int
    div: int
    relu: bool

    def __call__(self, data: Tensor, _: Tensor | None) -> Tensor:
        """Return the wanted frames of all rows."""
        row = self.rows(data, None)
        y = row.new_empty(len(row), self.num_places, *row.shape[1:])
        y[:, 0] = self.first(arrives(data, self.div, ahead=False), row)
        others = y[:, 1:]
        if self.last is not None:
            y[:, -1] = self.last(arrives(data, self.div, ahead=True), row)
            others = y[:, 1:-1]
        if others.shape[1]:
            others.copy_((rectify(row) if self.relu else row)[:, None])
        return y.flatten(0, 1)
