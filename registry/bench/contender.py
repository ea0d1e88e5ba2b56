"""Contender: a variant made ready, and what is known of it before it is timed.

Shape legend: N clips of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .loads import Load
from .result import Manner
from .runners import Runner
from .variants import Variant


@dataclass
class Contender:
    """One variant in one data type and manner.

    Args:
        variant: In the table.
        dtype: Name of its data type.
        manner: Whether it runs the batch at once.
        runner: What runs.
        error: Largest difference to the reference, over all loads.
        executed: Executed multiply-adds a clip, a value a load.
        peak_mb: See `Row`.
        kept_mb: See `Row`.
    """

    variant: Variant
    dtype: str
    manner: Manner
    runner: Runner
    error: float = 0.0
    executed: list[float] = field(default_factory=list)
    peak_mb: float | None = None
    kept_mb: float | None = None

    @property
    def label(self) -> str:
        """The variant, and whether it runs clip by clip."""
        return self.variant.name + (", clip by clip" if self.manner == "loop" else "")

    @property
    def is_dense(self) -> bool:
        """Whether it runs the dense recognizer."""
        return not self.variant.is_adaptive

    def scores(self, load: Load) -> Tensor:
        """Run the batch; returns float32 scores (N, classes)."""
        if self.runner.policy is not None:
            self.runner.policy.routes = load.routes_NL2
        if self.manner == "batch":
            return self.runner.run(load.clips)
        return torch.cat([self.runner.run(clip[None]) for clip in load.clips])
