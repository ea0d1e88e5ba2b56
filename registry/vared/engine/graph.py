"""From a backbone's code to a list of steps, each with what it reads and writes. Ours.

The backbone is traced once with its convolutions as they are known to `surgery.stages_of`:
convolution, normalisation and activation are one step, and so is what a residual block does at its
end. Anything else becomes a step that runs the backbone's own code on whole tensors.
"""

from __future__ import annotations

import operator
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F  # noqa: N812

from ..dynamic import DynamicConv, Stage
from ..surgery import stages_of


@dataclass(frozen=True)
class Conv:
    """A convolution with what follows it.

    Args:
        output: Name of the value it makes.
        source: Name of the value it reads.
        host: Module that the stage's names are below.
        stage: Names of the convolution and what follows it.
        layer: Its gate and rebuilding, None where it stays dense.
        residual: Value added to its output; None where there is none.
        relu: ReLU after that sum.
    """

    output: str
    source: str
    host: nn.Module
    stage: Stage
    layer: DynamicConv | None
    residual: str | None = None
    relu: bool = False


@dataclass(frozen=True)
class Pool:
    """A maximum over space, in every frame for itself."""

    output: str
    source: str
    pool: Any


@dataclass(frozen=True)
class Cat:
    """Channels of several values, one after the other."""

    output: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Frames:
    """Some frames of a value, found by calling `interpolate` on their indices."""

    output: str
    source: str
    options: dict[str, Any]


@dataclass(frozen=True)
class Call:
    """Anything else: a module, function or method on whole tensors."""

    output: str
    node: fx.Node
    module: nn.Module | None = None


Step = Conv | Pool | Cat | Frames | Call


@dataclass(frozen=True)
class Program:
    """Steps in order; `last_uses[i]` are the values that nothing reads after step i.

    Args:
        steps: What to do.
        last_uses: One set of names a step.
        source: Name of the input.
        outputs: Names of what the backbone returns.
        is_tuple: Whether it returns a tuple.
    """

    steps: tuple[Step, ...]
    last_uses: tuple[frozenset[str], ...]
    source: str
    outputs: tuple[str, ...]
    is_tuple: bool


def trace(backbone: nn.Module) -> Program:
    """Trace a backbone in evaluation.

    Raises:
        ValueError: Its code cannot be traced, or reads a parameter of its own, with the reason.
    """
    try:
        graph = _Tracer().trace(backbone)
    except Exception as error:  # whatever its code does with a stand-in for a tensor
        raise ValueError(
            f"{type(backbone).__name__} cannot be traced, so the engine cannot run it: {error}"
        ) from error
    steps: list[Step] = []
    for node in graph.nodes:
        if node.op == "get_attr":
            raise ValueError(f"{type(backbone).__name__} reads its {node.target} outside a module")
        if node.op not in ("placeholder", "output"):
            steps += _steps(node, backbone)
    source = next(node.name for node in graph.nodes if node.op == "placeholder")
    returned = next(node for node in graph.nodes if node.op == "output").args[0]
    outputs = tuple(n.name for n in returned) if isinstance(returned, tuple) else (returned.name,)
    steps = _fuse_residuals(steps, outputs)
    return Program(
        tuple(steps), _last_uses(steps, outputs), source, outputs, isinstance(returned, tuple)
    )


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return bool(stages_of(m)) or super().is_leaf_module(m, module_qualified_name)


def _steps(node: fx.Node, backbone: nn.Module) -> list[Step]:
    if node.op == "call_module":
        return _of_module(node, backbone.get_submodule(str(node.target)))
    if node.target is torch.cat and (node.kwargs.get("dim") or node.args[1:]) in (1, (1,)):
        sources: Any = node.args[0]
        return [Cat(node.name, tuple(n.name for n in sources))]
    if node.target is F.interpolate and _is_in_time(node.kwargs):
        return [Frames(node.name, _name(node.args[0]), dict(node.kwargs))]
    return [Call(node.name, node)]


