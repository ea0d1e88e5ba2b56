"""The latency table: what halving a layer saves on the clock, layer by layer.

Each layer runs by itself in the inference engine, as it stands in the recognizer, on noise of the
shape that it sees there: in full, at its first reduced number of channels, of frames, and of both.

Shape legend: B rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from ..recognizers.build import example_input
from ..vared.cost import LayerCost
from ..vared.engine import accelerate
from ..vared.engine.layer import Layer
from ..vared.engine.values import Value
from ..vared.rebuild import kept_sizes
from ..vared.shapes import Shapes, dry_run
from .headline import LEAST_ROUNDS, notch, why_not
from .machine import Machine, load, look, threads
from .memory import keep_freed_memory
from .subject import Subject
from .timing import Pace, Seconds, interleave

WORTH = 0.5
"""A gate is worth its layer where halving one of the axes saves at least this share of the nominal
time saving."""

_AXES = {"channels": (1, 0), "frames": (0, 1)}
_BOTH = "both"
_Key = tuple[str, str]


@dataclass(frozen=True)
class Half:
    """What one axis of a layer, reduced, makes of its saving.

    Args:
        ms: Median milliseconds.
        realised: Saved share of the time, over the saved share of the multiply-adds: 1: all of it;
            negative: slower than in full. None where the ratio of times is too uncertain.
        between: The same at either end of the notch about the ratio's median, which is about its
            95 % interval; None where there are too few rounds for one.
    """

    ms: float
    realised: float | None
    between: tuple[float, float] | None

    @property
    def pays(self) -> bool | None:
        """Whether it realises at least `WORTH`; None where that is too uncertain."""
        if self.between is None or self.between[0] < WORTH <= self.between[1]:
            return None
        return self.between[0] >= WORTH

    @property
    def likely_pays(self) -> bool:
        """Whether the median does; it counts where there is nothing better."""
        return self.between is None or sum(self.between) / 2 >= WORTH


@dataclass(frozen=True)
class LayerTime:
    """One layer.

    Args:
        layer: Its name.
        macs: Multiply-adds of its convolution for one clip, in full.
        full_ms: Median milliseconds in full.
        channels: At its first reduced number of channels; None where it keeps all.
        frames: Likewise.
        both_ms: Median milliseconds of both at once; None where it does not offer both.
    """

    layer: str
    macs: int
    full_ms: float
    channels: Half | None
    frames: Half | None
    both_ms: float | None

    @property
    def is_worth_a_gate(self) -> bool | None:
        """Whether halving pays; None where that is too uncertain."""
        halves = [half.pays for half in (self.channels, self.frames) if half is not None]
        return True if True in halves else None if None in halves else False


@dataclass(frozen=True)
class LayerTable:
    """All gated layers of one recognizer.

    Args:
        recognizer: Its name.
        clip: `num_frames`, `size` and `input_format`.
        dtype: Name of the data type.
        num_rounds: Rounds that counted.
        layers: In order of execution.
        machine: Where.
    """

    recognizer: str
    clip: Mapping[str, Any]
    dtype: str
    num_rounds: int
    layers: tuple[LayerTime, ...]
    machine: Machine

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        document = asdict(self)
        for row, layer in zip(document["layers"], self.layers, strict=True):
            row["is_worth_a_gate"] = layer.is_worth_a_gate
        return document


def layer_table(
    subject: Subject,
    dtype: torch.dtype,
    num_threads: int,
    pace: Pace,
    on_round: Callable[[int], None] = lambda done: None,
) -> LayerTable:
    """Time every gated layer of a subject, all interleaved in one run.

    Freed memory stays in this process from now on: see `memory.py`.
    """
    load_before, allocator = load(), keep_freed_memory()
    layers = _layers(subject, dtype)
    tasks = dict(_tasks(subject, layers, dtype))
    with threads(num_threads), torch.inference_mode():
        # a round of all layers takes seconds, in which a busy machine changes
        taken = interleave(tasks, pace, on_round, group=lambda key: key[0])
        machine = look(allocator, load_before)
    rows = tuple(_row(cost, taken) for cost in subject.policy.costs.layers)
    name = str(dtype).removeprefix("torch.")
    clip = asdict(subject.clip)
    return LayerTable(subject.name, clip, name, pace.num_rounds, rows, machine)


def _layers(subject: Subject, dtype: torch.dtype) -> dict[str, Layer]:
    """By name, those with a gate."""
    costs = subject.policy.costs.layers
    found: list[Layer] = accelerate(subject.adaptive, dtype).engine.layers.values()
    return {costs[x.dynamic.index].name: x for x in found if x.dynamic is not None}


def _tasks(
    subject: Subject, layers: Mapping[str, Layer], dtype: torch.dtype
) -> Iterator[tuple[_Key, Callable[[], object]]]:
    clip = subject.clip
    example = example_input(clip.input_format, clip.num_frames, clip.size)
    shapes, _ = dry_run(subject.dense, example)
    for cost in subject.policy.costs.layers:
        layer, x = layers[cost.name], _noise(shapes[cost.name], dtype)
        offered = {"full": (0, 0), **_offered(cost)}
        if len(offered) > len(_AXES):
            offered[_BOTH] = (1, 1)
        for what, branches in offered.items():
            yield (cost.name, what), partial(layer, x, layer.route(*branches))


def _noise(shape: Shapes, dtype: torch.dtype) -> Value:
    channels, frames, height, width = shape.inputs
    return Value(torch.randn(frames, height, width, channels).to(dtype), frames, is_view=True)


def _offered(cost: LayerCost) -> dict[str, tuple[int, int]]:
    factors = {"channels": cost.channel_factors, "frames": cost.time_factors}
    return {axis: branches for axis, branches in _AXES.items() if len(factors[axis]) > 1}


def _row(cost: LayerCost, taken: Mapping[_Key, Seconds]) -> LayerTime:
    full_B = taken[cost.name, "full"]
    macs = cost.macs_per_element * cost.num_channels * cost.num_frames * cost.area
    kept = {
        "channels": kept_sizes(cost.num_channels, cost.channel_factors)[:2],
        "frames": kept_sizes(cost.num_frames, cost.time_factors)[:2],
    }
    halves = {
        axis: _half(taken[cost.name, axis], full_B, kept[axis][1] / kept[axis][0])
        for axis in _offered(cost)
    }
    channels, frames = (halves.get(axis) for axis in _AXES)
    both_B = taken.get((cost.name, _BOTH))
    both_ms = None if both_B is None else _ms(both_B)
    return LayerTime(cost.name, macs, _ms(full_B), channels, frames, both_ms)


def _half(reduced_B: Seconds, full_B: Seconds, share: float) -> Half:
    ratios_B = reduced_B / full_B
    low, high = notch(ratios_B[None])
    median, slowest, fastest = ((1 - x) / (1 - share) for x in (np.median(ratios_B), high, low))
    return Half(
        ms=_ms(reduced_B),
        realised=None if why_not(ratios_B[None]) else float(median),
        between=(slowest, fastest) if len(ratios_B) >= LEAST_ROUNDS else None,
    )


def _ms(seconds_B: Seconds) -> float:
    return 1e3 * float(np.median(seconds_B))
