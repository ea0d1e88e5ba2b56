"""What a layer did, kept to be done again. Ours.

What a layer does follows from how its input is kept and from the route, not from the numbers. To
find it out is work for Python, which no second thread can share. So where a layer came down to one
convolution, that way is kept.

Shape legend: as in `values`; O output channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from .filters import Cut, Filters
from .gates import Route
from .packed import Convolve, Ending, rectify
from .shift import arrives, shifted, shifted_for_now
from .values import Residual, Value


@dataclass(frozen=True)
class Way:
    """What a layer did that was one convolution: what decided on it decides alike next time.

    Args:
        reads: Gives the frames to convolve.
        convolve: The convolution.
        adds: Whether it adds what came past the block.
        macs: Its multiply-adds.
        made: How its outputs are kept: one of them, without its data.
    """

    reads: Callable[[Value], Tensor]
    convolve: Convolve
    adds: bool
    macs: int
    made: Value

    @classmethod
    def to(
        cls,
        y: Value,
        reads: Callable[[Value], Tensor],
        convolve: Convolve,
        *,
        adds: bool,
        macs: int,
    ) -> Way:
        """Return the way that led to an output."""
        return cls(reads, convolve, adds, macs, y.alike(y.data.new_empty(0)))

    def __call__(self, x: Value, residual: Residual | None) -> Value:
        """Return the output."""
        add = residual.value.data if residual is not None and self.adds else None
        return self.made.alike(self.convolve(self.reads(x), add))


def known_by(
    x: Value, route: Route, residual: Residual | None, *, may_write: bool
) -> tuple[Any, ...] | None:
    """What decides on a way, for a layer; None where weights are new with each clip."""
    if route.branches is None or x.scale != 1.0:
        return None
    if residual is None:
        return x.kind, route.branches, may_write
    if residual.value.scale != 1.0:
        return None
    return x.kind, route.branches, may_write, residual.value.kind, residual.may_write


def data_of(x: Value) -> Tensor:
    """The data, as they are."""
    return x.data


def selected(rows: Tensor, x: Value) -> Tensor:
    """Some rows of the data."""
    return x.data.index_select(0, rows)


def shifted_copy(step: int, div: int, x: Value) -> Tensor:
    """Every `step`-th frame after TSM's shift."""
    return shifted(x, step, div)


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


def convolved_shifted(
    convolve: Convolve, div: int, step: int, data: Tensor, add: Tensor | None
) -> Tensor:
    """Convolve what TSM shifts, in place for as long."""
    with shifted_for_now(data, div, step):
        return convolve(data, add)
