"""What a layer did, kept to be done again. Ours.

What a layer does follows from how its input is kept and from the route, not from the numbers. To
find it out is work for Python, which no second thread can share. So where a layer came down to one
convolution, that way is kept.

Shape legend: as in `values`; O output channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .gates import Route
from .packed import Convolve
from .shift import shifted, shifted_for_now
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


def convolved_shifted(
    convolve: Convolve, div: int, step: int, data: Tensor, add: Tensor | None
) -> Tensor:
    """Convolve what TSM shifts, in place for as long."""
    with shifted_for_now(data, div, step):
        return convolve(data, add)
