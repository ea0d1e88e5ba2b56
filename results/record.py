"""Record: what one trial measured, frozen, with units in the names.

A record is written once, by the worker that ran the trial, and read by everything in `results`.
Missing measurements are `None`, never zero.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class _Frozen(BaseModel):
    # a diverged training has loss NaN; pydantic's default writes null, which does not read back
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Accuracy(_Frozen):
    """Accuracies in [0, 1] over the whole validation list; an unreadable clip counts as wrong."""

    top1: float
    top5: float
    mean_class: float
    num_clips: int
    num_unreadable: int = 0


class Macs(_Frozen):
    """Multiply-adds of one view of one clip, as MMAction2's zoo counts them (docs/conventions.md).

    `mean` to `max` describe the executed MACs over the validation clips, gates and cheap
    operations included; `dense` is the unmodified recognizer at width 1 of the same cell, which is
    what a budget is a share of. `gate` and `rebuild` are the means of those two columns.
    """

    dense: int
    mean: float
    p5: float
    p50: float
    p95: float
    min: int
    max: int
    gate: float = 0.0
    rebuild: float = 0.0
    num_clips_verified: int = 0
    """Clips whose count was checked against an independent counter on the path that skips."""

    @property
    def share(self) -> float:
        """Mean executed MACs as a share of the dense recognizer's."""
        return self.mean / self.dense


class Latency(_Frozen):
    """Milliseconds per clip at batch 1, all interleaved in one run.

    `dense` is MMAction2's unmodified recognizer. `ms` is this one as it is evaluated. Those of the
    `engine` are the same two in the inference engine, which is what saves time.
    """

    dense_ms_p50: float
    dense_ms_p95: float
    ms_p50: float
    ms_p95: float
    engine_dense_ms_p50: float | None = None
    engine_dense_ms_p95: float | None = None
    engine_ms_p50: float | None = None
    engine_ms_p95: float | None = None
    num_repeats: int
    num_threads: int


class EngineCheck(_Frozen):
    """What the inference engine gave on the validation clips, against the evaluation.

    `worst_difference` is of scores, as a share of the clip's largest. `macs_mean` is what it
    executed on average, normalisation folded away and lazily rebuilt maps never made.
    """

    num_clips: int
    num_disagreeing: int
    """Clips with another prediction."""
    worst_difference: float
    macs_mean: float


class Frozen(_Frozen):
    """Clips frozen to their middle frame, against the same clips as they move.

    `difference` is the mean of frozen minus moving, of shares of the dense MACs, with a 95 % BCa
    bootstrap interval over clips, `None` where there are fewer than three.
    """

    num_clips: int
    share: float
    difference: float
    low: float | None
    high: float | None


class Correlation(_Frozen):
    """Spearman's rank correlation with its 95 % percentile bootstrap interval over clips.

    All three are `None` where one of the two is the same in all clips.
    """

    value: float | None
    low: float | None
    high: float | None


class InputDependence(_Frozen):
    """Whether what a clip executes goes with how much it moves; only where gates decide.

    `rank_correlation` is Spearman's, of a clip's motion and its executed MACs, with a 95 %
    percentile bootstrap interval over clips. All three are `None` where every clip executes the
    same, or moves the same: then there is no order to compare.
    """

    num_clips: int
    """Clips that decode."""
    num_routes: int
    """Different routes that they took."""
    rank_correlation: float | None
    low: float | None
    high: float | None
    frozen: Frozen | None = None
    frames: Correlation | None = None
    """The same of a clip's motion and the share of frames it computes, mean over layers; `None` in
    records made before it was told apart."""


class AnyBudget(_Frozen):
    """What the trained recognizer did with its gates shifted to another budget, not retrained.

    `share` of the dense MACs and `top1` are over the whole validation list, as the trial's own.
    """

    budget: float
    share: float
    top1: float


class Failure(_Frozen):
    """Why a trial has no figures."""

    kind: str
    message: str
    traceback: str


CLOCKS_AND_PLACES = frozenset(
    {"latency", "train_time_s", "loader_wait_s", "wall_time_s", "started_at", "finished_at",
     "environment", "code_revision"}
)  # fmt: skip
"""Fields of a record that may differ between two runs of one trial; nothing else may, on a CPU."""


class Record(_Frozen):
    """One trial's outcome. `trial` is the fully resolved trial as plain data."""

    schema_version: Literal[1] = 1
    key: str
    status: Literal["ok", "failed"]
    trial: dict[str, Any]

    dataset: str
    recognizer: str
    method: str
    budget: float | None
    seed: int

    accuracy: Accuracy | None = None
    macs: Macs | None = None
    latency: Latency | None = None
    engine: EngineCheck | None = None
    num_params: int | None = None
    num_params_dense: int | None = None
    budget_status: Literal["met", "under", "infeasible"] | None = None
    """None where the method takes no budget. "under": more than 5 points below it. "infeasible":
    above it; the nearest reached is `macs.share`."""

    train_time_s: float | None = None
    loader_wait_s: float | None = None
    """Of the training time, how long the next batch was waited for."""
    wall_time_s: float | None = None
    """Of the attempt that ended, and the training that earlier ones handed on to it."""
    num_steps: int | None = None
    history: tuple[dict[str, float], ...] = ()
    """One entry an epoch; keys such as epoch, loss, accuracy_top1, macs_share, lambda."""

    routes: dict[str, dict[str, float]] = {}
    """Per dynamic layer: mean share of frames and channels computed over the validation clips."""
    input_dependence: InputDependence | None = None
    """None without gates, and in records of trials that ended before it was measured."""

    any_budget: tuple[AnyBudget, ...] = ()
    """By budgets asked for, from the largest down, less those at or below the gates' floor."""

    manifest_digest: str = ""
    code_revision: str = ""
    environment: dict[str, str] = {}
    started_at: str = ""
    finished_at: str = ""
    warnings: tuple[str, ...] = ()
    unreadable_clips: tuple[str, ...] = ()
    failure: Failure | None = None
