"""What was computed of a convolution's output becomes a value: copied lazily, or blended. Ours.

The same function as `rebuild.Rebuild`, for one clip, and on data as they lie in memory.

Shape legend: as in `values`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..frames import first_frames, kept_frames
from ..rebuild import Rebuild, kept_sizes
from .blends import blend_
from .gates import Route, live_branches
from .kernels import is_compiled
from .packed import Blend
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
        self.only_copies = channel.kind == time.kind == "copy"
        self.macs = 0
        """Multiply-adds of blends and cheap operations since it was last set."""

    def __call__(self, value: Value, route: Route) -> Value:
        """Rebuild.

        Args:
            value: What was computed, channels and frames of the largest live branches, or of fewer
                frames where the input's frames were repeated.
            route: What was computed, and how it is weighed.
        """
        blend = self.channel_blend(route)
        share = None if blend is None else self.pair_share(value, route)
        if blend is not None and share is not None and is_compiled(value.data):
            return self._blend_both(value, route, blend, share)
        return self._frames(self._channels(value, route), route)

    def weight(self, route: Route) -> float:
        """Return what a route's output is to be multiplied by once its branches are blended."""
        channel = _weight(self.channel, route.channel, route.live_channel)
        return channel * _weight(self.time, route.time, route.live_time)

    def channel_blend(self, route: Route) -> Blend | None:
        """Return how all channels and copies of half of them are blended; None: it is otherwise."""
        if route.live_channel != (0, 1) or self.channel.kind != "copy":
            return None
        return Blend(self.copies[1].num_computed, route.channel[1] / sum(route.channel))

    def pair_share(self, value: Value, route: Route) -> float | None:
        """Return what the kept row of each two has in the other; None: it is otherwise."""
        rebuild, live = self.time, route.live_time
        larger = [branch for branch in live if rebuild.factors[branch] > value.repeats]
        are_pairs = larger == [live[-1]] and value.repeats * 2 == rebuild.factors[live[-1]]
        if rebuild.kind != "copy" or not are_pairs:
            return None
        return route.time[live[-1]] / sum(route.time)

    def _blend_both(self, value: Value, route: Route, blend: Blend, share: float) -> Value:
        num_rows, height, width, num_channels = value.data.shape
        pairs = _pairs(num_rows, self._first_rows(value))
        blend_(value.data, pairs, blend, share)
        others = num_rows * (num_channels - blend.first) + (pairs[:, 1] >= 0).sum() * num_channels
        self.macs += int(others) * height * width
        return value.times(self.weight(route))

    def _channels(self, value: Value, route: Route) -> Value:
        rebuild, weights, live = self.channel, route.channel, route.live_channel
        weight = _weight(rebuild, weights, live)
        if live == (0,):
            return value.times(weight)
        if not self.copies:
            return self._by_module(rebuild, value, weights, self.num_channels)
        if len(live) == 1:
            return replace(value, copies=self.copies[live[0]]).times(weight)
        blend = self.channel_blend(route)
        if blend is not None:
            self.macs += blend(value.data.permute(3, 0, 1, 2))
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

    def _frames(self, value: Value, route: Route) -> Value:
        rebuild, weights, live = self.time, route.time, route.live_time
        weight = _weight(rebuild, weights, live)
        if rebuild.kind != "copy" and live != (0,):
            return self._by_module(rebuild, value, weights, value.num_frames)
        if rebuild.factors[live[-1]] <= value.repeats:
            return value.times(weight)  # frames that a branch would copy are equal already
        share = self.pair_share(value, route)
        if share is not None:
            self.blend_pairs(value, share)
            return value.times(weight)
        return self._mix_frames(value, weights, live)

    def blend_pairs(self, value: Value, share: float) -> None:
        """Blend, of each two rows of data, the one that is kept into the other, in place."""
        end = self._first_rows(value)
        front, back = value.data[:end], value.data[end:]
        for others, kept in (
            (front[1::2], front[0::2][: len(front) // 2]),
            (back[0::2], back[1::2]),
        ):
            others.lerp_(kept, share)
            self.macs += others.numel()

    def _first_rows(self, value: Value) -> int:
        """Rows of data in groups that keep their first."""
        if not self.time.mirrors(value.num_frames):
            return len(value.data)
        return first_frames(value.num_frames, self.time.factors[-1]) // value.repeats

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


@lru_cache(maxsize=64)
def _pairs(num_rows: int, end: int) -> NDArray[np.int64]:
    """Each row that is kept and the other one, (P, 2); -1 where there is none.

    Up to `end` the first of two is kept, then the last.
    """
    first = [[row, row + 1 if row + 1 < end else -1] for row in range(0, end, 2)]
    return np.array([*first, *([row + 1, row] for row in range(end, num_rows, 2))], np.int64)


def _weight(rebuild: Rebuild, weights: Sequence[float], live: tuple[int, ...]) -> float:
    return 1.0 if rebuild.unit and len(live) == 1 else sum(weights)


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
