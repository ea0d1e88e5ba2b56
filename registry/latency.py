"""Latency of recognizers on the same clips, interleaved in one run.

These are end-to-end times on the machine at hand, at batch 1; no claim beyond that. All are timed
back to back on each clip, so that a drift of the machine hits them alike.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from torch import Tensor, nn
from torch.utils.data import Dataset

from .recognizers.forward import recognizer_forward

NUM_WARM = 3


@dataclass(frozen=True)
class Percentiles:
    """Milliseconds per clip at batch 1."""

    ms_p50: float
    ms_p95: float


def compare(
    recognizers: Mapping[str, Any], clips: Dataset[Any], num_repeats: int
) -> dict[str, Percentiles]:
    """Time recognizers on the first clips, each clip by its own route.

    Args:
        recognizers: By a name of the caller's; on one device.
        clips: Items as `Splits` describes them.
        num_repeats: Rounds timed after the warm-up.

    Returns:
        The same names.
    """
    rounds = [_round(recognizers, clips, i) for i in range(NUM_WARM + num_repeats)]
    times = np.array(rounds[NUM_WARM:]).T * 1e3
    return {
        name: Percentiles(float(np.percentile(ms, 50)), float(np.percentile(ms, 95)))
        for name, ms in zip(recognizers, times, strict=True)
    }


def _round(recognizers: Mapping[str, Any], clips: Dataset[Any], index: int) -> list[float]:
    data = pseudo_collate([clips[index % len(clips)]])  # type: ignore[arg-type]
    first = next(iter(recognizers.values()))
    inputs = first.data_preprocessor(data, False)["inputs"]
    return [_seconds(recognizer, inputs) for recognizer in recognizers.values()]


def _seconds(recognizer: nn.Module, inputs: Tensor) -> float:
    _synchronise(inputs)
    start = time.perf_counter()
    with torch.no_grad():
        recognizer_forward(recognizer, inputs)
    _synchronise(inputs)
    return time.perf_counter() - start


def _synchronise(inputs: Tensor) -> None:
    if inputs.is_cuda:
        torch.cuda.synchronize(inputs.device)
