"""The connection to Ray: start or join it, size it up, leave it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray

from .environment import for_workers
from .executor import Call
from .options import RayOptions
from .ray_worker import bundle


def connect(options: RayOptions) -> bool:
    """Start or join Ray; False if this process was connected already."""
    if ray.is_initialized():
        return False
    size: dict[str, Any] = {}
    if options.address is None:
        size = {"num_cpus": options.num_cpus, "num_gpus": options.num_gpus}
    with for_workers(os.environ):
        ray.init(
            address=options.address or "local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": {"PYTHONPATH": _import_path()}},
            **size,
        )
    return True


def disconnect() -> None:
    """Leave Ray; end it if it was started here."""
    ray.shutdown()


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


def _import_path() -> str:
    """Return where this process imports from, beyond its own installation."""
    installed = {Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()}
    folders = [Path(entry).resolve() for entry in sys.path]  # "" stands for the working directory
    project = [f for f in folders if f.is_dir() and not installed & {f, *f.parents}]
    return os.pathsep.join(map(str, dict.fromkeys(project)))
