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

from .gates import Route
from .packed import Convolve, Ending
from .shift import shifted, shifted_for_now
from .values import Copies, Residual, Value


@dataclass(frozen=True)
class Way:
    """What a layer did that was one convolution: what decided on it decides alike next time.

    Args:
        reads: Gives the frames to convolve.
        convolve: The convolution.
        ending: What it does with its output, but for what is added.
        adds: Whether it adds what came past the block.
        num_frames: As in `Value`, of the output, as are the next four.
        repeats: See there.
        copies: See there.
        scale: See there.
        is_folded: See there.
    """

    reads: Callable[[Value], Tensor]
    convolve: Convolve
    ending: Ending
    adds: bool
    num_frames: int
    repeats: int
    copies: Copies | None
    scale: float
    is_folded: bool

    @classmethod
    def of(
        cls,
        y: Value,
        reads: Callable[[Value], Tensor],
        convolve: Convolve,
        ending: Ending,
        *,
        adds: bool,
    ) -> Way:
        """Return the way that led to an output."""
        made = (y.num_frames, y.repeats, y.copies, y.scale, y.is_folded)
        return cls(reads, convolve, replace(ending, add=None), adds, *made)

    def made(self, data: Tensor) -> Value:
        """Return the output, given its data."""
        kinds = (self.num_frames, self.repeats, self.copies, self.scale)
        return Value(data, *kinds, is_folded=self.is_folded)


def known_by(
    x: Value, route: Route, residual: Residual | None, *, may_write: bool
) -> tuple[Any, ...] | None:
    """What decides on a way, for a layer; None where it is not worth keeping: weights differ."""
    if route.branches is None:
        return None
    copies = None if x.copies is None else x.copies.key
    known = (route.branches, x.data.shape, x.num_frames, x.repeats, copies, x.scale, x.is_view)
    if residual is None:
        return known, may_write
    add = residual.value
    kept = (add.data.shape, add.repeats, add.copies is None, add.scale, add.is_view)
    return known, may_write, kept, residual.may_write


def data_of(x: Value) -> Tensor:
    """The data, as they are."""
    return x.data


def selected(rows: Tensor, x: Value) -> Tensor:
    """Some rows of the data."""
    return x.data.index_select(0, rows)


def shifted_copy(step: int, div: int, x: Value) -> Tensor:
    """Every `step`-th frame after TSM's shift."""
    return shifted(x, step, div)


def convolved_shifted(convolve: Convolve, div: int, data: Tensor, ending: Ending) -> Tensor:
    """Convolve what TSM shifts, in place for as long."""
    with shifted_for_now(data, div):
        return convolve(data, ending)
