"""What a test job finds out on a node: its software, its folder, its devices, its signals."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..files import read_json, write_json
from ..worker import Worker

LOCK, READY, GREETING = "lock", "ready.json", "greeting.json"
PACKAGES = ("torch", "submitit", "mmaction2", "vared-harness")
WAIT_S = 300.0
_GLANCE_S = 0.05


def probe(payload: dict[str, Any], worker: Worker) -> dict[str, Any]:
    """Look around on the node, then wait for a signal.

    Args:
        payload: `folder`, shared with whoever asks, who holds the lock in it; `gpus` asked for.
        worker: Notices the signal.

    Returns:
        host; python and packages, as versions; clock, seconds since 1970 when it was ready;
        greeting, what it read of a file written elsewhere; locked, whether it saw the lock held;
        gpus, how many torch finds, None if none was asked for; signalled.
    """
    folder = Path(payload["folder"])
    facts: dict[str, Any] = {
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "packages": {name: installed(name) for name in PACKAGES},
        "greeting": read_json(folder / GREETING),
        "locked": _sees_lock(folder / LOCK),
        "gpus": _num_gpus() if payload["gpus"] else None,
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
    }
    facts["clock"] = time.time()
    write_json(folder / READY, facts)  # renames and syncs, as records do
    deadline = time.monotonic() + WAIT_S
    while not worker.interrupted and time.monotonic() < deadline:
        time.sleep(_GLANCE_S)
    return facts | {"signalled": worker.interrupted}


def _sees_lock(path: Path) -> bool:
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


def _num_gpus() -> int:
    """Ask torch in a process of its own: this one should stay light."""
    count = "import torch; print(torch.cuda.device_count())"
    done = subprocess.run(
        [sys.executable, "-c", count], capture_output=True, text=True, check=False
    )
    return int(done.stdout) if done.returncode == 0 else 0


def installed(package: str) -> str:
    """Return the version of a package here."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
