"""What every backend does with a call: check it, find its function, run it."""

from __future__ import annotations

import copy
import difflib
import importlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

from .attempts import Running
from .executor import Call
from .worker import Interrupted, Interruption, Report, Worker


def check_calls(calls: Sequence[Call]) -> None:
    """Refuse a submission that could not be told apart or started.

    Raises:
        ValueError: Two calls share a name, or a target is not "module:function"; every such
            call is listed.
    """
    count = Counter(call.name for call in calls)
    mistakes = [f"{n} calls are named {name!r}" for name, n in count.items() if n > 1]
    mistakes += [
        f"the target of {call.name!r} is {call.target!r}"
        for call in calls
        if not all(call.target.partition(":"))
    ]
    if mistakes:
        rule = "Names of calls must be unique and targets must read 'module:function'"
        raise ValueError(f"{rule}, but {'; '.join(mistakes)}.")


def resolve(target: str) -> Any:
    """Import what "module:attribute" names.

    Raises:
        ImportError: The module cannot be imported.
        LookupError: The module has no such attribute; the nearest one is named.
    """
    module_name, _, attribute = target.partition(":")
    module = importlib.import_module(module_name)
    try:
        return getattr(module, attribute)
    except AttributeError:
        near = difflib.get_close_matches(attribute, dir(module), n=1)
        hint = f" Did you mean `{near[0]}`?" if near else ""
        raise LookupError(f"Module `{module_name}` has no `{attribute}`.{hint}") from None


def invoke(call: Call, report: Report, job: str = "", log: str = "") -> Any:
    """Run the call in this process and return what its function returns.

    The function gets its own copy of the payload, as it would in another process. Where the call
    has a folder, the attempt is written down there, and the process gives signs of life.

    Args:
        call: What to run.
        report: Where its intermediate metrics go.
        job: The scheduler's name for this attempt.
        log: File that what it prints goes to.
    """
    interruption = Interruption()
    with interruption.listening():
        running = None if call.folder is None else Running(call.folder, job, log)
        worker = Worker(report, interruption, running)
        try:
            value = resolve(call.target)(copy.deepcopy(dict(call.payload)), worker)
        except BaseException as error:
            if running:
                _end_badly(running, error)
            raise
        if running:
            running.end("returned")
        return value


def _end_badly(running: Running, error: BaseException) -> None:
    if isinstance(error, Interrupted):
        running.end("interrupted", error.reason)
    elif isinstance(error, KeyboardInterrupt):
        running.end("interrupted", "Ctrl-C")
    else:
        running.end("failed", f"{type(error).__name__}: {error}")
