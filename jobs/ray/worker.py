"""The worker's side: what Tune starts for each call, and what it sends back.

Every worker imports this first, so it imports little.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune

from ..calls import invoke
from ..environment import enter_worker
from ..executor import Call, Resources
from ..worker import Interrupted


@dataclass(frozen=True)
class Message:
    """What a worker says, wrapped: Tune would act on names like "done" and log the rest."""

    kind: str  # "reported", "returned" or "failed"
    content: Any


def trainable(calls: Sequence[Call]) -> Any:
    """Return what Tune runs: trial `index` runs `calls[index]` with the resources it asks for."""
    home = Path.cwd()

    def work(config: Mapping[str, Any]) -> None:
        _work(calls[config["index"]], home)

    def resources(config: Mapping[str, Any]) -> Any:
        return tune.PlacementGroupFactory([bundle(calls[config["index"]].resources)])

    return tune.with_resources(work, resources)


def bundle(resources: Resources) -> dict[str, float]:
    """Return the resources in Ray's words and units: cores, devices, bytes."""
    needs = {"CPU": float(resources.cpus)}
    if resources.gpus:
        needs["GPU"] = float(resources.gpus)
    if resources.memory_gb is not None:
        needs["memory"] = resources.memory_gb * 1e9
    return needs


def _work(call: Call, home: Path) -> None:
    """Run one call on a worker; what comes of it, good or bad, is the last report."""
    enter_worker(os.environ, call.resources.cpus)
    if home.is_dir():  # relative paths in a payload mean what they mean to the caller
        os.chdir(home)
    try:
        _say("returned", invoke(call, lambda metrics: _say("reported", dict(metrics))))
    except (Exception, SystemExit, Interrupted):
        # after an early stop, `report` exits; then nobody hears this
        _say("failed", traceback.format_exc())


def _say(kind: str, content: Any) -> None:
    numbers = {}
    if kind == "reported":
        numbers = {name: n for name, n in content.items() if isinstance(n, (int, float))}
    tune.report({"message": Message(kind, content), "reported": numbers})
