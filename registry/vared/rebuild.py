"""Blend the branches of one axis: computed channels or frames, and the rest rebuilt from them.

Recalled: Y = sum_i V[i] * branch_i, where branch i keeps the first C/f_i channels (or every f_i-th
frame) and rebuilds the rest by a cheap linear operation. Every branch is a slice of the full
computation, so one function serves both paths: training hands over everything, inference only what
the largest live branch computed (`present`).

Shape legend: N clips, S branches; z has five axes, clips first, `axis` is the one being reduced.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from .frames import first_frames, mirrors
from .settings import Axis, VaRedSettings


class Cheap(nn.Module):
    """The cheap linear operation on one rebuilt piece. All start as a copy (ours).

    Args:
        kind: "copy"; "scale", one factor a channel; "depthwise", one 3x3 filter a channel.
        num_channels: Channels of the piece.
    """

    def __init__(self, kind: str, num_channels: int) -> None:
        super().__init__()
        self.kind = kind
        if kind == "scale":
            self.weight = nn.Parameter(torch.ones(num_channels))
        elif kind == "depthwise":
            self.weight = nn.Parameter(torch.zeros(num_channels, 1, 3, 3))
            nn.init.dirac_(self.weight, groups=num_channels)

    def forward(self, piece: Tensor, channel_axis: int) -> Tensor:
        """Rebuild a piece of the same shape; `channel_axis` is 1 (NCTHW) or 2 (NTCHW)."""
        if self.kind == "copy":
            return piece
        if self.kind == "scale":
            shape = [1] * piece.dim()
            shape[channel_axis] = -1
            return piece * self.weight.view(shape)
        if channel_axis == 1:
            return F.conv3d(
                piece, self.weight.unsqueeze(2), padding=(0, 1, 1), groups=len(self.weight)
            )
        folded = F.conv2d(piece.flatten(0, 1), self.weight, padding=1, groups=len(self.weight))
        return folded.view(piece.shape)

    @property
    def macs_per_element(self) -> int:
        """Multiply-adds for one rebuilt element."""
        return {"copy": 0, "scale": 1, "depthwise": 9}[self.kind]


class Rebuild(nn.Module):
    """Blends the branches of one axis of one layer.

    Args:
        axis: "channel" or "time".
        factors: Reduction of each branch, ascending from 1.
        num_channels: Channels of the layer's output.
        settings: Of the method.
        mirrored: Which frames are kept, on the time axis: see `frames`.
    """

    macs_column = "rebuild"

    def __init__(
        self,
        axis: Axis,
        factors: tuple[int, ...],
        num_channels: int,
        settings: VaRedSettings,
        *,
        mirrored: bool = False,
    ) -> None:
        super().__init__()
        self.axis = axis
        self.factors = factors
        self.mirrored = mirrored
        self.unit = settings.one_branch_weighs_one
        self.kind = settings.cheap
        self.cheap = nn.ModuleDict()
        for piece, branch, channels in self._rebuilt_pieces(num_channels):
            self.cheap[f"{piece}_{branch}"] = Cheap(settings.cheap, channels)

    def _rebuilt_pieces(self, num_channels: int) -> list[tuple[int, int, int]]:
        """(piece, branch, channels) of everything some branch has to rebuild."""
        if self.axis == "time":
            return [
                (offset, branch, num_channels)
                for branch, factor in enumerate(self.factors)
                for offset in range(self.factors[-1])
                if offset % factor
            ]
        kept = [*kept_sizes(num_channels, self.factors), 0]
        return [
            (piece, branch, kept[piece] - kept[piece + 1])
            for piece in range(len(self.factors))
            for branch in range(piece + 1, len(self.factors))
        ]

    def forward(
        self, z: Tensor, weights: Tensor, *, channel_axis: int, size: int, live: tuple[int, ...]
    ) -> Tensor:
        """Return all `size` channels (frames) from those that the largest of `live` computes.

        Args:
            z: Five axes; along `axis` it holds what branch `live[0]` computes.
            weights: (N, S), zero for branches that are not in `live`.
            channel_axis: 1 (NCTHW) or 2 (NTCHW).
            size: Channels (frames) of the full output.
            live: Ascending indices of the branches to blend; 0 is the full one.
        """
        if len(self.factors) == 1:
            return z
        blend = _Blend(self.cheap, weights, channel_axis, live, self.unit and len(live) == 1)
        if self.axis == "channel":
            return self._channels(z, blend, size)
        return self._frames(z, blend, size)

    def _channels(self, z: Tensor, blend: _Blend, size: int) -> Tensor:
        axis, live = blend.channel_axis, blend.live
        if live == (0,):
            return blend.weigh(z, 0)
        kept = [*kept_sizes(size, self.factors), 0]
        pieces = []
        for piece in reversed(range(len(self.factors))):
            start, stop = kept[piece + 1], kept[piece]
            computed = z.narrow(axis, start, stop - start) if piece >= live[0] else None
            sources = {
                branch: _wrapped(z, axis, start, stop, kept[branch])
                for branch in live
                if branch > piece
            }
            pieces.append(blend.piece(piece, piece, computed, sources))
        return torch.cat(pieces, axis)

    def _frames(self, z: Tensor, blend: _Blend, size: int) -> Tensor:
        axis, live = 3 - blend.channel_axis, blend.live
        if live == (0,):
            return blend.weigh(z, 0)
        period, step = self.factors[-1], self.factors[live[0]]
        if not self.mirrors(size):
            return self._strided(z, blend, axis, size)
        first = first_frames(size, period)
        front, back = torch.split(z, [first // step, (size - first) // step], axis)
        halves = [self._strided(front, blend, axis, first)]
        if first < size:
            halves.append(self._strided(back.flip(axis), blend, axis, size - first).flip(axis))
        return torch.cat(halves, axis)

    def mirrors(self, num_frames: int) -> bool:
        """Whether the last frame of each group is kept in the second half of that many frames."""
        return mirrors(num_frames, self.factors[-1], self.mirrored)

    def _strided(self, z: Tensor, blend: _Blend, axis: int, size: int) -> Tensor:
        """Frames of groups that keep their first."""
        live, period = blend.live, self.factors[-1]
        step = self.factors[live[0]]
        z = _padded(z, axis, math.ceil(size / period) * period // step)
        pieces = []
        for offset in range(period):
            kept_by = max(b for b, factor in enumerate(self.factors) if offset % factor == 0)
            is_kept = offset % step == 0
            computed = _every(z, axis, offset // step, period // step) if is_kept else None
            sources = {
                branch: _every(z, axis, (offset - offset % factor) // step, period // step)
                for branch, factor in enumerate(self.factors)
                if branch in live and branch > kept_by
            }
            pieces.append(blend.piece(offset, kept_by, computed, sources))
        return torch.stack(pieces, axis + 1).flatten(axis, axis + 1).narrow(axis, 0, size)


@dataclass(frozen=True)
class _Blend:
    """How to weigh: the branches' weights (N, S), which are live, and whether they weigh one."""

    cheap: nn.ModuleDict
    weights: Tensor
    channel_axis: int
    live: tuple[int, ...]
    unit: bool

    def piece(
        self, piece: int, kept_by: int, computed: Tensor | None, sources: dict[int, Tensor]
    ) -> Tensor:
        """Weigh what was computed by the branches that keep it; add what others rebuild."""
        total = None
        if computed is not None:
            total = self.weigh(computed, kept_by)
        for branch, source in sources.items():
            rebuilt = self.cheap[f"{piece}_{branch}"](source, self.channel_axis)
            if total is None:
                total = rebuilt if self.unit else rebuilt * _per_clip(self.weights[:, branch])
            else:
                total = torch.addcmul(total, rebuilt, _per_clip(self.weights[:, branch]))
        assert total is not None
        return total

    def weigh(self, computed: Tensor, kept_by: int) -> Tensor:
        """Multiply by the summed weight of all branches up to `kept_by`: each holds it as it is."""
        if self.unit:
            return computed
        return computed * _per_clip(self.weights[:, : kept_by + 1].sum(1))


