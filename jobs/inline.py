"""Run calls in this process, one after the other: for tests, debugging and machines without Ray."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .calls import check_calls, invoke
from .executor import Call, Executor, Outcome, State
from .options import InlineOptions


class InlineExecutor(Executor):
    """Runs each call when its outcome is asked for, in the order given.

    A call has the whole process to itself, so `Resources` are not enforced: neither the number of
    threads nor the time limit. Intermediate reports go nowhere. KeyboardInterrupt propagates.

    Args:
        folder: Unused; every backend is built alike.
        options: Nothing to set.
    """

    def __init__(self, folder: Path | None = None, options: InlineOptions | None = None) -> None:
        del folder, options

    def run(self, calls: Sequence[Call]) -> Iterator[Outcome]:
        """See `Executor.run`.

        Raises:
            ValueError: Names are not unique or a target is malformed.
        """
        check_calls(calls)
        return (_outcome(call) for call in calls)


def _outcome(call: Call) -> Outcome:
    try:
        return Outcome(call, State.DONE, value=invoke(call, _ignore))
    except (Exception, SystemExit):  # a call that exits must not take its neighbours with it
        return Outcome(call, State.FAILED, error=traceback.format_exc())


def _ignore(metrics: Mapping[str, Any]) -> None:
    """Nobody listens between the start and the end of an inline call."""
