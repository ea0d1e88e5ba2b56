"""What the layers of a recognizer take on one machine, and what follows: where gates pay. Ours.

The values are measured by `registry.bench.layers` and kept as JSON.

Shape legend: N clips, L layers, S branches of an axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, get_args

import torch
from pydantic import Field
from torch import Tensor

from ..settings import Settings
from .cost import CostTable, LayerCost
from .policy import largest
from .rebuild import kept_sizes
from .settings import Axis, AxisLayers, VaRedSettings

_Settings = TypeVar("_Settings", bound=VaRedSettings)

AXES: tuple[Axis, ...] = get_args(Axis)

Times = tuple[float, ...]
"""Milliseconds of one axis' branches, in full first."""


class MeasuredLayer(Settings):
    """Milliseconds of one layer for one clip, in the inference engine.

    Args:
        layer: Its path in the recognizer.
        full_ms: In full.
        channels_ms: With half its channels; None where it keeps all.
        frames_ms: With half its frames; likewise.
        both_ms: With half of both; None where it does not offer both.
        idle: Axes whose halving saves too little time.
        undecided: Axes of which that is too uncertain to say; the median decided.
    """

    layer: str
    full_ms: float = Field(gt=0)
    channels_ms: float | None = Field(None, gt=0)
    frames_ms: float | None = Field(None, gt=0)
    both_ms: float | None = Field(None, gt=0)
    idle: tuple[Axis, ...] = ()
    undecided: tuple[Axis, ...] = ()

    def pays(self, axis: Axis) -> bool:
        """Whether a gate on this axis may save time."""
        halved = self.channels_ms if axis == "channel" else self.frames_ms
        return halved is not None and axis not in self.idle


class MachineTimes(Settings):
    """All layers that can have a gate.

    Args:
        processor: Its name.
        num_threads: Threads they ran with.
        dtype: Data type of the arithmetic.
        num_rounds: Rounds that counted.
        num_cores: Cores there were.
        load: Mean number of running processes, of the last minute at the end.
        layers: In order of execution.
    """

    processor: str
    num_threads: int
    dtype: str
    num_rounds: int
    num_cores: int = Field(ge=1)
    load: float = Field(ge=0)
    layers: tuple[MeasuredLayer, ...] = Field(min_length=1)

    @property
    def where(self) -> str:
        """What they are the times of, in a few words."""
        threads = f"{self.num_threads} thread{'s' if self.num_threads > 1 else ''}"
        return f"{self.processor or 'an unnamed processor'}, {threads}"

    @property
    def was_busy(self) -> bool:
        """Whether processes waited for one another, so that times are longer than they need be."""
        return self.load > self.num_cores

    def gated(self, axes: Sequence[Axis] = AXES) -> AxisLayers:
        """Return the layers that get a gate, axis by axis, as `gate_layers` takes them.

        Raises:
            ValueError: None does on any of these axes.
        """
        if not any(self.paying(axis) for axis in axes):
            raise ValueError(
                f"`gate_layers: auto`: halving none of the {len(self.layers)} layers saves time on "
                f"this machine ({self.where}); name layers, or say all"
            )
        return AxisLayers(channel=self.paying("channel"), time=self.paying("time"))

    def paying(self, axis: Axis) -> tuple[str, ...]:
        """Return the layers that a gate on this axis may save time in."""
        return tuple(layer.layer for layer in self.layers if layer.pays(axis))

    def idle(self, axis: Axis) -> tuple[str, ...]:
        """Return the layers whose halving on this axis saves too little."""
        return tuple(layer.layer for layer in self.layers if axis in layer.idle)

    def undecided(self, axis: Axis) -> tuple[str, ...]:
        """Return the layers of which that is too uncertain."""
        return tuple(layer.layer for layer in self.layers if axis in layer.undecided)


def with_gates_placed(settings: _Settings, times: MachineTimes | None) -> _Settings:
    """Return settings that name the layers with gates where they left that to times.

    Raises:
        ValueError: No layer is worth a gate.
    """
    if settings.gate_layers != "auto" or times is None:
        return settings
    return settings.model_copy(update={"gate_layers": times.gated(settings.axes)})


class TimeTable:
    """Times of all routes, so that a batch is priced in a few operations.

    Args:
        times: Of the recognizer on a machine.
        costs: Of its dynamic layers, which say what each offers.

    Raises:
        ValueError: A dynamic layer was not measured.
    """

    def __init__(self, times: MachineTimes, costs: CostTable) -> None:
        measured = {layer.layer: layer for layer in times.layers}
        missing = [cost.name for cost in costs.layers if cost.name not in measured]
        if missing:
            raise ValueError(
                f"the times of this recognizer's layers lack {len(missing)} of them, such as "
                f"{missing[0]!r}: they are of another recognizer"
            )
        total = sum(layer.full_ms for layer in times.layers)
        num_branches = costs.kept_channels.shape[1], costs.kept_frames.shape[1]
        tables = [_routes(measured[cost.name], cost, num_branches) for cost in costs.layers]
        self.shares = torch.tensor(tables) / total
        """Each route's share of the dense time, (L, S_channel, S_time)."""
        self.static = 1 - float(self.shares[:, 0, 0].sum())
        """That of the layers that no gate controls."""

    def share(self, channel: Tensor, time: Tensor) -> Tensor:
        """Return each clip's share of the dense time (N,): exact value, soft gradient.

        As `CostTable.soft_share` does of multiply-adds: the value is that of the largest live
        branches, the gradient that of the weighted mean of each axis.

        Args:
            channel: Gate weights (N, L, S_channel).
            time: Gate weights (N, L, S_time).
        """
        self.shares = self.shares.to(channel.device)
        weights = (_straight_through(channel), _straight_through(time))
        return torch.einsum("nlc,nlt,lct->n", *weights, self.shares) + self.static


def _straight_through(weights: Tensor) -> Tensor:
    soft = weights / weights.sum(-1, keepdim=True).clamp_min(1e-6)
    return largest(weights > 0).float() + soft - soft.detach()


def _routes(
    layer: MeasuredLayer, cost: LayerCost, num_branches: tuple[int, int]
) -> list[list[float]]:
    """Milliseconds by channel branch and time branch, padded with the last one."""
    channels = kept_sizes(cost.num_channels, cost.channel_factors)
    frames = kept_sizes(cost.num_frames, cost.time_factors)
    all_frames = along(channels, layer.full_ms, layer.channels_ms)
    half_frames = along(channels, layer.frames_ms or layer.full_ms, layer.both_ms)
    rows = [
        _padded(along(frames, full, half), num_branches[1])
        for full, half in zip(all_frames, half_frames, strict=True)
    ]
    return rows + [rows[-1]] * (num_branches[0] - len(rows))


def along(kept: Sequence[int], full_ms: float, half_ms: float | None) -> Times:
    """Return the times of an axis' branches from those of the first two.

    What is smaller than a half lies on the line through full and half; but nothing takes less than
    its share of the half.

    Args:
        kept: What each branch computes, in full first.
        full_ms: Time in full.
        half_ms: Time of the second branch; None where only one branch was measured.
    """
    if len(kept) == 1 or half_ms is None:
        return (full_ms,) * len(kept)
    slope = (full_ms - half_ms) / (kept[0] - kept[1])
    smaller = (max(full_ms - slope * (kept[0] - k), half_ms * k / kept[1]) for k in kept[2:])
    return (full_ms, half_ms, *smaller)


def _padded(times: Times, width: int) -> list[float]:
    return [*times, *times[-1:] * (width - len(times))]
