"""What every backend does with a call: check it, find its function, run it."""

from __future__ import annotations

import copy
import difflib
import importlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .executor import Call

Report = Callable[[Mapping[str, Any]], None]
"""Passes intermediate metrics of a running call on: names to numbers or other plain data."""


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


def invoke(call: Call, report: Report) -> Any:
    """Run the call in this process and return what its function returns.

    The function gets its own copy of the payload, as it would in another process.
    """
    return resolve(call.target)(copy.deepcopy(dict(call.payload)), report)
