"""When a trial is saved: from time to time, and when its worker is asked to end."""

from __future__ import annotations

import time
from pathlib import Path

from jobs.worker import Worker


class Checkpoints:
    """A `registry.checkpoint.Keeper` that listens to a worker.

    Args:
        path: The one file; each save takes the place of the one before.
        every_s: Seconds between saves.
        worker: Says when to end, and hears what is saved.
    """

    def __init__(self, path: Path, every_s: float, worker: Worker) -> None:
        self.path = path
        self._every_s = every_s
        self._worker = worker
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether training should be saved now."""
        return time.monotonic() - self._last >= self._every_s or self._worker.interrupted

    def saved(self, num_steps: int) -> None:
        """Pass on how many steps are safe.

        Raises:
            Interrupted: The worker was asked to end.
        """
        self._last = time.monotonic()
        self._worker.saved(num_steps)
