"""The connection to Ray: start or join it, size it up, leave it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import ray

from ..environment import for_workers, import_path
from ..executor import Call
from ..options import RayOptions
from .worker import bundle


def connect(options: RayOptions) -> bool:
    """Start or join Ray; False if this process was connected already."""
    if ray.is_initialized():
        return False
    size: dict[str, Any] = {}
    if options.address is None:
        size = {"num_cpus": options.num_cpus, "num_gpus": options.num_gpus}
    _init(address=options.address or "local", **size)
    return True


def join(head: str, port: int) -> None:
    """Join the cluster whose head runs on this machine.

    Raises:
        ConnectionError: It does not answer.
    """
    read_token_again()
    _init(address=f"{head}:{port}", _node_ip_address=head)


def read_token_again() -> None:
    """Make Ray believe the environment, should it remember the token of an earlier connection."""
    with contextlib.suppress(AttributeError):  # an older Ray knows no tokens
        ray._raylet.Config.initialize("")
        ray._raylet.AuthenticationTokenLoader.instance().reset_cache()


def addresses() -> set[str]:
    """Return where the cluster's living nodes are."""
    return {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}


def disconnect() -> None:
    """Leave Ray; end it if it was started here."""
    ray.shutdown()


def _init(**where: Any) -> None:
    with for_workers(os.environ), _own_sigterm():
        ray.init(
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": {"PYTHONPATH": import_path()}},
            **where,
        )


@contextlib.contextmanager
def _own_sigterm() -> Iterator[None]:
    """Put back what this process does on SIGTERM: Ray makes it an end without a word."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if callable(before) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


def check_resources(calls: Sequence[Call]) -> None:
    """Refuse calls that would wait for ever.

    Raises:
        ValueError: A call needs more than any machine of the cluster has; lists all such calls.
    """
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    too_large = [
        f"{call.name!r} needs {needs}"
        for call, needs in ((call, bundle(call.resources)) for call in calls)
        if not any(_fits(needs, machine) for machine in machines)
    ]
    if too_large:
        keys = ("CPU", "GPU", "memory")
        found = [{key: machine.get(key, 0) for key in keys} for machine in machines]
        raise ValueError(
            f"Each call must fit on one machine of {found}, but {'; '.join(too_large)}."
        )


def _fits(needs: dict[str, float], machine: dict[str, float]) -> bool:
    return all(machine.get(key, 0) >= amount for key, amount in needs.items())
