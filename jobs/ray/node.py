"""What runs on each node of an allocation: Ray's daemons, in a private folder that goes with them.

It ends when its standard input does: whoever started it closes that, or died.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from ..environment import for_workers

PATIENCE_S = 10.0
_LONGEST_FOLDER = 24  # Ray's sockets lie some 80 characters deeper, and a path has 107
_GLANCE_S = 0.5
_AT_ONCE = {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"}  # all nodes end together: none takes over


def main(arguments: Sequence[str]) -> int:
    """Run `ray start` with these arguments; return its exit code.

    Being asked to end is no failure.
    """
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
    with _private_folder() as folder, for_workers(os.environ):
        ray = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", *arguments,
             f"--temp-dir={folder}/r", "--block"],  # within, since Ray opens it to everyone
            stdin=subprocess.DEVNULL,
            env=os.environ | _AT_ONCE,
        )  # fmt: skip
        while ray.poll() is None and not told and not _hung_up():
            pass
        return _end(ray)


def _private_folder() -> tempfile.TemporaryDirectory[str]:
    usual = tempfile.gettempdir()
    place = usual if len(usual) <= _LONGEST_FOLDER else "/tmp"  # noqa: S108
    return tempfile.TemporaryDirectory(prefix="ray-", dir=place, ignore_cleanup_errors=True)


def _hung_up() -> bool:
    """Wait a little; return whether standard input has ended meanwhile."""
    readable, _, _ = select.select([0], [], [], _GLANCE_S)
    return bool(readable) and not os.read(0, 1024)


def _end(ray: subprocess.Popen[bytes]) -> int:
    if ray.poll() is not None:
        return ray.returncode or 1  # nobody asked it to
    ray.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        ray.wait(PATIENCE_S)
        return 0
    ray.kill()  # its reaper kills the daemons then
    ray.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
