"""What a running call has of its surroundings."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .attempts import Running

ENDING_SIGNALS = (signal.SIGTERM, signal.SIGUSR2)
"""What schedulers send before they take a machine away."""

Report = Callable[[Mapping[str, Any]], None]
"""Passes intermediate metrics of a running call on: names to numbers or other plain data."""


class Interrupted(BaseException):
    """The call ends because it was asked to, with its state saved: another attempt goes on.

    Args:
        reason: What asked: the name of a signal, or that another attempt has taken over.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Interruption:
    """A request to end, made by a signal and noticed by the call when it can."""

    def __init__(self) -> None:
        self.reason = ""

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within the block, take note of ending signals; the second one acts as it did before.

        Python delivers signals to the main thread only; elsewhere this listens to nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}

        def note(number: int, _frame: object) -> None:
            self.reason = self.reason or signal.Signals(number).name
            signal.signal(number, before[signal.Signals(number)])

        for number in ENDING_SIGNALS:
            signal.signal(number, note)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Worker:
    """Given to every call beside its payload.

    Args:
        report: Where intermediate metrics go.
        interruption: Says whether the call should end.
        running: The attempt, where the call keeps a folder.
    """

    def __init__(
        self, report: Report, interruption: Interruption, running: Running | None = None
    ) -> None:
        self._report = report
        self._interruption = interruption
        self._running = running

    @property
    def folder(self) -> Path | None:
        """Where this attempt may keep its files; None where the call has no folder."""
        return None if self._running is None else self._running.path

    @property
    def interrupted(self) -> bool:
        """Whether the call should save its state now and end."""
        return bool(self._interruption.reason) or self._superseded

    def report(self, metrics: Mapping[str, Any]) -> None:
        """Pass metrics on to whoever watches."""
        if self._running:
            self._running.report(metrics)
        self._report(metrics)

    def saved(self, progress: int) -> None:
        """Say that the call could go on from here.

        Args:
            progress: How much is saved, in the call's own unit; an attempt that never raises it
                counts as fruitless.

        Raises:
            Interrupted: The call should end.
        """
        if self._running:
            self._running.saved(progress)
        if self.interrupted:
            raise Interrupted(self._interruption.reason or "a later attempt has taken over")

    @property
    def _superseded(self) -> bool:
        return self._running is not None and self._running.superseded
