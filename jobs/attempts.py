"""Attempts at a call, and the heartbeat of the one that runs: files in the call's own folder.

    heartbeat.json           who runs the call, and how far it is; written anew every few seconds
    attempts/<n>/attempt.json   who tried it, what it saved, how it ended

These files, not a scheduler, are the truth about a call.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from .files import read_json, write_json

BEAT_S = 5.0
"""Seconds between two beats."""

Ending = Literal["returned", "failed", "interrupted"]


@dataclass
class Attempt:
    """One attempt at a call. Without an ending it runs still, or vanished.

    Args:
        number: From 1.
        host: Where it runs.
        pid: Its process there.
        job: The scheduler's name for it, "" without a scheduler.
        log: File that what it prints goes to, "" where there is none.
        began_at: Seconds since 1970, by the clock of its host; so are all times here.
        began_with: Progress saved by earlier attempts, in the call's own unit.
        saved: Progress saved by now.
        ended_at: When it ended.
        ending: How it ended.
        reason: What made it end, for people.
    """

    number: int
    host: str
    pid: int
    began_at: float
    job: str = ""
    log: str = ""
    began_with: int = 0
    saved: int = 0
    ended_at: float | None = None
    ending: Ending | None = None
    reason: str = ""

    @property
    def fruitless(self) -> bool:
        """Whether it came to nothing: no result, no error of the call's own, nothing saved."""
        return self.ending in (None, "interrupted") and self.saved <= self.began_with


@dataclass(frozen=True)
class Heartbeat:
    """What the running attempt says of itself.

    Args:
        attempt: Its number.
        beat: Grows with each sign of life, so that a reader needs no common clock.
        at: Seconds since 1970, by the clock of the host.
        host: Where it runs.
        pid: Its process there.
        job: The scheduler's name for it.
        latest: What it reported last.
        last: Whether the attempt has ended, so that no other beat will come.
    """

    attempt: int
    beat: int
    at: float
    host: str
    pid: int
    job: str = ""
    latest: dict[str, Any] = field(default_factory=dict)
    last: bool = False


def read_attempts(folder: Path) -> list[Attempt]:
    """Return the attempts at the call of a folder, first to last."""
    found = (_attempt(path) for path in (folder / "attempts").glob("*/attempt.json"))
    return sorted((a for a in found if a), key=lambda attempt: attempt.number)


def read_heartbeat(folder: Path) -> Heartbeat | None:
    """Return the last sign of life; None if there never was one."""
    data = read_json(folder / "heartbeat.json")
    return None if data is None else Heartbeat(**data)


def fruitless_in_a_row(attempts: Sequence[Attempt]) -> int:
    """Return how many of the last attempts came to nothing."""
    count = 0
    for attempt in reversed(attempts):
        if not attempt.fruitless:
            break
        count += 1
    return count


def attempt_folder(folder: Path, number: int) -> Path:
    """Return where attempt `number` keeps its files."""
    return folder / "attempts" / str(number)


class Running:
    """The attempt that this process makes, and its heart.

    Args:
        folder: The call's own.
        job: The scheduler's name for it, "" without a scheduler.
        log: File that what it prints goes to, "" where there is none.
    """

    def __init__(self, folder: Path, job: str = "", log: str = "") -> None:
        self.folder = folder
        earlier = read_attempts(folder)
        self.attempt = Attempt(
            number=_claim(folder),
            host=socket.gethostname(),
            pid=os.getpid(),
            job=job,
            log=log,
            began_at=time.time(),
            began_with=earlier[-1].saved if earlier else 0,
            saved=earlier[-1].saved if earlier else 0,
        )
        self._latest: dict[str, Any] = {}
        self._beat = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._write()
        self.beat()
        self._heart = threading.Thread(target=self._keep_beating, name="heartbeat", daemon=True)
        self._heart.start()

    @property
    def path(self) -> Path:
        """The attempt's own folder."""
        return attempt_folder(self.folder, self.attempt.number)

    @property
    def superseded(self) -> bool:
        """Whether a later attempt has begun, so that this one should end."""
        return attempt_folder(self.folder, self.attempt.number + 1).exists()

    def report(self, metrics: Mapping[str, Any]) -> None:
        """Show what the call reports."""
        self._latest = dict(metrics)
        self.beat()

    def saved(self, progress: int) -> None:
        """Write down how much is safe now."""
        self.attempt.saved = progress
        self._write()

    def end(self, ending: Ending, reason: str = "") -> None:
        """Write down how the attempt ended."""
        self._ended.set()
        self._heart.join()
        self.attempt.ending, self.attempt.reason = ending, reason
        self.attempt.ended_at = time.time()
        self._write()
        self.beat()

    def beat(self) -> None:
        """Give a sign of life."""
        own = self.attempt
        with self._lock:
            self._beat += 1
            beat = Heartbeat(
                attempt=own.number, beat=self._beat, at=time.time(), host=own.host, pid=own.pid,
                job=own.job, latest=self._latest, last=self._ended.is_set(),
            )  # fmt: skip
            write_json(self.folder / "heartbeat.json", asdict(beat), durable=False)

    def _keep_beating(self) -> None:
        while not self._ended.wait(BEAT_S):
            self.beat()

    def _write(self) -> None:
        write_json(self.path / "attempt.json", asdict(self.attempt))


def _claim(folder: Path) -> int:
    """Make the next attempt's folder; of two that try at once each gets its own."""
    attempts = folder / "attempts"
    attempts.mkdir(parents=True, exist_ok=True)
    number = 1 + max((int(p.name) for p in attempts.iterdir() if p.name.isdigit()), default=0)
    while True:
        try:
            attempt_folder(folder, number).mkdir()
        except FileExistsError:
            number += 1
        else:
            return number


def _attempt(path: Path) -> Attempt | None:
    data = read_json(path)
    return None if data is None else Attempt(**data)
