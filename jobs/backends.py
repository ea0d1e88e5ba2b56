"""The table of backends. Adding one is a file, a model in options.py, and a line here."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .calls import resolve
from .executor import Executor
from .options import InlineOptions, Options, RayOptions, SlurmOptions


class Backend(NamedTuple):
    """One row of the table.

    Args:
        summary: One line for people.
        executor: "module:class", imported only when opened; built from (folder, options).
        options: The model of its options.
        durable: Whether its calls go on when the process that submitted them ends.
    """

    summary: str
    executor: str
    options: type[Options]
    durable: bool = False


BACKENDS: Mapping[str, Backend] = {
    "inline": Backend(
        "one call after the other in this process", "jobs.inline:InlineExecutor", InlineOptions
    ),
    "ray": Backend(
        "calls in parallel on this machine or a Ray cluster",
        "jobs.ray.executor:RayExecutor",
        RayOptions,
    ),
    "slurm": Backend(
        "each call a job of a SLURM array, through submitit",
        "jobs.slurm.executor:SlurmExecutor",
        SlurmOptions,
        durable=True,
    ),
}


def options_type(name: str) -> type[Options]:
    """Return the model of the options of backend `name`, for checking or for its JSON schema.

    Raises:
        LookupError: There is no such backend; lists those there are.
    """
    return _backend(name).options


def open_executor(name: str, options: Mapping[str, Any], folder: Path) -> Executor:
    """Build the executor called `name`; close it, or use it as a context manager.

    Args:
        name: A key of `BACKENDS`.
        options: Fields of `options_type(name)`.
        folder: Where the backend may keep its own files. Made absolute.

    Raises:
        LookupError: There is no such backend; lists those there are.
        pydantic.ValidationError: Options are unknown or out of range; every mistake is listed.
    """
    backend = _backend(name)
    checked = backend.options.model_validate(dict(options))
    executor: Executor = resolve(backend.executor)(folder.absolute(), checked)
    return executor


def _backend(name: str) -> Backend:
    if name in BACKENDS:
        return BACKENDS[name]
    near = difflib.get_close_matches(name, BACKENDS, n=1)
    hint = f" Did you mean `{near[0]}`?" if near else ""
    raise LookupError(f"No executor is called `{name}`; there are {', '.join(BACKENDS)}.{hint}")
