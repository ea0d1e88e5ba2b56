"""What was computed of a convolution's output becomes a value: copied lazily, or blended. Ours.

The same function as `rebuild.Rebuild`, for one clip, and on data as they lie in memory.

Shape legend: as in `values`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..frames import first_frames, kept_frames
from ..rebuild import Rebuild, kept_sizes
from .gates import Route, live_branches
from .values import Copies, Value


class Rebuilder:
    """Rebuilds the channels and frames of one layer.

    Args:
        index: Number of the layer in its recognizer.
        channel: Its blend of channel branches.
        time: Its blend of time branches.
        num_channels: Output channels.
        device: Of the feature maps.
    """

    def __init__(
        self, index: int, channel: Rebuild, time: Rebuild, num_channels: int, device: torch.device
    ) -> None:
        self.channel, self.time = channel, time
        self.num_channels = num_channels
        self.copies = {
            branch: _copies(channel, (index, branch), num_channels, device)
            for branch in range(len(channel.factors))
            if channel.kind != "depthwise"
        }
        self.macs = 0
        """Multiply-adds of blends and cheap operations since it was last set."""

    def __call__(self, value: Value, route: Route) -> Value:
        """Rebuild.

        Args:
            value: What was computed, channels and frames of the largest live branches, or of fewer
                frames where the input's frames were repeated.
            route: What was computed, and how it is weighed.
        """
        value = self._channels(value, route.channel, route.live_channel)
        return self._frames(value, route.time, route.live_time)

    def _channels(self, value: Value, weights: Sequence[float], live: tuple[int, ...]) -> Value:
        rebuild = self.channel
        weight = 1.0 if rebuild.unit and len(live) == 1 else sum(weights)
        if live == (0,):
            return value.times(weight)
        if not self.copies:
            return self._by_module(rebuild, value, weights, self.num_channels)
        if len(live) == 1:
            return replace(value, copies=self.copies[live[0]]).times(weight)
        if live == (0, 1) and rebuild.kind == "copy":
            kept = kept_sizes(self.num_channels, rebuild.factors)[1]
            rest = self.num_channels - kept
            self._lerp(value.data[..., kept:], value.data[..., :rest], weights[1] / weight)
            return value.times(weight)
        return self._blend(value, weights, live)

    def _blend(self, value: Value, weights: Sequence[float], live: tuple[int, ...]) -> Value:
        total = None
        for branch in live:
            # what a smaller branch keeps is the start of what was computed
            copies = self.copies[branch]
            term = replace(value, copies=copies).all_channels().data * weights[branch]
            total = term if total is None else total.add_(term)
        assert total is not None
        self.macs += total.numel() * len(live)
        return replace(value, data=total, is_view=False)

    def _frames(self, value: Value, weights: Sequence[float], live: tuple[int, ...]) -> Value:
        rebuild = self.time
        weight = 1.0 if rebuild.unit and len(live) == 1 else sum(weights)
        if rebuild.kind != "copy" and live != (0,):
            return self._by_module(rebuild, value, weights, value.num_frames)
        larger = [branch for branch in live if rebuild.factors[branch] > value.repeats]
        if not larger:  # frames that a branch would copy are equal already
            return value.times(weight)
        if larger == [live[-1]] and value.repeats * 2 == rebuild.factors[larger[0]]:
            self._blend_pairs(value, weights[larger[0]] / weight)
            return value.times(weight)
        return self._mix_frames(value, weights, live)

    def _blend_pairs(self, value: Value, weight: float) -> None:
        """Blend, of each two rows of data, the one that is kept into the other, in place."""
        rows, end = value.data, len(value.data)
        if self.time.mirrors(value.num_frames):
            end = first_frames(value.num_frames, self.time.factors[-1]) // value.repeats
        front, back = rows[:end], rows[end:]
        self._lerp(front[1::2], front[0::2][: len(front) // 2], weight)
        self._lerp(back[0::2], back[1::2], weight)

    def _kept_rows(self, value: Value, factor: int) -> list[int]:
        """For each row of data, the row that a branch of this factor copies it from."""
        rebuild, times = self.time, value.repeats
        factor = max(factor, times)
        kept = kept_frames(value.num_frames, factor, rebuild.factors[-1], rebuild.mirrored)
        return [kept[row * times // factor] // times for row in range(len(value.data))]

    def _mix_frames(self, value: Value, weights: Sequence[float], live: tuple[int, ...]) -> Value:
        size = len(value.data)
        mix = torch.zeros(size, size, device=value.data.device)
        for branch in live:
            for row, source in enumerate(self._kept_rows(value, self.time.factors[branch])):
                mix[row, source] += weights[branch]
        data = (mix.to(value.data) @ value.data.flatten(1)).view(value.data.shape)
        self.macs += data.numel() * len(live)
        return replace(value, data=data, is_view=False)

    def _lerp(self, into: Tensor, source: Tensor, weight: float) -> None:
        into.lerp_(source, weight)
        self.macs += into.numel()

    def _by_module(
        self, rebuild: Rebuild, value: Value, weights: Sequence[float], size: int
    ) -> Value:
        """Blend with the layer's own module: for cheap operations that nothing else can take on."""
        value = value.all_channels() if rebuild.axis == "time" else value
        z = value.data.float().permute(3, 0, 1, 2)[None]
        row = torch.tensor([list(weights)], dtype=z.dtype, device=z.device)
        y = rebuild(z, row, channel_axis=1, size=size, live=live_branches(weights))
        data = y[0].permute(1, 2, 3, 0).to(value.data.dtype).contiguous()
        self.macs += data.numel()
        repeats = value.repeats if rebuild.axis == "channel" else 1
        return replace(value, data=data, repeats=repeats, is_view=False)


def _copies(
    rebuild: Rebuild, key: tuple[int, int], num_channels: int, device: torch.device
) -> Copies:
    """What each channel is a copy of in one branch: the kept ones, over and over."""
    branch = key[1]
    kept = kept_sizes(num_channels, rebuild.factors)
    source = torch.arange(num_channels, device=device) % kept[branch]
    if rebuild.kind == "copy":
        return Copies(key, kept[branch], source, None)
    factor = torch.ones(num_channels, device=device)
    for piece in range(branch):
        cheap: Any = rebuild.cheap[f"{piece}_{branch}"]
        factor[kept[piece + 1] : kept[piece]] = cheap.weight.detach()
    return Copies(key, kept[branch], source, factor)
