"""Ports of this machine: which are free, which are served."""

from __future__ import annotations

import contextlib
import itertools
import socket
from collections.abc import Iterable, Iterator

FIRST, COUNT = 20000, 12000
"""Beyond what Ray takes by default, below what the kernel hands out."""


def free_ports(job: int, number: int) -> list[int]:
    """Return free ports; which are tried depends on the job, so jobs on one machine keep apart."""
    own = (FIRST + (job * 20 + i) % COUNT for i in range(COUNT))
    return list(itertools.islice(_free(own), number))


def listens(address: str, port: int) -> bool:
    """Whether something answers there."""
    with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=1):
        return True
    return False


def _free(ports: Iterable[int]) -> Iterator[int]:
    for port in ports:
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("", port))
            yield port
