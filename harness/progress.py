"""How a running sweep looks: a bar and what runs now on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from jobs.underway import beating

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


NUM_ROWS = 12
"""Trials shown at once as running."""

_LOOK_SHARE = 0.02
"""Share of the time that may go into looking what runs."""


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
    def waiting(self) -> dict[str, str]:
        """Names of the trials still out, by key."""
        return dict(self._waiting)

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


class Board:
    """A table of the trials that run now, from the signs of life in their folders.

    Args:
        watch: Knows which are out.
        folder_of: Where a trial's files lie, by its key.
    """

    def __init__(self, watch: Watch, folder_of: Callable[[str], Path]) -> None:
        self._watch = watch
        self._folder_of = folder_of
        self._table = Table(box=None)
        self._next = 0.0

    def __rich__(self) -> Table:
        """Return the table, drawn anew if the last look is long enough ago."""
        began = time.monotonic()
        if began >= self._next:
            self._table = self._draw()
            self._next = began + max(1.0, (time.monotonic() - began) / _LOOK_SHARE)
        return self._table

    def _draw(self) -> Table:
        names = {self._folder_of(key): name for key, name in self._watch.waiting.items()}
        found = beating(names)
        table = Table(box=None, show_header=False)
        for folder, where in list(found.items())[:NUM_ROWS]:
            table.add_row(escape(names[folder]), escape(where))
        if len(found) > NUM_ROWS:
            table.add_row(f"... and {len(found) - NUM_ROWS} more", "")
        return table


@contextmanager
def watching(
    todo: Sequence[Trial],
    console: Console,
    folder_of: Callable[[str], Path],
    clock: Clock = time.monotonic,
) -> Iterator[Callable[[Finished], None]]:
    """Show how trials run and come back; yields what to call with each that does.

    Args:
        todo: The trials that are out.
        console: Where to.
        folder_of: Where a trial's files lie, by its key.
        clock: Seconds that only grow.
    """
    watch = Watch(todo, clock)
    if not console.is_terminal:
        yield lambda finished: _plain_line(watch, finished, console)
        return
    bar = Progress(
        BarColumn(),
        TextColumn("{task.fields[counts]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        console=console,
    )
    task = bar.add_task("", total=len(todo), **_fields(watch))

    def on_finish(finished: Finished) -> None:
        watch.note(finished)
        if finished.fate != "done":
            console.print(MARKS[finished.fate], escape(_what(finished)), highlight=False)
        bar.update(task, completed=watch.num_finished, **_fields(watch))

    with Live(Group(bar, Board(watch, folder_of)), console=console, refresh_per_second=2):
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
    return {"counts": watch.counts, "left": watch.left}
