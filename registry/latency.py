"""Latency of two recognizers on the same clips, interleaved in one run.

These are end-to-end times of what MMAction2 and this package run today on a processor, at batch 1;
no claim beyond that. Each pair is timed back to back, so that a drift of the machine hits both.
"""

from __future__ import annotations

import time
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
class Timing:
    """Milliseconds per clip at batch 1 of a dense recognizer and of another, interleaved."""

    dense_ms_p50: float
    dense_ms_p95: float
    ms_p50: float
    ms_p95: float
    num_repeats: int
    num_threads: int


def compare(dense: nn.Module, other: nn.Module, clips: Dataset[Any], num_repeats: int) -> Timing:
    """Time both recognizers on the first clips, each clip by its own route.

    Args:
        dense: The unmodified recognizer; its weights do not matter.
        other: The recognizer in question, on the same device.
        clips: Items as `Splits` describes them.
        num_repeats: Pairs timed after the warm-up.
    """
    times = np.array([_pair(dense, other, clips, i) for i in range(NUM_WARM + num_repeats)])
    dense_ms, other_ms = times[NUM_WARM:].T * 1e3
    return Timing(
        float(np.percentile(dense_ms, 50)),
        float(np.percentile(dense_ms, 95)),
        float(np.percentile(other_ms, 50)),
        float(np.percentile(other_ms, 95)),
        num_repeats,
        torch.get_num_threads(),
    )


def _pair(dense: nn.Module, other: Any, clips: Dataset[Any], index: int) -> tuple[float, float]:
    data = pseudo_collate([clips[index % len(clips)]])  # type: ignore[arg-type]
    inputs = other.data_preprocessor(data, False)["inputs"]
    return _seconds(dense, inputs), _seconds(other, inputs)


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
