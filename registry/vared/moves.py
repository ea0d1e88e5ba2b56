"""Copies along one axis as moves: slices that are added, weighed, to other slices. Ours.

Shape legend: N clips, S branches, L length of the axis, M what lies outside of it in a clip's
memory, J what lies inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .frames import first_frames

Factors = tuple[int, ...]


@dataclass(frozen=True)
class Move:
    """What one branch copies: from a slice of the axis to another of the same length."""

    branch: int
    target: slice
    source: slice


@dataclass(frozen=True)
class Moves:
    """The blend of one axis of contiguous maps.

    Args:
        axis: Of the five.
        kept_SL: 1 where a branch computes that channel or frame itself, else 0.
        moves: All that is copied.
    """

    axis: int
    kept_SL: Tensor
    moves: tuple[Move, ...]

    def blend(self, x: Tensor, weights_NS: Tensor) -> Tensor:
        """Return the sum over branches of x, kept and copied, each by its weight."""
        if len(self.kept_SL) == 1:
            return x
        seen = self._lines(x)
        y = seen * self._own(weights_NS)
        for move in self.moves:
            weight = weights_NS[:, move.branch, None, None, None]
            y[:, :, move.target].addcmul_(seen[:, :, move.source], weight)
        return y.view(x.shape)

    def blend_back(self, dy: Tensor, weights_NS: Tensor) -> Tensor:
        """Return the gradient of x: `blend` transposed."""
        if len(self.kept_SL) == 1:
            return dy
        seen = self._lines(dy)
        dx = seen * self._own(weights_NS)
        for move in self.moves:
            weight = weights_NS[:, move.branch, None, None, None]
            dx[:, :, move.source].addcmul_(seen[:, :, move.target], weight)
        return dx.view(dy.shape)

    def dots(self, dy: Tensor, x: Tensor) -> Tensor:
        """Return the gradient of the weights (N, S)."""
        back, seen = self._lines(dy), self._lines(x)
        dots = (back * seen).sum((1, 3)) @ self.kept_SL.T
        for move in self.moves:
            pieces = back[:, :, move.target] * seen[:, :, move.source]
            dots[:, move.branch] += pieces.sum((1, 2, 3))
        return dots

    def _lines(self, x: Tensor) -> Tensor:
        """Return contiguous x as (N, M, L, J)."""
        inside = x.stride(self.axis)
        return x.view(len(x), -1, x.shape[self.axis], inside)

    def _own(self, weights_NS: Tensor) -> Tensor:
        """Return what each channel or frame weighs where it stands, (N, 1, L, 1)."""
        return (weights_NS @ self.kept_SL)[:, None, :, None]


def channel_moves(num_channels: int, factors: Factors, device: torch.device) -> Moves:
    """Return the moves along the last axis, (N, T, H, W, C)."""
    moves = tuple(_moves_of_channels(num_channels, factors))
    return Moves(4, _kept(num_channels, len(factors), moves, device), moves)


def frame_moves(
    num_frames: int, factors: Factors, device: torch.device, *, mirrored: bool
) -> Moves:
    """Return the moves along the frames of NCTHW; mirrored: see `frames`."""
    first = first_frames(num_frames, factors[-1]) if mirrored else num_frames
    moves = (
        *_moves_of_frames(0, first, factors, keeps_last=False),
        *_moves_of_frames(first, num_frames, factors, keeps_last=True),
    )
    return Moves(2, _kept(num_frames, len(factors), moves, device), moves)


def _kept(size: int, num_branches: int, moves: tuple[Move, ...], device: torch.device) -> Tensor:
    kept_SL = torch.ones(num_branches, size, device=device)
    for move in moves:
        kept_SL[move.branch, move.target] = 0
    return kept_SL


def _moves_of_channels(num_channels: int, factors: Factors) -> Iterator[Move]:
    for branch, factor in enumerate(factors):
        kept = -(-num_channels // factor)
        for start in range(kept, num_channels, kept):
            stop = min(start + kept, num_channels)
            yield Move(branch, slice(start, stop), slice(0, stop - start))


def _moves_of_frames(
    start: int, stop: int, factors: Factors, *, keeps_last: bool
) -> Iterator[Move]:
    for branch, factor in enumerate(factors):
        kept = start + (factor - 1 if keeps_last else 0)
        for target in range(start, min(start + factor, stop)):
            if target != kept:
                num = len(range(target, stop, factor))
                source = slice(kept, kept + (num - 1) * factor + 1, factor)
                yield Move(branch, slice(target, stop, factor), source)
