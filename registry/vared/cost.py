"""What every dynamic layer costs on every route, in multiply-adds for one clip.

Counted as `registry.macs` counts: a multiply-add of a convolution or fully connected layer is one,
batch normalisation two an element, pooling one an element (docs/conventions.md).

Shape legend: N clips, L layers, S branches of an axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .rebuild import kept_sizes
from .settings import GateInput


@dataclass(frozen=True)
class LayerCost:
    """Static facts of one dynamic layer.

    Args:
        name: Module path in the recognizer.
        macs_per_element: Multiply-adds of the convolution for one output element.
        norm_per_element: 2 with batch normalisation, else 0.
        norm_is_full: Normalisation sees the rebuilt tensor (placement "before").
        num_channels: Output channels.
        num_frames: Output frames.
        area: Output height times width.
        channel_factors: Reductions on offer, ascending from 1.
        time_factors: Likewise.
        gate: Multiply-adds of the gate, 0 where there is none.
        cheap_per_element: Multiply-adds for one rebuilt element.
        unit_weights: A single live branch weighs exactly one, so nothing is multiplied.
    """

    name: str
    macs_per_element: int
    norm_per_element: int
    norm_is_full: bool
    num_channels: int
    num_frames: int
    area: int
    channel_factors: tuple[int, ...]
    time_factors: tuple[int, ...]
    gate: int
    cheap_per_element: int
    unit_weights: bool

    @property
    def dense(self) -> int:
        """Multiply-adds of the unmodified layer: convolution and normalisation."""
        per_element = self.macs_per_element + self.norm_per_element
        return per_element * self.num_channels * self.num_frames * self.area


@dataclass(frozen=True)
class Executed:
    """Executed multiply-adds of each clip and layer, integers of shape (N, L).

    `layer` is convolution and normalisation, `gate` and `rebuild` the two overheads.
    """

    layer: Tensor
    gate: Tensor
    rebuild: Tensor
    static: int
    """Multiply-adds of everything that no gate controls."""

    def total(self) -> Tensor:
        """Return the whole recognizer's executed multiply-adds per clip, (N,)."""
        return (self.layer + self.gate + self.rebuild).sum(1) + self.static