def _of_module(node: fx.Node, module: nn.Module) -> list[Step]:
    stages = stages_of(module)
    if stages:
        return _convolutions(node, module, stages)
    if isinstance(module, nn.MaxPool2d | nn.MaxPool3d) and _is_spatial(module):
        return [Pool(node.name, _name(node.args[0]), module)]
    return [Call(node.name, node, module)]


def _convolutions(node: fx.Node, host: nn.Module, stages: list[Stage]) -> list[Step]:
    layers = {m.stage.conv: m for m in host.modules() if isinstance(m, DynamicConv)}
    names = [f"{node.name}.{i}" for i in range(len(stages) - 1)] + [node.name]
    sources = [_name(node.args[0]), *names]
    return [
        Conv(name, source, host, stage, layers.get(stage.conv))
        for name, source, stage in zip(names, sources, stages, strict=False)
    ]


def _is_spatial(pool: Any) -> bool:
    if pool.return_indices or pool.ceil_mode:
        return False
    if isinstance(pool, nn.MaxPool2d):
        return True
    in_time = [
        size if isinstance(size, int) else size[0] for size in (pool.kernel_size, pool.stride)
    ]
    return in_time == [1, 1]


def _is_in_time(options: dict[str, Any]) -> bool:
    factor = options.get("scale_factor")
    return options.get("mode") == "nearest" and factor is not None and factor[1:] == (1.0, 1.0)


def _name(argument: Any) -> str:
    assert isinstance(argument, fx.Node)
    return argument.name


def _fuse_residuals(steps: list[Step], outputs: tuple[str, ...]) -> list[Step]:
    """Let a convolution take on the sum and ReLU that end a residual block."""
    uses = Counter(name for step in steps for name in reads(step)) + Counter(outputs)
    made = {step.output: i for i, step in enumerate(steps)}
    fused: dict[int, Step] = {}
    gone: set[int] = set()
    for i, step in enumerate(steps):
        operands = _sum_of(step)
        if operands is None:
            continue
        for mine, other in (operands, operands[::-1]):
            conv = steps[made[mine]] if mine in made else None
            if isinstance(conv, Conv) and not conv.stage.act and uses[mine] == 1 and mine != other:
                relu = _relu_after(steps, i, uses)
                end = i if relu is None else relu
                gone |= {made[mine], i, end}
                fused[end] = replace(
                    conv, output=steps[end].output, residual=other, relu=relu is not None
                )
                break
    return [fused.get(i, step) for i, step in enumerate(steps) if i in fused or i not in gone]


def _sum_of(step: Step) -> tuple[str, str] | None:
    if not isinstance(step, Call) or step.node.target not in (
        operator.add,
        operator.iadd,
        torch.add,
    ):
        return None
    left, right = step.node.args[:2]
    if isinstance(left, fx.Node) and isinstance(right, fx.Node) and not step.node.kwargs:
        return left.name, right.name
    return None


def _relu_after(steps: list[Step], index: int, uses: Counter[str]) -> int | None:
    """Return the index of the ReLU that alone reads a step's output."""
    name = steps[index].output
    if uses[name] != 1:
        return None
    for i, step in enumerate(steps):
        if name in reads(step) and isinstance(step, Call) and isinstance(step.module, nn.ReLU):
            return i
    return None


def reads(step: Step) -> tuple[str, ...]:
    """Return the names of the values that a step reads."""
    if isinstance(step, Conv):
        return (step.source,) if step.residual is None else (step.source, step.residual)
    if isinstance(step, Cat):
        return step.sources
    if isinstance(step, Call):
        return tuple(node.name for node in step.node.all_input_nodes)
    return (step.source,)


def _last_uses(steps: list[Step], outputs: tuple[str, ...]) -> tuple[frozenset[str], ...]:
    seen = set(outputs)
    last_uses: list[frozenset[str]] = []
    for step in reversed(steps):
        ending = frozenset(reads(step)) - seen
        last_uses.append(ending)
        seen |= ending
    return tuple(reversed(last_uses))
