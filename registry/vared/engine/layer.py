"""One convolution of an engine, on any route. Ours.

Shape legend: as in `values`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..frames import kept_frames
from ..rebuild import kept_sizes
from .filters import Cut, Filters, affine
from .gates import Route, hard_route, in_first
from .graph import Conv
from .packed import Blend, Convolve, Ending, rectify
from .rebuilding import Rebuilder
from .rows import ready_by_rows, shifts_by_rows
from .shift import shifts_groups, shifts_in_place
from .values import Copies, Residual, Value, rows_of
from .ways import Way, convolved_shifted, data_of, known_by, selected, shifted_copy

DENSE = Route((1.0,), (1.0,))
FEW_CHANNELS = 64
"""Up to so many output channels, and numbers read for each, a convolution costs less than a sum."""
PIXELS_WORTH_FILTERS = 4
"""From so many pixels for each number of a filter on, blended filters cost less than a blended map.

To blend and pack them takes .45 ms and 1.4 ns a number, to blend a map .4 ns, to add one .4 ns
more (float32, EPYC of family 25, medians of 31 with cold caches, ResNet-50's last convolutions).
"""


class Layer:
    """A convolution with its normalisation, activation, gate and rebuilding.

    Args:
        step: Where it stands in the backbone.
        dtype: What to compute in.
    """

    def __init__(self, step: Conv, dtype: torch.dtype) -> None:
        conv: Any = _below(step.host, step.stage.conv)
        self.norm = _below(step.host, step.stage.norm)
        self.act = _below(step.host, step.stage.act)
        self.shift: Any = _below(step.host, step.stage.shift)
        self.folds = self.norm is None or isinstance(self.norm, _BatchNorm)
        self.is_linear = self.folds and self.act is None and self.shift is None
        self.rectifies = isinstance(self.act, nn.ReLU)
        self.filters = Filters(conv, self.norm if self.folds else None, dtype)
        self.unfolded = self.filters
        self.dynamic = step.layer
        self.macs = 0
        """Multiply-adds of convolution and rebuilding of its last run, from the shapes passed."""
        self.kept = [conv.out_channels]
        """Output channels that each branch computes."""
        self.steps: tuple[int, ...] = (1,)
        """Output frames of which each branch computes one."""
        self.copies_frames = True
        self._read: dict[tuple[int, int, int], tuple[Tensor | None, int]] = {}
        self._ways: dict[tuple[Any, ...] | None, Way] = {}
        self.ends_block = step.residual is not None
        if step.layer is None:
            return
        channel, time = step.layer.rebuild_channel, step.layer.rebuild_time
        self.kept = kept_sizes(conv.out_channels, channel.factors)
        self.steps, self.copies_frames = time.factors, time.kind == "copy"
        self.num_branches = step.layer.gate.num_branches
        self.rebuilder = Rebuilder(
            step.layer.index, channel, time, conv.out_channels, conv.weight.device
        )
        self.rebuilds_before = not step.layer.rebuilds_after
        if self.rebuilds_before and self.folds and self.norm is not None:
            # where channels are rebuilt first, each has a normalisation of its own
            self.unfolded = Filters(conv, None, dtype)

    @property
    def none_negative(self) -> bool:
        """Whether no number of its output is ever negative."""
        if self.ends_block or not self.rectifies:
            return False
        return self.dynamic is None or self.rebuilder.only_copies

    @property
    def reads_copies(self) -> bool:
        """Whether it can read channels that are copies as what they are copies of."""
        return self.shift is None and self.filters.groups == 1

    def route(self, channel: int, time: int) -> Route:
        """Return a route with one branch an axis, weighing one; an axis may offer fewer."""
        return hard_route(self.num_branches, channel, time)

    def __call__(
        self,
        x: Value,
        route: Route,
        residual: Residual | None = None,
        *,
        may_write: bool = False,
    ) -> tuple[Value, bool]:
        """Run the layer.

        Args:
            x: Input.
            route: What to compute, and how to weigh it.
            residual: What ends the block; added here if both are written down in full.
            may_write: Nothing else reads `x`.

        Returns:
            The output, and whether `residual` is in it.
        """
        key = known_by(x, route, residual, may_write=may_write)
        way = self._ways.get(key)
        if way is not None:
            self.macs = way.macs
            return way(x, residual), way.adds
        self.macs = 0
        if self.dynamic is not None and self.rebuilds_before and not route.is_plain:
            return self._normalised_last(x, route), False
        y, adds, way = self._normalised_first(x, route, residual, may_write=may_write)
        if key is not None and way is not None:
            self._ways[key] = way
        return y, adds

    def _normalised_first(
        self, x: Value, route: Route, residual: Residual | None, *, may_write: bool
    ) -> tuple[Value, bool, Way | None]:
        """Run the layer, normalisation folded in where it can be.

        Returns:
            What `__call__` does, and the way, where it came down to one convolution.
        """
        kept, step = self._computes(route)
        given, x = x, self._readable(x, route, self.filters, step)
        may_write = may_write and not x.is_view
        written = None if residual is None else self._written(route)
        if written is not None:
            route = replace(route, channel=in_first(route.channel))
        blend = None
        if self.is_linear and not route.is_full:
            route, blend = self._blend_ahead(x, route, may_write=may_write)
        reads, repeats = self._reader(x, step, self.filters)
        read = data = reads(x)
        ending, scale, add = Ending(relu=self.rectifies, scale=x.scale), x.scale, None
        if residual is not None and self._can_add(residual.value, x, route, repeats):
            data, ending = self._with_sum(residual, x, route, data, may_write=may_write)
            scale, add = residual.value.scale, residual.value.data
        cut = Cut(kept, x.copies, written, blend)
        convolve = self._ready(self.filters, data, x, step, cut, ending)
        z = convolve(data, add)
        num_frames = self.filters.output_frames(x.num_frames)
        y = Value(z, num_frames, repeats, scale=scale, is_folded=x.is_folded)
        y = self._finish(y, normalised=self.folds, activated=self.rectifies)
        y = y if ending.adds else self._rebuilt(y, route)
        way = None
        if x is given and data is read and y.data is z:
            way = Way.to(y, reads, convolve, adds=ending.adds, macs=self.macs)
        return y, ending.adds, way

    def _normalised_last(self, x: Value, route: Route) -> Value:
        """Run the layer where channels are rebuilt before each has a normalisation of its own."""
        kept, step = self._computes(route)
        x = self._readable(x, route, self.unfolded, step)
        reads, repeats = self._reader(x, step, self.unfolded)
        data, cut = reads(x), Cut(kept, x.copies)
        z = self._ready(self.unfolded, data, x, step, cut, Ending(scale=x.scale))(data, None)
        num_frames = self.unfolded.output_frames(x.num_frames)
        y = Value(z, num_frames, repeats, scale=x.scale, is_folded=x.is_folded)
        return self._finish(self._rebuilt(y, route), normalised=self.norm is None, activated=False)

    def _computes(self, route: Route) -> tuple[int, int]:
        """Return how many channels a route computes, and one of how many frames."""
        return self.kept[route.live_channel[0]], self.steps[route.live_time[0]]

    def _ready(
        self, filters: Filters, data: Tensor, x: Value, step: int, cut: Cut, ending: Ending
    ) -> Convolve:
        """Return what convolves such data as were read of such an input; count that."""
        if self._shifts_by_rows(x, step):
            convolve, macs = ready_by_rows(filters, x, step, self.shift.shift_div, cut, ending)
        elif filters.in_time:
            convolve, macs = filters.ready(data, cut, ending, step=step, repeats=x.repeats)
        else:
            convolve, macs = filters.ready(data, cut, ending)
        self.macs += macs
        if self.shift is None or not shifts_in_place(x, step):
            return convolve
        return partial(convolved_shifted, convolve, self.shift.shift_div, step)

    def _shifts_by_rows(self, x: Value, step: int) -> bool:
        is_one = self.filters.groups == 1  # some of its input channels make a filter of their own
        return self.shift is not None and is_one and shifts_by_rows(x, step, self.shift.shift_div)

    def _rebuilt(self, y: Value, route: Route) -> Value:
        if self.dynamic is None or route.is_plain:
            return y
        y = self.rebuilder(y, route)
        self.macs, self.rebuilder.macs = self.macs + self.rebuilder.macs, 0
        return y

    def _blend_ahead(
        self, x: Value, route: Route, *, may_write: bool
    ) -> tuple[Route, Blend | None]:
        """Blend what goes into a layer, where that costs less than to blend its output.

        Without an activation behind it a convolution is linear, so blended frames go in for
        blended frames to come out, and blended filters make blended channels. A bottleneck's last
        convolution reads a quarter of the channels that it writes; large maps have more numbers
        than filters. And with nothing left to do behind it, it takes on the sum that ends a block.

        Returns:
            What is left of the route, and how filters are to blend channels.
        """
        channel, time = route.channel, route.time
        blend = self.rebuilder.channel_blend(route)
        if blend is not None and self._has_small_filters(x):
            channel = in_first(channel)
        else:
            blend = None
        if self.filters.in_time or self.filters.time_stride > 1:
            return Route(channel, time), blend
        share = self.rebuilder.pair_share(x, route) if route.live_time[0] == 0 else None
        if share is not None and may_write:
            self.rebuilder.blend_pairs(x, share)
            time = in_first(time)
        first, last = (self.steps[route.live_time[end]] for end in (0, -1))
        if self.copies_frames and last <= max(first, x.repeats):
            time = in_first(time)  # the frames that a branch would copy are equal already
        return Route(channel, time), blend

    def _has_small_filters(self, x: Value) -> bool:
        """Whether filters have few numbers beside those of the map they make."""
        num_rows, height, width, _ = x.data.shape
        stride_y, stride_x = self.filters.stride
        pixels = num_rows * height * width // (stride_y * stride_x)
        return pixels >= PIXELS_WORTH_FILTERS * self.filters.reads

    def _can_add(self, add: Value, x: Value, route: Route, repeats: int) -> bool:
        """Whether a residual can be added by the convolution itself, and had better be."""
        if not self.is_linear or not route.is_full:
            return False
        if add.copies is not None or add.repeats != repeats:
            return False
        # else the input is multiplied first, a pass that must cost less than that of a sum
        is_alike = x.scale * self._weight(route) == add.scale
        return is_alike or x.data.shape[3] <= add.num_channels

    def _with_sum(
        self, residual: Residual, x: Value, route: Route, data: Tensor, *, may_write: bool
    ) -> tuple[Tensor, Ending]:
        """Return data scaled so that the output is as the residual is, and what adds that."""
        add = residual.value
        scale = add.scale / self._weight(route)
        if scale != x.scale:
            may_write = may_write or data is not x.data
            data = torch.mul(data, x.scale / scale, out=data if may_write else None)
            self.macs += data.numel()
        may_replace = residual.may_write and not add.is_view
        return data, Ending(residual.relu, True, may_replace, scale)

    def _weight(self, route: Route) -> float:
        return 1.0 if route.is_plain else self.rebuilder.weight(route)

    def _written(self, route: Route) -> Copies | None:
        """What the output's channels are copies of, if filters are to write the copies down.

        Small filters take hardly longer for it, and then take on the sum that follows, which in
        pieces of few channels takes longer than they do.
        """
        live = route.live_channel
        if self.dynamic is None or self.filters.groups > 1 or len(live) > 1 or live == (0,):
            return None
        if max(self.kept[live[0]], self.filters.reads) > FEW_CHANNELS:
            return None
        return self.rebuilder.copies.get(live[0])

    def _readable(self, x: Value, route: Route, filters: Filters, step: int) -> Value:
        """Write down what this layer cannot read lazily."""
        if not self.reads_copies:
            x = x.all_channels()
        copies_frames = self.copies_frames or route.time[0] == 1
        if self.shift is not None:
            return x if copies_frames and shifts_groups(x, step) else x.repeated(1)
        reads = copies_frames and filters.reads_repeats(x.num_frames, x.repeats)
        return x if reads else x.repeated(1)

    def _reader(
        self, x: Value, step: int, filters: Filters
    ) -> tuple[Callable[[Value], Tensor], int]:
        """Return what gives the frames to convolve, and of how many each output is one."""
        if self.shift is not None:
            in_place = shifts_in_place(x, step) or self._shifts_by_rows(x, step)
            reads = data_of if in_place else partial(shifted_copy, step, self.shift.shift_div)
            return reads, step
        if filters.in_time:
            return data_of, step
        key = (x.num_frames, x.repeats, step)
        read = self._read.get(key)
        if read is None:
            read = self._read[key] = self._rows(x, step, filters)
        rows, repeats = read
        return data_of if rows is None else partial(selected, rows), repeats

    def _rows(self, x: Value, step: int, filters: Filters) -> tuple[Tensor | None, int]:
        """Which rows of data a convolution in space reads, None: all; and what `_input` returns."""
        stride, repeats = filters.time_stride, step
        if x.repeats % stride == 0:
            repeats = max(step, x.repeats // stride)
        num_frames = filters.output_frames(x.num_frames)
        if repeats > step:  # the input's frames repeat more often: any of them will do
            wanted = list(range(0, num_frames, repeats))
        else:
            wanted = self._wanted(num_frames, step)
        return rows_of(x, [t * stride for t in wanted]), repeats

    def _wanted(self, num_frames: int, step: int) -> list[int]:
        if self.dynamic is None:
            return list(range(num_frames))
        rebuild = self.dynamic.rebuild_time
        return kept_frames(num_frames, step, rebuild.factors[-1], rebuild.mirrored)

    def _finish(self, y: Value, *, normalised: bool, activated: bool) -> Value:
        """Apply what of normalisation and activation is still to be done."""
        if not normalised:
            assert self.norm is not None
            y = y.all_channels()
            if self.folds:
                scale, shift = (t.to(y.data.dtype) for t in affine(self.norm))
                data = torch.addcmul(shift, y.data, scale * y.scale)
            else:
                data = _apply(self.norm, y.scaled().data)
            y = replace(y, data=data, scale=1.0)
        if activated or self.act is None:
            return y
        if self.rectifies:
            return replace(y, data=rectify(y.data))
        return replace(y, data=_apply(self.act, y.scaled().data), scale=1.0)


def _below(host: nn.Module, name: str | None) -> nn.Module | None:
    return None if name is None else host.get_submodule(name)


def _apply(module: nn.Module, data_THWC: Tensor) -> Tensor:
    """Run a module that expects channels on the second axis."""
    y: Tensor = module(data_THWC.permute(3, 0, 1, 2)[None])
    return y[0].permute(1, 2, 3, 0).contiguous()
