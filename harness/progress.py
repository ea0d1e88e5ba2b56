"""How a running sweep looks: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from .plan import name_of
from .sweep import Fate, Finished
from .trial import Trial

Clock = Callable[[], float]

MARKS: dict[Fate, str] = {
    "done": "[green]done[/]",
    "failed": "[red]failed[/]",
    "stopped": "[yellow]stopped[/]",
    "lost": "[red]lost[/]",
}


class Watch:
    """Counts what comes back, and says what is under way and how long the rest may take."""

    def __init__(self, todo: Sequence[Trial], clock: Clock = time.monotonic) -> None:
        self._waiting = {trial.key: name_of(trial) for trial in todo}
        self._total = len(todo)
        self._failed = 0
        self._clock = clock
        self._start = clock()

    def note(self, finished: Finished) -> None:
        """Count one trial that came back."""
        self._waiting.pop(finished.trial.key, None)
        self._failed += finished.fate in ("failed", "lost")

    @property
    def num_finished(self) -> int:
        """How many came back."""
        return self._total - len(self._waiting)

    @property
    def counts(self) -> str:
        """Such as "3/24, 1 failed"."""
        failed = f", {self._failed} failed" if self._failed else ""
        return f"{self.num_finished}/{self._total}{failed}"

    @property
    def current(self) -> str:
        """The trial that was submitted first of those still out."""
        return next(iter(self._waiting.values()), "")

    @property
    def left(self) -> str:
        """The time the rest may take, by the pace so far."""
        if not self.num_finished or not self._waiting:
            return ""
        pace_s = (self._clock() - self._start) / self.num_finished
        return f"about {duration(pace_s * len(self._waiting))} left"


def duration(time_s: float) -> str:
    """Return a length of time as people say it: "40 s", "12 min", "3.5 h"."""
    if time_s < 90:
        return f"{time_s:.0f} s"
    return f"{time_s / 60:.0f} min" if time_s < 90 * 60 else f"{time_s / 3600:.1f} h"


@contextmanager
def watching(
    todo: Sequence[Trial], console: Console, clock: Clock = time.monotonic
) -> Iterator[Callable[[Finished], None]]:
    """Show how trials come back; yields what to call with each."""
    watch = Watch(todo, clock)
    if not console.is_terminal:
        yield lambda finished: _plain_line(watch, finished, console)
        return
    bar = Progress(
        BarColumn(),
        TextColumn("{task.fields[counts]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        TextColumn("{task.fields[current]}", markup=False),
        console=console,
    )
    task = bar.add_task("", total=len(todo), **_fields(watch))

    def on_finish(finished: Finished) -> None:
        watch.note(finished)
        if finished.fate != "done":
            bar.console.print(MARKS[finished.fate], escape(_what(finished)), highlight=False)
        bar.update(task, completed=watch.num_finished, refresh=True, **_fields(watch))

    with bar:
        yield on_finish


def _plain_line(watch: Watch, finished: Finished, console: Console) -> None:
    watch.note(finished)
    rest = ", ".join(filter(None, [watch.counts, watch.left]))
    console.print(
        f"{finished.fate} {_what(finished)} ({rest})", highlight=False, markup=False, soft_wrap=True
    )


def _what(finished: Finished) -> str:
    return ": ".join(filter(None, [name_of(finished.trial), finished.message]))


def _fields(watch: Watch) -> dict[str, Any]:
    return {"counts": watch.counts, "left": watch.left, "current": watch.current}
