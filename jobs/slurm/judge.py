"""What state is a call in? The call's own folder is the truth; the scheduler is a hint."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ..attempts import BEAT_S
from .client import IMPOSSIBLE, Seen

ALIVE_S = 3 * BEAT_S
"""So long after a sign of life nothing that the scheduler says is taken for death."""

SETTLE_S = 12.0
"""So long must the scheduler say that a job ended: accounts come late, requeues go through it."""

VISIBLE_S = 90.0
"""So long after a good end may its outcome be on the way: file systems on a network show a new file
late, by 60 s and more, and calls that are done must not be done again."""

REGISTER_S = 60.0
"""So long may a new job be unknown to the scheduler."""


class Verdict(enum.Enum):
    """What a call is thought to be doing."""

    WAITS = "waits"
    RUNS = "runs"
    UNKNOWN = "unknown"
    """The scheduler did not answer, or says what nobody here has heard of: not dead."""
    IMPOSSIBLE = "impossible"
    """No node can take it, ever."""
    CANCELLED = "cancelled"
    OUT_OF_MEMORY = "out of memory"
    LOST = "lost"
    """It ended without an outcome: killed, preempted for good, or gone with its node."""


@dataclass(frozen=True)
class Signs:
    """What is known of a call without an outcome.

    Args:
        asked: Whether the scheduler answered.
        seen: What it said of the job; None if it knows no such job.
        since_beat_s: Seconds since its last sign of life; infinite if there was none.
        since_submitted_s: Seconds since it was submitted.
        same_for_s: Seconds for which the scheduler has said the same.
        out_of_memory: Whether its log complains of memory.
    """

    asked: bool
    seen: Seen | None
    since_beat_s: float
    since_submitted_s: float
    same_for_s: float
    out_of_memory: bool = False


def judge(signs: Signs) -> Verdict:
    """Return what a call without an outcome is doing."""
    if signs.since_beat_s < ALIVE_S:
        return Verdict.RUNS
    if not signs.asked:
        return Verdict.UNKNOWN
    if signs.seen is None:
        new = signs.since_submitted_s < REGISTER_S
        return Verdict.WAITS if new else _settled(signs, Verdict.LOST, Verdict.UNKNOWN)
    if signs.seen.waits:
        stuck = signs.seen.reason in IMPOSSIBLE
        return _settled(signs, Verdict.IMPOSSIBLE, Verdict.WAITS) if stuck else Verdict.WAITS
    if not signs.seen.ended:
        return Verdict.RUNS if signs.seen.runs else Verdict.UNKNOWN
    return _settled(signs, _ending(signs, signs.seen), Verdict.RUNS)


def _settled(signs: Signs, verdict: Verdict, meanwhile: Verdict) -> Verdict:
    well = signs.seen is not None and signs.seen.state == "COMPLETED"
    return verdict if signs.same_for_s >= (VISIBLE_S if well else SETTLE_S) else meanwhile


def _ending(signs: Signs, seen: Seen) -> Verdict:
    if seen.state == "CANCELLED":
        return Verdict.CANCELLED
    if seen.state == "OUT_OF_MEMORY" or signs.out_of_memory:
        return Verdict.OUT_OF_MEMORY
    return Verdict.LOST
