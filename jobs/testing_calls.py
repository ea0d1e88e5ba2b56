"""Calls that are interrupted, killed and looked into under a test's control.

`Steps` is the test's end of `steps`, `steps` the worker's; they meet in a folder.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

from .attempts import Attempt, read_attempts
from .executor import Call, Executor, Outcome, Resources, State
from .slurm.ticket import read_ticket
from .testing import call, until
from .worker import Worker

_SOON_S = 300.0


class Steps:
    """A call of `steps`: what a test lets happen of it, and sees.

    Args:
        folder: The call's own, below which it is made, under its name.
        name: The call's.
        number: How many steps there are.
        gates: Steps, from 0, that wait until they are let through.
        deaf: So many of the first attempts do not hear that they should end.
        resources: What it asks for.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        number: int = 3,
        gates: Sequence[int] = (1,),
        deaf: int = 0,
        resources: Resources | None = None,
    ) -> None:
        self.number = number
        self.folder = folder / name
        self.place = self.folder / "place"
        self.place.mkdir(parents=True, exist_ok=True)
        payload = {"place": str(self.place), "number": number, "gates": [*gates], "deaf": deaf}
        self.call = replace(call(name, steps, payload, resources), folder=self.folder)

    def let(self, *gates: int) -> None:
        """Open gates, for good."""
        for gate in gates:
            (self.place / f"gate-{gate}").touch()

    def waits_at(self, gate: int, attempt: int = 1) -> bool:
        """Whether an attempt, from 1, has come to a gate."""
        return (self.place / f"at-{attempt}-{gate}").exists()

    def kill(self) -> None:
        """Kill the process that began last."""
        os.kill(_numbers(self.place / "processes")[-1], signal.SIGKILL)

    @property
    def job(self) -> str:
        """The scheduler's name of it; "" while there is none."""
        ticket = read_ticket(self.folder)
        return ticket.job if ticket else ""

    @property
    def attempts(self) -> list[Attempt]:
        """Those made so far."""
        return read_attempts(self.folder)

    @property
    def began(self) -> list[int]:
        """The step at which each attempt began."""
        return _numbers(self.place / "began")

    @property
    def completed(self) -> int:
        """How often the last step was followed by the end."""
        return len(_numbers(self.place / "completed"))

    def check_done(self, outcome: Outcome, began: list[int]) -> None:
        """Assert that it ended well, once, with no step done twice; attempts `began` there."""
        assert outcome == Outcome(self.call, State.DONE, self.number)
        assert _numbers(self.place / "done") == list(range(self.number))
        assert self.began == began == [attempt.began_with for attempt in self.attempts]
        assert self.completed == 1
        assert [attempt.ending for attempt in self.attempts].count("returned") == 1
        assert self.attempts[-1].saved == self.number


class Driver:
    """A thread that runs calls, so that the test can act meanwhile."""

    def __init__(self, executor: Executor, calls: Sequence[Call]) -> None:
        self._outcomes: Future[dict[str, Outcome]] = Future()
        # a daemon, lest a failed test waits for calls that nobody lets through any more
        threading.Thread(target=self._run, args=(executor, calls), daemon=True).start()

    def outcomes(self) -> dict[str, Outcome]:
        """Wait for all outcomes, by the names of their calls."""
        return self._outcomes.result(timeout=_SOON_S)

    def _run(self, executor: Executor, calls: Sequence[Call]) -> None:
        try:
            found = {outcome.call.name: outcome for outcome in executor.run(calls)}
        except BaseException as error:  # the thread's end is not the test's
            self._outcomes.set_exception(error)
        else:
            self._outcomes.set_result(found)


def steps(payload: dict[str, Any], worker: Worker) -> int:
    """Do steps one by one, each saved, from where an earlier attempt was; return their number."""
    place = Path(payload["place"])
    first = int(_read(place / "progress") or 0)
    _append(place / "began", first)
    attempt = len(_numbers(place / "began"))
    _append(place / "processes", os.getpid())
    for step in range(first, payload["number"]):
        worker.report({"step": step})
        if step in payload["gates"]:
            _wait_at(step, place, attempt, None if attempt <= payload["deaf"] else worker)
        _append(place / "done", step)
        _replace(place / "progress", str(step + 1))
        worker.saved(step + 1)
    _append(place / "completed", payload["number"])
    return int(payload["number"])


def environment(payload: dict[str, Any], worker: Worker) -> dict[str, str]:
    """Return the variables that a call sees."""
    return dict(os.environ)


def grow(payload: dict[str, Any], worker: Worker) -> None:
    """Take `payload["memory_gb"]` gigabytes and keep them for as long as one lets it."""
    held = b"\1" * int(payload["memory_gb"] * 1e9)
    until(lambda: not held)


def _wait_at(gate: int, place: Path, attempt: int, worker: Worker | None) -> None:
    opened = place / f"gate-{gate}"
    (place / f"at-{attempt}-{gate}").touch()
    until(lambda: opened.exists() or bool(worker and worker.interrupted))
    if worker and not opened.exists():
        worker.saved(gate)


def _numbers(path: Path) -> list[int]:
    return [int(line) for line in _read(path).split()]


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _append(path: Path, number: int) -> None:
    with path.open("a") as file:
        file.write(f"{number}\n")


def _replace(path: Path, text: str) -> None:
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").replace(path)