def kept_sizes(size: int, factors: tuple[int, ...]) -> list[int]:
    """Channels or frames that each branch computes: ceil(size / factor)."""
    return [math.ceil(size / factor) for factor in factors]


def _per_clip(weight_N: Tensor) -> Tensor:
    return weight_N.view(-1, 1, 1, 1, 1)


def _every(z: Tensor, axis: int, start: int, step: int) -> Tensor:
    index = [slice(None)] * z.dim()
    index[axis] = slice(start, None, step)
    return z[tuple(index)]


def _padded(z: Tensor, axis: int, size: int) -> Tensor:
    missing = size - z.shape[axis]
    if missing == 0:
        return z
    return torch.cat([z, z.narrow(axis, 0, 1).expand(*_with(z.shape, axis, missing))], axis)


def _with(shape: torch.Size, axis: int, size: int) -> list[int]:
    return [size if i == axis else n for i, n in enumerate(shape)]


def _wrapped(z: Tensor, axis: int, start: int, stop: int, period: int) -> Tensor:
    """Channels start..stop of the first `period` channels repeated without end."""
    first = start % period
    if first + stop - start <= period:
        return z.narrow(axis, first, stop - start)
    index = torch.arange(start, stop, device=z.device) % period
    return z.index_select(axis, index)
