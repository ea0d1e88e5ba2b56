"""One clip through all steps of an engine. Ours.

Shape legend: as in `values`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional as F  # noqa: N812

from .gates import ClipGates, Route
from .graph import Call, Cat, Conv, Frames, Pool, Program, Step
from .layer import DENSE, Layer
from .maxima import maxima
from .sums import summed
from .values import Residual, Value, frames, side_by_side


@dataclass(frozen=True)
class Router:
    """How layers come to their routes: dense, forced, or by their gates.

    Args:
        is_dense: Everything is computed; gates do not run.
        forced: Branch of the channel and of the time axis, a pair a layer; None: gates decide.
        runs_gates: Run gates even so, and pay for them.
    """

    is_dense: bool = False
    forced: Sequence[Sequence[int]] | None = None
    runs_gates: bool = True


class ClipRun:
    """One forward of one clip.

    Args:
        program: Steps of the backbone.
        layers: Its convolutions, by the value they make.
        gates: Of its layers, by the value that they see.
        router: How they come to their routes.
        read_whole: Values that some layer reads all channels of.
    """

    def __init__(
        self,
        program: Program,
        layers: Mapping[str, Layer],
        gates: Mapping[str, ClipGates],
        router: Router,
        read_whole: frozenset[str],
    ) -> None:
        self.program = program
        self.layers = layers
        self.gates = gates
        self.router = router
        self.read_whole = read_whole
        self.macs = 0
        self.routes: dict[int, Route] = {}
        self._values: dict[str, Any] = {}
        self._decided: dict[int, Route] = {}

    def __call__(self, x: Value) -> list[Tensor]:
        """Return what the backbone returns for the clip, as tensors."""
        self._values[self.program.source] = x
        for step, ending in zip(self.program.steps, self.program.last_uses, strict=True):
            self._values[step.output] = self._run(step, ending)
            for name in ending:
                del self._values[name]
        return [_tensor(self._values[name]) for name in self.program.outputs]

    def _run(self, step: Step, ending: frozenset[str]) -> Any:
        if isinstance(step, Conv):
            return self._convolve(step, ending)
        if isinstance(step, Pool):
            return self._pool(step)
        if isinstance(step, Cat):
            return self._cat(step)
        if isinstance(step, Frames):
            return self._select(step)
        return self._call(step)

    def _convolve(self, step: Conv, ending: frozenset[str]) -> Value:
        layer, x = self.layers[step.output], self._value(step.source)
        route = self._route(layer, step.source, x)
        free = ending if step.residual != step.source else frozenset()
        residual = None
        if step.residual is not None:
            add = self._value(step.residual)
            residual = Residual(add, step.relu, may_write=step.residual in free)
        y, is_added = layer(x, route, residual, may_write=step.source in free)
        self.macs += layer.macs
        if residual is None or is_added:
            return y
        return summed(residual, y, keeps_copies=step.output not in self.read_whole)

    def _route(self, layer: Layer, source: str, x: Value) -> Route:
        if layer.dynamic is None:
            return DENSE
        index = layer.dynamic.index
        if self.router.is_dense:
            route = layer.route(0, 0)
        elif self.router.forced is None:
            route = self._decide(index, source, x)
        else:
            route = layer.route(*self.router.forced[index])
            if self.router.runs_gates:
                self._decide(index, source, x)
        self.routes[index] = route
        return route

    def _decide(self, index: int, source: str, x: Value) -> Route:
        """Return what a layer's gate says; run it, and all that see the same, unless they have."""
        if index not in self._decided:
            routes, macs = self.gates[source](x)
            self._decided.update(routes)
            self.macs += macs
        return self._decided[index]

    def _pool(self, step: Pool) -> Value:
        x, pool = self._value(step.source), step.pool
        if x.copies is not None and not x.copies.keep_order:
            x = x.all_channels()
        kernel, stride, padding, dilation = (
            (size, size) if isinstance(size, int) else (size[-2], size[-1])
            for size in (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
        )
        layer = self.layers.get(step.source)
        none_negative = layer is not None and layer.none_negative
        y = maxima(x.data, kernel, stride, padding, dilation, none_negative=none_negative)
        return replace(x, data=y, is_view=False)

    def _cat(self, step: Cat) -> Value:
        return side_by_side([self._value(name) for name in step.sources])

    def _select(self, step: Frames) -> Value:
        x = self._value(step.source)
        index = torch.arange(x.num_frames, dtype=torch.float32).view(1, 1, -1, 1, 1)
        chosen = [int(t) for t in F.interpolate(index, **step.options).flatten()]
        # where all are chosen both are one piece of memory
        self._values[step.source] = replace(x, is_view=True)
        return replace(x, data=frames(x, chosen), num_frames=len(chosen), repeats=1, is_view=True)

    def _call(self, step: Call) -> Any:
        """Run the backbone's own code on whole tensors."""
        node = step.node
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), self._argument)
        if node.op == "call_method":
            result = getattr(args[0], str(node.target))(*args[1:], **kwargs)
        else:
            function: Any = step.module if node.op == "call_module" else node.target
            result = function(*args, **kwargs)
        return _wrapped(result)

    def _argument(self, node: fx.Node) -> Any:
        value = self._values[node.name]
        if not isinstance(value, Value):
            return value
        # what is called may return a view of it
        self._values[node.name] = replace(value, is_view=True)
        return _tensor(value)

    def _value(self, name: str) -> Value:
        value = self._values[name]
        if not isinstance(value, Value):
            raise TypeError(
                f"{name} is a {type(value).__name__}, but the engine needs a clip's map"
            )
        return value


def _tensor(value: Any) -> Any:
    """What the backbone's own code sees of a value."""
    if not isinstance(value, Value):
        return value
    images = value.whole().data.permute(0, 3, 1, 2)
    return images if value.is_folded else images.transpose(0, 1)[None]


def _wrapped(result: Any) -> Any:
    """A value, where what the backbone's own code returned is a feature map of the clip."""
    if not isinstance(result, Tensor) or result.dim() not in (4, 5):
        return result
    is_folded = result.dim() == 4
    frames_first = result if is_folded else result[0].transpose(0, 1)
    data = frames_first.permute(0, 2, 3, 1).contiguous()
    return Value(data, len(data), is_view=True, is_folded=is_folded)