class CostTable:
    """Costs of all dynamic layers as tensors, so that a batch is priced in a few operations.

    Args:
        layers: One entry a dynamic layer, in the order of their indices.
        dense: Multiply-adds of the unmodified recognizer, everything included.

    `shares` holds each layer's share of these, (L,).
    """

    def __init__(self, layers: Sequence[LayerCost], dense: int) -> None:
        self.layers = tuple(layers)
        self.dense = dense
        self.static = dense - sum(layer.dense for layer in layers)
        num_channel = max(len(layer.channel_factors) for layer in layers)
        num_time = max(len(layer.time_factors) for layer in layers)
        self.kept_channels = _kept(layers, "num_channels", "channel_factors", num_channel)
        self.kept_frames = _kept(layers, "num_frames", "time_factors", num_time)
        self._conv = _column(layers, lambda c: c.macs_per_element * c.area)
        self._norm = _column(layers, lambda c: c.norm_per_element * c.area)
        self._norm_is_full = _column(layers, lambda c: int(c.norm_is_full))
        self._area = _column(layers, lambda c: c.area)
        self._gate = _column(layers, lambda c: c.gate)
        self._cheap = _column(layers, lambda c: c.cheap_per_element)
        self._unit = _column(layers, lambda c: int(c.unit_weights))
        self.shares = torch.tensor([layer.dense / dense for layer in layers])

    def __len__(self) -> int:
        return len(self.layers)

    def to(self, device: torch.device) -> CostTable:
        """Move the tables to where the gates are; at most once a run."""
        if self.kept_channels.device != device:
            for name, value in vars(self).items():
                if isinstance(value, Tensor):
                    setattr(self, name, value.to(device))
        return self

    def executed(self, live_channel: Tensor, live_time: Tensor) -> Executed:
        """Price live branches, booleans (N, L, S); at least one an axis is live."""
        self.to(live_channel.device)
        channels = self._largest(live_channel, self.kept_channels)
        frames = self._largest(live_time, self.kept_frames)
        norm_elements = torch.where(
            self._norm_is_full.bool(),
            self.kept_channels[:, 0] * self.kept_frames[:, 0],
            channels * frames,
        )
        layer = channels * frames * self._conv + norm_elements * self._norm
        rebuild = self._area * (
            frames * self._blend(live_channel, channels, self.kept_channels)
            + self.kept_channels[:, 0] * self._blend(live_time, frames, self.kept_frames)
        )
        return Executed(layer, self._gate.expand_as(layer), rebuild, self.static)

    @staticmethod
    def _largest(live: Tensor, kept: Tensor) -> Tensor:
        return (live * kept).amax(-1)

    def _blend(self, live: Tensor, largest: Tensor, kept: Tensor) -> Tensor:
        """Multiply-adds per line along the other axis: weigh what is there, rebuild the rest."""
        single = live.sum(-1) == 1
        weighs = ~(single & self._unit.bool()) & (kept[:, -1] < kept[:, 0])
        rebuilt = (live * (kept[:, :1] - kept)).sum(-1)
        return weighs * (largest + rebuilt) + self._cheap * rebuilt

    def soft_share(self, channel: Tensor, time: Tensor) -> Tensor:
        """Return the share of dense MACs per clip (N,): exact value, soft gradient.

        Args:
            channel: Gate weights (N, L, S_channel).
            time: Gate weights (N, L, S_time).
        """
        exact = self.executed(channel > 0, time > 0).total() / self.dense
        channels = self._factor(channel, self.kept_channels)
        frames = self._factor(time, self.kept_frames)
        soft = (channels * frames) @ self.shares
        return exact + soft - soft.detach()

    @staticmethod
    def _factor(weights: Tensor, kept: Tensor) -> Tensor:
        """Share of an axis (N, L): value of the largest live branch, gradient of the soft mean."""
        shares = kept / kept[:, :1]
        soft = (weights * shares).sum(-1) / weights.sum(-1).clamp_min(1e-6)
        hard = ((weights > 0) * shares).amax(-1)
        return hard + soft - soft.detach()

    def floor(self) -> float:
        """Return the smallest share of dense MACs that any route can execute."""
        cheapest = [_only_cheapest(kept) for kept in (self.kept_channels, self.kept_frames)]
        return float(self.executed(cheapest[0], cheapest[1]).total()[0]) / self.dense


def _only_cheapest(kept_LS: Tensor) -> Tensor:
    """Live branches (1, L, S) with one of the smallest branches alone."""
    live = torch.zeros(1, *kept_LS.shape, dtype=torch.bool, device=kept_LS.device)
    return live.scatter(-1, kept_LS.argmin(-1)[None, :, None], True)


def gate_macs(num_inputs: int, pooling: int, width: int, num_outputs: int, norm: str) -> int:
    """Multiply-adds of a gate: pooling, two fully connected layers and its normalisation."""
    normalisation = {
        "layer": 5 * width,
        "batch": 2 * width,
        "running": num_inputs,
        "none": 0,
    }[norm]
    return pooling + num_inputs * width + normalisation + width * num_outputs


def gate_inputs(gate_input: GateInput, num_channels: int, num_frames: int) -> int:
    """Numbers that a gate sees."""
    return num_channels * {"mean": 1, "frames": num_frames, "motion": 2}[gate_input]


def pooling_macs(gate_input: GateInput, num_frames: int, frame_elements: int) -> int:
    """Multiply-adds of pooling: one an element, and two for each difference and its mean."""
    differences = num_frames - 1 if gate_input == "motion" else 0
    return frame_elements * (num_frames + 2 * differences)


def _kept(layers: Sequence[LayerCost], size: str, factors: str, width: int) -> Tensor:
    rows = []
    for layer in layers:
        kept = kept_sizes(getattr(layer, size), getattr(layer, factors))
        rows.append(kept + [kept[-1]] * (width - len(kept)))
    return torch.tensor(rows)


def _column(layers: Sequence[LayerCost], value: object) -> Tensor:
    assert callable(value)
    return torch.tensor([int(value(layer)) for layer in layers])


def conv_macs_per_element(weight_shape: Sequence[int]) -> int:
    """Multiply-adds of a convolution for one output element, from (C_out, C_in/groups, *kernel)."""
    return math.prod(weight_shape[1:])
