"""Surgery: put gates in front of the convolutions of a built recognizer, whatever it is.

It walks the modules and knows three hosts: mmcv's ConvModule (convolution, normalisation,
activation), a ConvModule around MMAction2's Conv2plus1d (two convolutions), and a bare convolution.
Nothing is forked: a host keeps its name, children and parameters; only its `forward` is replaced.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .cost import (
    CostTable,
    LayerCost,
    conv_macs_per_element,
    gate_inputs,
    gate_macs,
    pooling_macs,
)
from .dynamic import DenseStage, DynamicChain, DynamicConv, Stage
from .gate import Gate
from .gating import NOT_NAMED, axes_of, check_names
from .policy import Policy
from .pooling import pooling_stride
from .rebuild import Cheap, Rebuild
from .settings import VaRedSettings
from .shapes import Convolution, Shapes, dry_run


@dataclass(frozen=True)
class Site:
    """A convolution that could be made dynamic: its host's path, and the stage below it."""

    host: str
    stage: Stage

    @property
    def conv(self) -> str:
        """Path of the convolution in the recognizer."""
        return ".".join(part for part in (self.host, self.stage.conv) if part)


@dataclass(frozen=True)
class Plan:
    """What is to be made of a site: what it costs, and the convolution whose input it sees."""

    site: Site
    cost: LayerCost
    seen: str


@dataclass(frozen=True)
class Surgery:
    """What was done.

    Args:
        policy: The recognizer's policy, shared by its dynamic layers.
        converted: Paths of the convolutions that got a gate, in order of execution.
        left: Path and reason of each convolution that stays dense.
    """

    policy: Policy
    converted: tuple[str, ...]
    left: dict[str, str]


def operate(recognizer: nn.Module, settings: VaRedSettings, example: Tensor) -> Surgery:
    """Make the convolutions of `recognizer.backbone` dynamic, in place.

    Args:
        recognizer: A built MMAction2 recognizer.
        settings: Of the method.
        example: Input of one clip (`example_input`); shapes and costs are taken from it.

    Raises:
        ValueError: No convolution can be made dynamic, or a name of `gate_layers` is of none.
    """
    shapes, dense = dry_run(recognizer, example)
    check_names(settings, shapes)
    left: dict[str, str] = {}
    sites = []
    for site, reason in _sites(recognizer):
        reason = reason or _why_leave(site, shapes, settings)
        if reason:
            left[site.conv] = reason
        else:
            sites.append(site)
    sites.sort(key=lambda site: shapes[site.conv].order)
    for site in sites:
        if _has_no_gain(_cost(recognizer, site, site.conv, shapes, settings)):
            left[site.conv] = "its gate would cost more than it could save"
    sites = [site for site in sites if site.conv not in left]
    if not sites:
        raise ValueError("no convolution of this recognizer can be made dynamic")
    seen = _seen(recognizer, sites, settings)
    plans = [
        Plan(site, _cost(recognizer, site, seen[site.conv], shapes, settings), seen[site.conv])
        for site in sites
    ]
    policy = Policy(CostTable([plan.cost for plan in plans], dense))
    _install(recognizer, plans, shapes, policy, settings)
    return Surgery(policy, tuple(site.conv for site in sites), left)


def _seen(recognizer: nn.Module, sites: list[Site], settings: VaRedSettings) -> dict[str, str]:
    """The convolution whose input each gate sees: its own, or the first of the block with a gate.

    Args:
        recognizer: That they are of.
        sites: Of convolutions with a gate, in order of execution.
        settings: Of the method.
    """
    first: dict[str, str] = {}
    alone = settings.gate_sees == "own"
    return {
        site.conv: first.setdefault(
            site.conv if alone else _block(recognizer, site.conv), site.conv
        )
        for site in sites
    }


def _block(recognizer: nn.Module, path: str) -> str:
    """Path of the residual block that a convolution is in; its own where it is in none."""
    above = path
    while "." in above:
        above = above.rpartition(".")[0]
        if any(hasattr(recognizer.get_submodule(above), mark) for mark in _MARKS_OF_BLOCKS):
            return above
    return path


_MARKS_OF_BLOCKS = ("downsample", "use_res_connect")
"""What MMAction2's residual blocks, and nothing else that convolves, have for attributes."""


def _sites(recognizer: nn.Module) -> Iterator[tuple[Site, str]]:
    """Yield every convolution with its host, and why it cannot be dynamic ("" where it can)."""
    seen: set[str] = set()
    for name, module in recognizer.named_modules():
        for stage in stages_of(module):
            site = Site(name, stage)
            if site.conv not in seen:
                seen.add(site.conv)
                outside = "" if name.startswith("backbone") else "not part of the backbone"
                yield site, outside


def stages_of(module: nn.Module) -> list[Stage]:
    """Return the convolutions that a module runs one after the other; none where it is no host."""
    from mmaction.models.common import Conv2plus1d
    from mmcv.cnn import ConvModule

    if isinstance(module, ConvModule) and module.order == ("conv", "norm", "act"):
        norm = module.norm_name
        act = "activate" if module.with_activation else None
        if isinstance(module.conv, Conv2plus1d):
            spatial = Stage("conv.conv_s", "conv.bn_s", "conv.relu")
            return [spatial, Stage("conv.conv_t", norm, act)]
        if not module.with_explicit_padding and not module.with_spectral_norm:
            return _plain_stage(module.conv, norm, act)
    return [Stage("")] if isinstance(module, Convolution) else []


