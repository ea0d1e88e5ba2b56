"""The seam: submit calls, get outcomes as they complete.

A backend is one file with one final subclass of `Executor`; `jobs/testing.py` holds the contract
that every backend passes.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Resources:
    """What one call needs on a worker.

    Args:
        cpus: Processor cores, at least 1; also the number of threads the call may use.
        gpus: Accelerators, 0 or more; fractions are allowed where the backend shares them.
        memory_gb: Memory in gigabytes; None leaves it to the backend.
        time_min: Wall-clock limit in minutes; None means no limit.
    """

    cpus: int = 1
    gpus: float = 0.0
    memory_gb: float | None = None
    time_min: int | None = None


@dataclass(frozen=True)
class Call:
    """One unit of work: a function by its import path, and plain data for it.

    Args:
        name: Unique among the calls of one submission; shown to people and used in file names.
        target: "module:function". The function takes (payload, worker), a `jobs.worker.Worker`;
            what it returns must be plain data.
        payload: Plain data (JSON types).
        group: Calls of one group compete when the backend stops weak ones early.
        folder: Where attempts at it are written down, and what they save; it outlives them all.
            None: the call keeps nothing.
    """

    name: str
    target: str
    payload: Mapping[str, Any]
    resources: Resources = field(default_factory=Resources)
    group: str = ""
    folder: Path | None = None


class State(str, enum.Enum):
    """How a call ended."""

    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    """Ended early on purpose: a scheduler judged it weak, or a person cancelled it."""


@dataclass(frozen=True)
class Outcome:
    """What became of one call.

    Args:
        call: The call.
        state: How it ended.
        value: What the function returned, if it returned.
        error: The remote traceback as text, if it failed.
    """

    call: Call
    state: State
    value: Any = None
    error: str = ""


class Executor(ABC):
    """Runs calls. Use as a context manager; leaving it releases what the backend holds."""

    @abstractmethod
    def run(self, calls: Sequence[Call]) -> Iterator[Outcome]:
        """Yield one outcome a call, in order of completion.

        A failing call is an outcome; its neighbours go on. Closing the iterator early cancels
        what has not finished, unless the executor is a `DurableExecutor`.
        """

    def close(self) -> None:  # noqa: B027  # not abstract: a backend may hold nothing
        """Release workers and connections. Calling it twice does no harm."""

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class DurableExecutor(Executor):
    """An executor whose calls go on when this process ends. Every call should have a folder.

    Any later process finds them again by their folders: `run` waits for those under way and
    submits only the others; `jobs.underway` looks at them and cancels them.
    """

    @abstractmethod
    def submit(self, calls: Sequence[Call]) -> int:
        """Submit those that are not under way, and return at once with their number."""

    @abstractmethod
    def preview(self, calls: Sequence[Call]) -> list[str]:
        """Return what would be handed to the scheduler, without doing so."""
