"""What a benchmark found, as plain values: everything here goes to JSON as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from .headline import Headline
from .machine import Machine

Manner = Literal["batch", "loop"]
"""The whole batch in one call, or clip by clip."""


@dataclass(frozen=True)
class RouteTime:
    """One set of routes, one for each clip of the batch.

    Args:
        ms_p50: Median milliseconds of the whole batch.
        nominal_macs: Nominal multiply-adds a clip.
        executed_macs: Executed multiply-adds a clip.
    """

    ms_p50: float
    nominal_macs: float
    executed_macs: float


@dataclass(frozen=True)
class Row:
    """One variant in one data type, at one batch, in one manner.

    Args:
        variant: In the table of variants.
        dtype: Data type of its arithmetic; inputs and scores are float32.
        batch: Clips at once.
        manner: How the batch is run.
        is_dense: Whether it runs the dense recognizer.
        ms_p50: Median milliseconds of the whole batch, over rounds and routes.
        ms_p95: 95th percentile, likewise.
        clips_per_s: Batch over median time.
        peak_mb: By how much one call raises the resident memory, None where it cannot be known.
        kept_mb: By how much it was raised for good by making the variant and running it once: its
            weights, packed copies, arenas, and whatever its compiler keeps. None likewise.
        nominal_macs: Nominal multiply-adds a clip, mean over routes.
        executed_macs: Executed multiply-adds a clip, mean over routes. For a dense variant that
            does not count, those of the dense recognizer.
        error: Largest difference to the reference, over the reference's largest score.
        num_rounds: Rounds timed.
        routes: The same for each set of routes; empty for dense variants.
    """

    variant: str
    dtype: str
    batch: int
    manner: Manner
    is_dense: bool
    ms_p50: float
    ms_p95: float
    clips_per_s: float
    peak_mb: float | None
    kept_mb: float | None
    nominal_macs: float
    executed_macs: float
    error: float
    num_rounds: int
    routes: tuple[RouteTime, ...]


@dataclass(frozen=True)
class LeftOut:
    """A variant that was not timed, and why: it cannot run here, or its output is wrong."""

    variant: str
    dtype: str
    batch: int
    disagrees: bool
    reason: str


@dataclass(frozen=True)
class Result:
    """One benchmark of one recognizer.

    Args:
        recognizer: Its name.
        clip: `num_frames`, `size` and `input_format`.
        dense_macs: Multiply-adds of the dense recognizer for one clip, as docs/conventions.md
            counts.
        saving: Wanted nominal saving of every drawn route; of learnt ones, the mean of the sample
            at the first batch.
        axes: What routes reduce.
        routes: Whether they were drawn at random, or decided by trained gates.
        clips: Which clips were timed.
        num_layers: Layers with a gate.
        gates: Which layers were to have one: `all`, `auto` or `named`; how many have a gate that
            reduces `channels`, and `frames`; `notes`, and by name why layers were `left` without.
        variants: What was timed.
        headlines: One an adaptive variant, data type and batch.
        left_out: What was not timed.
        warnings: What a reader should know, one sentence each.
        machine: Where.
    """

    recognizer: str
    clip: Mapping[str, Any]
    dense_macs: int
    saving: float
    axes: str
    routes: Literal["drawn", "learnt"]
    clips: str
    num_layers: int
    gates: Mapping[str, Any]
    variants: tuple[Row, ...]
    headlines: tuple[Headline, ...]
    left_out: tuple[LeftOut, ...]
    warnings: tuple[str, ...]
    machine: Machine

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)