def _plain_stage(conv: nn.Module, norm: str | None, act: str | None) -> list[Stage]:
    from mmaction.models.backbones.resnet_tsm import TemporalShift

    if isinstance(conv, TemporalShift) and isinstance(conv.net, Convolution):
        return [Stage("conv.net", norm, act, shift="conv")]
    return [Stage("conv", norm, act)] if isinstance(conv, Convolution) else []


def _why_leave(site: Site, shapes: dict[str, Shapes], settings: VaRedSettings) -> str:
    shape = shapes.get(site.conv)
    if shape is None:
        return "does not run in a forward pass"
    if shape.order < 0:
        return "runs more than once in a forward pass"
    if any(part in site.conv for part in settings.exclude):
        return "excluded by the settings"
    if settings.gate_layers != "all" and not axes_of(site.conv, shapes, settings):
        return NOT_NAMED
    return ""


def _cost(
    recognizer: nn.Module,
    site: Site,
    seen: str,
    shapes: dict[str, Shapes],
    settings: VaRedSettings,
) -> LayerCost:
    shape, axes = shapes[site.conv], axes_of(site.conv, shapes, settings)
    host = recognizer.get_submodule(site.host)
    conv: Any = host.get_submodule(site.stage.conv)
    norm = host.get_submodule(site.stage.norm) if site.stage.norm else None
    slices = "channel" in axes and _sliceable(conv, norm)
    channel_factors = _factors(shape.outputs[0], settings) if slices else (1,)
    time_factors = _factors(shape.outputs[1], settings) if "time" in axes else (1,)
    return LayerCost(
        name=site.conv,
        macs_per_element=conv_macs_per_element(conv.weight.shape),
        norm_per_element=2 if isinstance(norm, _BatchNorm) else 0,
        norm_is_full=settings.placement == "before",
        num_channels=shape.outputs[0],
        num_frames=shape.outputs[1],
        area=shape.outputs[2] * shape.outputs[3],
        channel_factors=channel_factors,
        time_factors=time_factors,
        gate=_gate_cost(
            shapes[seen],
            len(channel_factors) + len(time_factors),
            settings,
            pools=seen == site.conv,
        ),
        cheap_per_element=Cheap(settings.cheap, 1).macs_per_element,
        unit_weights=settings.one_branch_weighs_one,
    )


def _gate_cost(seen: Shapes, num_outputs: int, settings: VaRedSettings, *, pools: bool) -> int:
    num_channels, num_frames, *sides = seen.inputs
    stride = pooling_stride(settings.gate_stride, num_channels, *sides)
    height, width = (-(-side // stride) for side in sides)
    num_inputs = gate_inputs(settings.gate_input, num_channels, num_frames)
    pooling = 0
    if pools:
        pooling = pooling_macs(settings.gate_input, num_frames, num_channels * height * width)
    return gate_macs(num_inputs, pooling, settings.gate_width, num_outputs, settings.gate_norm)


def _sliceable(conv: Any, norm: nn.Module | None) -> bool:
    """Whether the first channels alone can be computed and normalised."""
    return bool(conv.groups == 1) and (norm is None or isinstance(norm, _BatchNorm))


def _mixes_time(conv: Any, stage: Stage) -> bool:
    """Whether an output frame depends on more than the input frame of the same index."""
    if stage.shift is not None:
        return True
    in_time = conv.kernel_size[0], conv.stride[0], conv.padding[0]
    return conv.weight.dim() == 5 and in_time != (1, 1, 0)


def _factors(size: int, settings: VaRedSettings) -> tuple[int, ...]:
    return tuple(factor for factor in settings.factors if factor <= size)


def _has_no_gain(cost: LayerCost) -> bool:
    cheapest = cost.dense / (cost.channel_factors[-1] * cost.time_factors[-1])
    return cost.dense - cheapest <= cost.gate


def _install(
    recognizer: nn.Module,
    plans: list[Plan],
    shapes: dict[str, Shapes],
    policy: Policy,
    settings: VaRedSettings,
) -> None:
    dynamic: dict[str, DynamicConv] = {}
    for plan in plans:
        first = dynamic.get(plan.seen)
        dynamic[plan.site.conv] = _dynamic_conv(
            recognizer.get_submodule(plan.site.host),
            plan,
            len(dynamic),
            shapes[plan.seen],
            policy,
            settings,
            looks_with=None if first is None else first.index,
        )
    for path in dict.fromkeys(plan.site.host for plan in plans):
        host = recognizer.get_submodule(path)
        sites = [Site(path, stage) for stage in stages_of(host)]
        chain = DynamicChain(
            dynamic[site.conv] if site.conv in dynamic else DenseStage(host, site.stage)
            for site in sites
        )
        host.add_module("vared", chain)
        host.forward = chain.forward


def _dynamic_conv(
    host: nn.Module,
    plan: Plan,
    index: int,
    seen: Shapes,
    policy: Policy,
    settings: VaRedSettings,
    looks_with: int | None,
) -> DynamicConv:
    cost, stage = plan.cost, plan.site.stage
    num_branches = (len(cost.channel_factors), len(cost.time_factors))
    conv: Any = host.get_submodule(stage.conv)
    with torch.device(conv.weight.device):
        gate = Gate(seen.inputs[0], seen.inputs[1], num_branches, settings)
        channel = Rebuild("channel", cost.channel_factors, cost.num_channels, settings)
        mirrored = settings.keep == "mirrored" and not _mixes_time(conv, stage)
        time = Rebuild("time", cost.time_factors, cost.num_channels, settings, mirrored=mirrored)
    return DynamicConv(host, stage, index, policy, gate, channel, time, settings, looks_with)
