"""Watches over calls under way: signs of life from their folders, hints from the scheduler."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..attempts import Heartbeat, read_heartbeat
from ..executor import Call
from .client import Seen, SlurmError, accounted, find, queued
from .judge import Signs, Verdict, judge
from .ticket import Ticket, read_ticket, write_job

_SHORTEST_S = 2.0
_LONGEST_S = 60.0
_SHARE = 0.05
"""Ask again after this share of the time watched so far, within the two limits above."""

_MEMORY_SIGNS = ("exceeded memory limit", "oom-kill", "oom_kill", "Out Of Memory")
_TAIL_BYTES = 4096


@dataclass
class _Seen:
    """What is remembered of one call between two looks; times are this process's own."""

    submission: Path
    beat: tuple[int, int] | None = None
    beat_at: float = float("-inf")
    hint: Seen | None = None
    hint_since: float = field(default_factory=time.monotonic)


class Watch:
    """Asks the scheduler now and then, in one question for all calls."""

    def __init__(self) -> None:
        self._began = self._next = time.monotonic()
        self._memory: dict[Path, _Seen] = {}

    def verdicts(self, calls: Collection[Call]) -> Iterator[tuple[Call, Verdict]]:
        """Yield what each call is thought to be doing; nothing while it is too early to ask."""
        now = time.monotonic()
        if now < self._next:
            return
        under_way = {
            call.folder: (call, ticket)
            for call in calls
            if call.folder and (ticket := read_ticket(call.folder))
        }
        hints = ask_all(ticket for _, ticket in under_way.values())
        took = time.monotonic() - now
        wait = max(_SHORTEST_S, 5 * took, _SHARE * (now - self._began))
        self._next = time.monotonic() + min(wait, _LONGEST_S)
        for folder, (call, ticket) in under_way.items():
            yield call, judge(self._signs(folder, ticket, hints))

    def reason(self, folder: Path) -> str:
        """Return the scheduler's last words on the call of a folder."""
        seen = self._hint(folder)
        return "" if seen is None else seen.reason or seen.state

    def by(self, folder: Path) -> str:
        """Return who cancelled a call, as " by ..." or ""."""
        seen = self._hint(folder)
        return f" by user {seen.by}" if seen and seen.by else ""

    def _hint(self, folder: Path) -> Seen | None:
        return self._memory[folder].hint if folder in self._memory else None

    def _signs(self, folder: Path, ticket: Ticket, hints: dict[str, Seen] | None) -> Signs:
        now = time.monotonic()
        memory = self._memory.get(folder)
        if memory is None or memory.submission != ticket.submission:
            memory = self._memory[folder] = _Seen(ticket.submission)
        heartbeat = own_heartbeat(folder, ticket)
        beat = (heartbeat.attempt, heartbeat.beat) if heartbeat else None
        if heartbeat and heartbeat.last:
            memory.beat_at = float("-inf")
        elif beat != memory.beat:
            memory.beat, memory.beat_at = beat, now
        hint = None if hints is None else hints.get(ticket.job)
        if hints is not None and hint != memory.hint:
            memory.hint, memory.hint_since = hint, now
        return Signs(
            asked=hints is not None,
            seen=hint,
            since_beat_s=now - memory.beat_at,
            since_submitted_s=time.time() - ticket.submitted_at,
            same_for_s=now - memory.hint_since,
            out_of_memory=bool(hint and hint.ended) and complains_of_memory(ticket),
        )


def ask_all(tickets: Iterable[Ticket]) -> dict[str, Seen] | None:
    """Return the scheduler's hints by job id, from squeue and, for the rest, sacct.

    None if it cannot be asked now: its silence means nothing.
    """
    tickets = list(tickets)
    try:
        for submission in {t.submission for t in tickets if not t.job}:
            _recover(submission, next(t for t in tickets if t.submission == submission))
        hints = queued(ticket.job_name for ticket in tickets)
    except SlurmError:
        return None
    unknown = {ticket.job for ticket in tickets if ticket.job} - hints.keys()
    try:
        return accounted(job.partition("_")[0] for job in unknown) | hints if unknown else hints
    except SlurmError as error:  # what squeue says still counts; of the others nothing is known
        return dict.fromkeys(unknown, Seen("UNKNOWN", reason=str(error))) | hints


def complains_of_memory(ticket: Ticket) -> bool:
    """Whether the job's log ends with a kill for memory, which SLURM may report as FAILED."""
    log = ticket.log.with_suffix(".err")
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            end = file.read().decode(errors="replace")
    except OSError:
        return False
    return any(sign in end for sign in _MEMORY_SIGNS)


def _recover(submission: Path, ticket: Ticket) -> None:
    """Find the job of a submission whose process died before it could write the id down."""
    job = find(ticket.job_name)
    if job:
        write_job(submission, job)


def own_heartbeat(folder: Path, ticket: Ticket) -> Heartbeat | None:
    """Return the heartbeat of an attempt of this submission; an older one says nothing."""
    heartbeat = read_heartbeat(folder)
    return heartbeat if heartbeat and heartbeat.job == ticket.job else None
