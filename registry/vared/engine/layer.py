"""One convolution of an engine, on any route. Ours.

Shape legend: as in `values`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..frames import kept_frames
from ..rebuild import kept_sizes
from .filters import Cut, Filters, affine
from .gates import Route, hard_route
from .graph import Conv
from .packed import Ending, rectify
from .rebuilding import Rebuilder
from .shift import shifted, shifts_groups
from .values import Copies, Value, rows_of

DENSE = Route((1.0,), (1.0,))
FEW_CHANNELS = 64
"""Up to so many output channels, and numbers read for each, a convolution costs less than a sum."""


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
        self.filters = Filters(conv, self.norm if self.folds else None, dtype)
        self.unfolded = self.filters
        self.dynamic = step.layer
        self.macs = 0
        """Multiply-adds of convolutions and rebuilding since it was last set."""
        self.kept = [conv.out_channels]
        """Output channels that each branch computes."""
        self.steps: tuple[int, ...] = (1,)
        """Output frames of which each branch computes one."""
        self.copies_frames = True
        self._read: dict[tuple[int, int, int], tuple[Tensor | None, int]] = {}
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

    def route(self, channel: int, time: int) -> Route:
        """Return a route with one branch an axis, weighing one; an axis may offer fewer."""
        return hard_route(self.num_branches, channel, time)

    def __call__(
        self,
        x: Value,
        route: Route,
        add: Value | None = None,
        *,
        relu: bool = False,
        may_write: bool = False,
    ) -> tuple[Value, bool]:
        """Run the layer.

        Args:
            x: Input.
            route: What to compute, and how to weigh it.
            add: A residual that ends the block; added here if both are written down in full.
            relu: ReLU after that sum.
            may_write: Nothing else reads `add`.

        Returns:
            The output, and whether `add` is in it.
        """
        before = self.dynamic is not None and self.rebuilds_before and not route.is_plain
        filters = self.unfolded if before else self.filters
        step = self.steps[route.live_time[0]]
        x = self._readable(x, route, filters, step)
        data, repeats = self._input(x, step, filters)
        written = None if before or add is None else self._written(route)
        cut = Cut(self.kept[route.live_channel[0]], x.copies, written)
        if written is not None:
            route = _with_all_channels(route)
        adds = add is not None and route.is_plain and _alike(add, x.scale, repeats)
        z = filters(
            data,
            cut,
            Ending(
                relu=(relu and adds) or (isinstance(self.act, nn.ReLU) and not before),
                add=add.data if add is not None and adds else None,
                may_write=may_write and add is not None and not add.is_view,
                scale=x.scale,
            ),
            step=step if filters.in_time else 1,
            repeats=x.repeats if filters.in_time else 1,
        )
        self.macs, filters.macs = self.macs + filters.macs, 0
        num_frames = filters.output_frames(x.num_frames)
        y = Value(z, num_frames, repeats, scale=x.scale, is_folded=x.is_folded)
        if not before:
            y = self._finish(y, normalised=self.folds, activated=isinstance(self.act, nn.ReLU))
        if self.dynamic is not None and not route.is_plain:
            y = self.rebuilder(y, route)
            self.macs, self.rebuilder.macs = self.macs + self.rebuilder.macs, 0
        if before:
            y = self._finish(y, normalised=self.norm is None, activated=False)
        return y, adds

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
        if self.shift is not None or filters.groups > 1:
            x = x.all_channels()
        copies_frames = self.copies_frames or route.time[0] == 1
        if self.shift is not None:
            return x if copies_frames and shifts_groups(x, step) else x.repeated(1)
        reads = copies_frames and filters.reads_repeats(x.num_frames, x.repeats)
        return x if reads else x.repeated(1)

    def _input(self, x: Value, step: int, filters: Filters) -> tuple[Tensor, int]:
        """Return the frames to convolve, and how many output frames each output stands for."""
        if self.shift is not None:
            return shifted(x, step, self.shift.shift_div), step
        if filters.in_time:
            return x.data, step
        key = (x.num_frames, x.repeats, step)
        read = self._read.get(key)
        if read is None:
            read = self._read[key] = self._rows(x, step, filters)
        rows, repeats = read
        return x.data if rows is None else x.data.index_select(0, rows), repeats

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
        if isinstance(self.act, nn.ReLU):
            return replace(y, data=rectify(y.data))
        return replace(y, data=_apply(self.act, y.scaled().data), scale=1.0)


def _below(host: nn.Module, name: str | None) -> nn.Module | None:
    return None if name is None else host.get_submodule(name)


def _with_all_channels(route: Route) -> Route:
    """The route as it is where what its one live channel branch leaves out is there already."""
    (weight,) = (weight for weight in route.channel if weight > 0)
    return replace(route, channel=(weight, *[0.0] * (len(route.channel) - 1)))


def _alike(add: Value, scale: float, repeats: int) -> bool:
    return add.copies is None and add.repeats == repeats and add.scale == scale


def _apply(module: nn.Module, data_THWC: Tensor) -> Tensor:
    """Run a module that expects channels on the second axis."""
    y: Tensor = module(data_THWC.permute(3, 0, 1, 2)[None])
    return y[0].permute(1, 2, 3, 0).contiguous()
