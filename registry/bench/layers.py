"""The latency table: what halving a layer saves on the clock, layer by layer.

Each layer runs by itself in the inference engine, as it stands in the recognizer, on noise of the
shape that it sees there: in full, at its first reduced number of channels, and of frames.

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
from .headline import why_not
from .machine import Machine, load, look, threads
from .memory import keep_freed_memory
from .subject import Subject
from .timing import Pace, Seconds, interleave

WORTH = 0.5
"""A gate is worth its layer where halving one of the axes saves at least this share of the nominal
time saving."""

_AXES = {"channels": (1, 0), "frames": (0, 1)}
_Key = tuple[str, str]


@dataclass(frozen=True)
class Half:
    """What one axis of a layer, reduced, makes of its saving.

    Args:
        ms: Median milliseconds.
        realised: Saved share of the time, over the saved share of the multiply-adds: 1: all of it;
            negative: slower than in full. None where the ratio of times is too uncertain.
    """

    ms: float
    realised: float | None


@dataclass(frozen=True)
class LayerTime:
    """One layer.

    Args:
        layer: Its name.
        macs: Multiply-adds of its convolution for one clip, in full.
        full_ms: Median milliseconds in full.
        channels: At its first reduced number of channels; None where it keeps all.
        frames: Likewise.
    """

    layer: str
    macs: int
    full_ms: float
    channels: Half | None
    frames: Half | None

    @property
    def is_worth_a_gate(self) -> bool | None:
        """Whether halving pays; None where that is too uncertain."""
        halves = [half.realised for half in (self.channels, self.frames) if half is not None]
        if any(realised is not None and realised >= WORTH for realised in halves):
            return True
        return None if None in halves else False


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
        taken = interleave(tasks, pace, on_round)
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
        for what, branches in {"full": (0, 0), **_offered(cost)}.items():
            yield (cost.name, what), partial(layer, x, layer.route(*branches), None, False)


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
    return LayerTime(cost.name, macs, 1e3 * float(np.median(full_B)), channels, frames)


def _half(reduced_B: Seconds, full_B: Seconds, share: float) -> Half:
    ratios_B = reduced_B / full_B
    realised = (1 - float(np.median(ratios_B))) / (1 - share)
    is_certain = not why_not(ratios_B[None])
    return Half(1e3 * float(np.median(reduced_B)), realised if is_certain else None)
