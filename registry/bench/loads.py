"""What a batch works on: clips with drawn routes, or clips whose gates decide.

Shape legend: N clips of a batch, L layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from torch import Tensor

from ..evaluation import policy_of
from ..recognizers.forward import recognizer_forward
from ..vared.policy import largest
from .routes import RouteAxes, draw, nominal_macs
from .subject import Subject


@dataclass(frozen=True)
class Load:
    """One batch, and the routes it takes through the adaptive recognizer.

    Args:
        clips: Normalised inputs, N of them.
        routes_NL2: Forced routes; None where gates decide.
        nominal: Nominal multiply-adds a clip, mean over the batch.
    """

    clips: Tensor
    routes_NL2: Tensor | None
    nominal: float


def drawn(
    subject: Subject, batch: int, saving: float, axes: RouteAxes, num_sets: int
) -> list[Load]:
    """Return the same noise under several sets of random routes, every clip its own.

    Raises:
        ValueError: The saving cannot be met.
    """
    clips, costs = subject.noise(batch, seed=0), subject.policy.costs
    loads = []
    for number in range(num_sets):
        seeds = range(number * batch, (number + 1) * batch)
        routes_NL2 = torch.stack([draw(costs, saving, axes, seed) for seed in seeds])
        loads.append(Load(clips, routes_NL2, _nominal(subject, routes_NL2)))
    return loads


def learnt(subject: Subject, batch: int, num_clips: int) -> list[Load]:
    """Return batches of validation clips, evenly spaced over the list, for gates to decide on.

    All batches are full; the last clips are left out where they do not fill one.

    Raises:
        ValueError: The batch is larger than the list.
    """
    found = [*_validation(subject, max(num_clips, batch))]
    if len(found) < batch:
        raise ValueError(f"`batch` must be at most the {len(found)} validation clips, got {batch}")
    starts = range(0, len(found) - batch + 1, batch)
    batches = (torch.cat(found[start : start + batch]) for start in starts)
    return [Load(clips, None, _nominal(subject, _taken(subject, clips))) for clips in batches]


def saving(subject: Subject, loads: list[Load]) -> float:
    """Return the mean nominal saving, a share of the dense multiply-adds."""
    return 1 - float(np.mean([load.nominal for load in loads])) / subject.dense_macs


def _validation(subject: Subject, num_clips: int) -> Iterator[Tensor]:
    listed, recognizer = subject.validation, subject.dense
    assert listed is not None
    size = len(listed)  # type: ignore[arg-type]
    for index in np.linspace(0, size, min(num_clips, size), endpoint=False, dtype=int):
        data = pseudo_collate([listed[int(index)]])
        yield recognizer.data_preprocessor(data, False)["inputs"]  # type: ignore[operator]


def _taken(subject: Subject, clips: Tensor) -> Tensor:
    """The largest live branches (N, L, 2): what has to be computed."""
    policy = policy_of(subject.adaptive)
    assert policy is not None
    with torch.no_grad():
        recognizer_forward(subject.adaptive, clips)
    weights = policy.stacked()
    return torch.stack([largest(w > 0).int().argmax(-1) for w in weights], -1)


def _nominal(subject: Subject, routes_NL2: Tensor) -> float:
    costs = subject.policy.costs
    return float(np.mean([nominal_macs(costs, route) for route in routes_NL2]))
