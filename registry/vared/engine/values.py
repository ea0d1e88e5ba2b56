"""Feature maps of one clip that need not be there in full. Ours.

A frame or channel that was rebuilt as a copy is never written down: the map keeps what was computed
and says what stands for what, until an operation needs the whole of it.

Shape legend: T frames, C channels, H height, W width; T' and C' of them are computed. Data are
(T', H, W, C'), contiguous: what PyTorch calls channels last, for convolutions in 2D and 3D alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Copies:
    """Channels that are copies: channel c is `factor[c]` times the computed channel `source[c]`.

    The computed ones come first, and are copied in order, over and over: source[c] = c mod C'.

    Args:
        key: Layer and branch that made them, which names the filters folded for them.
        num_computed: C'.
        source: Integers (C,) below C'.
        factor: (C,), None where every factor is 1.
    """

    key: tuple[int, int]
    num_computed: int
    source: Tensor
    factor: Tensor | None

    @cached_property
    def num_channels(self) -> int:
        """C."""
        return len(self.source)

    @cached_property
    def source_array(self) -> NDArray[np.int64]:
        """`source` for numpy."""
        array: NDArray[np.int64] = self.source.cpu().numpy()
        return array

    @cached_property
    def factor_array(self) -> NDArray[np.float32]:
        """`factor` for numpy; it is not None."""
        assert self.factor is not None
        array: NDArray[np.float32] = self.factor.cpu().numpy()
        return array

    @cached_property
    def keep_order(self) -> bool:
        """Whether the largest of some values is that of their copies: a maximum may be lazy."""
        return self.factor is None or bool((self.factor >= 0).all())


_KINDS: dict[tuple[Any, ...], int] = {}


@dataclass(frozen=True)
class Value:
    """A feature map.

    Args:
        data: (T', H, W, C').
        num_frames: T.
        repeats: Frame t is data[t // repeats]: T' = ceil(T / repeats).
        copies: Of channels; None where C' = C.
        scale: What data are to be multiplied by, above 0.
        is_view: Data belong to another value too, so they must not be written to.
        is_folded: The backbone's own code sees (T, C, H, W), else (1, C, T, H, W).
    """

    data: Tensor
    num_frames: int
    repeats: int = 1
    copies: Copies | None = None
    scale: float = 1.0
    is_view: bool = False
    is_folded: bool = False

    @cached_property
    def kind(self) -> int:
        """A number that all maps have which are kept alike, whatever is in them and their scale."""
        copies = None if self.copies is None else self.copies.key
        kept = (self.data.shape, self.num_frames, self.repeats, copies)
        return _KINDS.setdefault((*kept, self.is_view, self.is_folded), len(_KINDS))

    def alike(self, data: Tensor) -> Value:
        """Return other data of the same shape, kept alike, of the same `kind` and scale.

        As a constructor would, which for a class that is frozen takes several times as long.
        """
        value = object.__new__(Value)
        vars(value).update(vars(self), data=data, kind=self.kind)
        return value

    @property
    def num_channels(self) -> int:
        """C."""
        return self.data.shape[3] if self.copies is None else self.copies.num_channels

    def repeated(self, repeats: int) -> Value:
        """Return the value with fewer `repeats`, a divisor of those it has."""
        if repeats == self.repeats:
            return self
        times = self.repeats // repeats
        wanted = -(-self.num_frames // repeats)
        data = self.data[:, None].expand(-1, times, -1, -1, -1).flatten(0, 1)[:wanted].contiguous()
        return replace(self, data=data, repeats=repeats, is_view=False)

    def all_channels(self) -> Value:
        """Return the value with its channels written down."""
        if self.copies is None:
            return self
        data = torch.cat(self.pieces(), 3)
        if self.copies.factor is not None:
            data *= self.copies.factor.to(data.dtype)
        return replace(self, data=data, copies=None, is_view=False)

    def pieces(self) -> list[Tensor]:
        """Return what lies side by side once all channels are written down, before any factor."""
        if self.copies is None:
            return [self.data]
        kept, num_channels = self.copies.num_computed, self.copies.num_channels
        # looking single channels up takes a hundred times as long
        ends = (min(kept, num_channels - start) for start in range(0, num_channels, kept))
        return [self.data[..., :end] for end in ends]

    def times(self, weight: float) -> Value:
        """Return the value times a weight above 0, which no operation has to apply yet."""
        return self if weight == 1.0 else replace(self, scale=self.scale * weight)

    def scaled(self, left: float = 1.0) -> Value:
        """Return the value with its scale applied, or all but what is to be left of it."""
        if self.scale == left:
            return self
        return replace(self, data=self.data * (self.scale / left), scale=left, is_view=False)

    def whole(self) -> Value:
        """Return the value written down in full: (T, H, W, C)."""
        return self.all_channels().scaled().repeated(1)


class Residual(NamedTuple):
    """What a layer ends a block by adding.

    Args:
        value: What came past the block.
        relu: ReLU after that sum.
        may_write: Nothing else reads it.
    """

    value: Value
    relu: bool
    may_write: bool


def has_factor(value: Value) -> bool:
    """Return whether some channels are multiples of what they are copies of."""
    return value.copies is not None and value.copies.factor is not None


def side_by_side(parts: Sequence[Value]) -> Value:
    """Return the channels of several values of as many frames, one after the other.

    One pass, in which copies of frames and channels are read from their originals.
    """
    largest = max(parts, key=lambda part: part.data.numel())
    parts = [part.scaled(largest.scale) for part in parts]
    parts = [part.all_channels() if has_factor(part) else part for part in parts]
    least, most = (find(part.repeats for part in parts) for find in (min, max))
    if largest.num_frames % most:  # the last group is smaller than the others
        most = least
    parts = [part if part.repeats == most else part.repeated(least) for part in parts]
    times, num_groups = most // least, -(-largest.num_frames // most)
    groups = [
        piece.view(num_groups, -1, *piece.shape[1:]).expand(-1, times, -1, -1, -1)
        for part in parts
        for piece in part.pieces()
    ]
    data = torch.cat(groups, 4).flatten(0, 1)
    return replace(parts[0], data=data, repeats=least, copies=None, is_view=False)


def frames(value: Value, index: Sequence[int]) -> Tensor:
    """Return data of the frames with these indices, repeats looked up: (len(index), H, W, C')."""
    rows = rows_of(value, index)
    return value.data if rows is None else value.data.index_select(0, rows)


def rows_of(value: Value, index: Sequence[int]) -> Tensor | None:
    """Return the rows of data that these frames are in; None: all, one after the other."""
    rows = _rows(tuple(index), value.repeats, len(value.data))
    return None if rows is None else rows.to(value.data.device)


@lru_cache(maxsize=512)
def _rows(index: tuple[int, ...], repeats: int, num_rows: int) -> Tensor | None:
    rows = [t // repeats for t in index]
    return None if rows == list(range(num_rows)) else torch.tensor(rows)
