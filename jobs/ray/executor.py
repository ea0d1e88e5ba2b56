"""Run calls in parallel through Ray Tune: on this machine, a Ray cluster, or nodes of SLURM's.

Ray reads its security settings when it is imported, so nothing here imports it before they are
made, which is when the first calls come.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..calls import check_calls
from ..executor import Call, Executor, Outcome
from ..options import RayOptions

if TYPE_CHECKING:
    from .allocation import RayAllocation
    from .run import RayRun

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints its settings even at verbose=0
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # three files a call that nobody reads
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # the outcome carries the traceback
}
_CONNECTION_OPTIONS = frozenset({"address", "num_cpus", "num_gpus", "nodes"})


class RayExecutor(Executor):
    """Runs as many calls at once as their resources allow, each in a process of its own.

    Ray starts, or is joined, with the first run; if this process is connected already, that
    connection is used and left open. Variables that protect and quieten Ray are put into
    os.environ at that point, unless they are set.

    A call past `Resources.time_min` is killed and has failed. Memory is booked, not enforced. What
    a call prints goes to Ray's own logs.

    Args:
        folder: Where Tune keeps its results; a subfolder for each run. Nothing here is read back.
            With `nodes`, what Ray says on each of them.
        options: Where, how many at once, and which to stop early.
    """

    def __init__(self, folder: Path, options: RayOptions | None = None) -> None:
        self._folder = folder.absolute()
        self._options = options or RayOptions()
        self._runs: list[RayRun] = []
        self._connected = False
        self._allocation: RayAllocation | None = None

    def run(self, calls: Sequence[Call]) -> Iterator[Outcome]:
        """See `Executor.run`. With `asha`, the value of a stopped call is its last report.

        Raises:
            ValueError: Names are not unique, a target is malformed, a call needs more than any
                machine of the cluster has, or this process is in no allocation of `nodes`.
            ConnectionError: Ray did not come up on all `nodes`; says on which, and its last words.
        """
        check_calls(calls)
        if not calls:
            return iter(())
        self._connect()
        from .cluster import check_resources
        from .run import RayRun

        check_resources(calls)
        run = RayRun(calls, self._options, self._folder)
        self._runs.append(run)
        return run.outcomes()

    def close(self) -> None:
        """Cancel what runs; shut Ray down if this executor started it."""
        while self._runs:
            self._runs.pop().cancel()
        try:
            if self._connected:
                from .cluster import disconnect

                disconnect()
                self._connected = False
        finally:
            if self._allocation:
                self._allocation.stop()
                self._allocation = None

    def _connect(self) -> None:
        if self._connected:
            return
        _prepare_environment()
        if self._options.nodes and not _is_connected():
            self._start_on(self._options.nodes)
            return
        from .cluster import connect

        self._connected = connect(self._options)
        ignored = sorted(_CONNECTION_OPTIONS & self._options.model_fields_set)
        if ignored and not self._connected:
            warnings.warn(
                f"This process is connected to Ray already: {', '.join(ignored)} not used.",
                stacklevel=3,
            )

    def _start_on(self, num_nodes: int) -> None:
        from .allocation import RayAllocation

        allocation = RayAllocation(num_nodes, self._options.join_timeout_s, self._folder)
        allocation.start()
        self._allocation = allocation
        self._connected = True


def _is_connected() -> bool:
    return "ray" in sys.modules and bool(sys.modules["ray"].is_initialized())


def _prepare_environment() -> None:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if "ray" not in sys.modules:  # too late otherwise: servers would ask for a token none made
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # Ray listens on all interfaces
