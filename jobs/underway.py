"""What calls are doing, whichever executor runs them, and whoever asks; and how to end them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .attempts import Heartbeat, read_heartbeat
from .slurm.client import Seen, cancel
from .slurm.judge import ALIVE_S, Signs, Verdict, judge
from .slurm.ticket import Ticket, read_ticket, write_ticket
from .slurm.watch import ask_all, complains_of_memory, own_heartbeat


@dataclass(frozen=True)
class Look:
    """What a call without an outcome is doing, for people.

    Args:
        state: "waits", "runs", "lost", ...: the values of `Verdict`.
        detail: Why it waits or where it runs; may be "".
        job: The scheduler's id; "" if there is none.
        log: Where what it prints goes; None if that is nowhere, or not yet known.
    """

    state: str
    detail: str = ""
    job: str = ""
    log: Path | None = None


def look(folders: Iterable[Path]) -> dict[Path, Look]:
    """Return what the calls of some folders are doing; those not under way are left out.

    A scheduler is asked twice at most, however many calls there are. What it says is taken as it
    is: a job seen as lost may be on its way back into the queue.
    """
    tickets: dict[Path, Ticket] = {}
    looks: dict[Path, Look] = {}
    for folder in folders:
        ticket = read_ticket(folder)
        if ticket is None:
            looks |= _local(folder)
        elif not (folder / "outcome.json").exists():
            tickets[folder] = ticket
    if tickets:
        hints = ask_all(tickets.values())
        looks |= {folder: _look(folder, ticket, hints) for folder, ticket in tickets.items()}
    return looks


def beating(folders: Iterable[Path]) -> dict[Path, str]:
    """Return where the calls of some folders run and how far they are; no scheduler is asked."""
    beats = ((folder, read_heartbeat(folder)) for folder in folders)
    return {f: _where(beat) for f, beat in beats if beat and _silence_s(beat) <= ALIVE_S}


def end(folders: Iterable[Path]) -> list[Path]:
    """Cancel those calls of some folders that a scheduler runs; return their folders.

    Raises:
        SlurmError: The scheduler could not be asked.
    """
    tickets = {folder: ticket for folder in folders if (ticket := read_ticket(folder))}
    for folder, ticket in tickets.items():
        write_ticket(folder, replace(ticket, cancelled=True))
    cancel(ticket.job for ticket in tickets.values() if ticket.job)
    return list(tickets)


def _local(folder: Path) -> dict[Path, Look]:
    """A call without a ticket is run by some process, if it gives signs of life."""
    heartbeat = read_heartbeat(folder)
    if heartbeat is None or _silence_s(heartbeat) > ALIVE_S:
        return {}
    return {folder: Look(Verdict.RUNS.value, _where(heartbeat))}


def _look(folder: Path, ticket: Ticket, hints: Mapping[str, Seen] | None) -> Look:
    heartbeat = own_heartbeat(folder, ticket)
    hint = None if hints is None else hints.get(ticket.job)
    verdict = judge(
        Signs(
            asked=hints is not None,
            seen=hint,
            since_beat_s=_silence_s(heartbeat),
            since_submitted_s=time.time() - ticket.submitted_at,
            same_for_s=float("inf"),
            out_of_memory=bool(hint and hint.ended) and complains_of_memory(ticket),
        )
    )
    runs = verdict is Verdict.RUNS and heartbeat is not None
    said = "" if hint is None else hint.reason or hint.state.lower()
    detail = _where(heartbeat) if runs and heartbeat else said
    return Look(verdict.value, detail, ticket.job, ticket.log if ticket.job else None)


def _silence_s(heartbeat: Heartbeat | None) -> float:
    if heartbeat is None or heartbeat.last:
        return float("inf")
    return time.time() - heartbeat.at


def _where(heartbeat: Heartbeat) -> str:
    numbers = {n: v for n, v in heartbeat.latest.items() if isinstance(v, (int, float))}
    latest = "".join(f", {name} {value:g}" for name, value in list(numbers.items())[:2])
    return f"on {heartbeat.host}, attempt {heartbeat.attempt}{latest}"
