"""The allocation of SLURM's that this process runs in: its nodes, their addresses and sizes."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .client import ask


@dataclass(frozen=True)
class Node:
    """One node, and what of it belongs to the job.

    Args:
        name: As SLURM calls it.
        address: IPv4.
        cpus: Processor cores.
        gpus: Accelerators.
        memory_mb: None where SLURM does not count memory.
    """

    name: str
    address: str
    cpus: int
    gpus: int = 0
    memory_mb: int | None = None


def nodes_of(environ: Mapping[str, str]) -> list[Node]:
    """Return the nodes of the job, the one that this process runs on first.

    Args:
        environ: What SLURM tells the processes of a job, usually os.environ.

    Raises:
        ValueError: This process runs on none of them, or one has no address.
        SlurmError: The cluster could not be asked.
    """
    nodelist = environ["SLURM_JOB_NODELIST"]
    names = _names(nodelist)
    addresses = {name: _resolved(address) for name, address in _addresses(nodelist).items()}
    here = _here(environ, names, addresses)
    addresses[here] = _reachable(addresses[here], [addresses[name] for name in names])
    cpus = expand_counts(environ["SLURM_JOB_CPUS_PER_NODE"])
    details = _details(environ["SLURM_JOB_ID"])
    nodes = [
        Node(name, addresses[name], num_cpus, *details.get(name, (0, None)))
        for name, num_cpus in zip(names, cpus, strict=True)
    ]
    return sorted(nodes, key=lambda node: node.name != here)


def expand_counts(counts: str) -> list[int]:
    """Return SLURM's numbers a node one by one: "2(x3),4" is 2, 2, 2, 4."""
    found = re.findall(r"(\d+)(?:\(x(\d+)\))?", counts)
    return [int(count) for count, times in found for _ in range(int(times or 1))]


def _addresses(nodelist: str) -> dict[str, str]:
    told = ask(["scontrol", "show", "node", "--oneliner", nodelist])
    return dict(re.findall(r"^NodeName=(\S+).*? NodeAddr=(\S+)", told, re.MULTILINE))


def _resolved(address: str) -> str:
    try:
        return socket.gethostbyname(address)
    except socket.gaierror as error:
        raise ValueError(f"The node {address} has no IPv4 address: {error.strerror}") from None


def _here(environ: Mapping[str, str], names: Sequence[str], addresses: Mapping[str, str]) -> str:
    named = environ.get("SLURMD_NODENAME", "")
    if named in names:
        return named
    for name in names:
        if _is_of_this_machine(addresses[name]):  # `salloc` names no node
            return name
    raise ValueError(
        f"This process runs on none of the job's nodes ({', '.join(names)}). Within `salloc`, put "
        "`srun --overlap --nodes=1 --ntasks=1` before the command"
    )


def _is_of_this_machine(address: str) -> bool:
    with contextlib.suppress(OSError), socket.socket() as probe:
        probe.bind((address, 0))
        return True
    return False


def _reachable(address: str, of_all: Sequence[str]) -> str:
    """Return this node's address towards the others, where its name leads to itself alone.

    Debian's /etc/hosts gives every machine's own name the address 127.0.1.1.
    """
    others = [other for other in of_all if not other.startswith("127.")]
    if not others or not address.startswith("127."):
        return address
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((others[0], 9))  # sends nothing, only chooses a route
        return str(probe.getsockname()[0])


def _names(nodelist: str) -> list[str]:
    return ask(["scontrol", "show", "hostnames", nodelist]).split()


def _details(job: str) -> dict[str, tuple[int, int | None]]:
    """Return accelerators and memory by node: the variables tell of them for even jobs only."""
    told = ask(["scontrol", "show", "job", "--details", job])
    shares = re.findall(r"^\s+Nodes=(\S+) CPU_IDs=\S* Mem=(\d+)\S* GRES=(.*)$", told, re.MULTILINE)
    return {
        name: (count_gpus(devices), int(memory_mb) or None)
        for nodelist, memory_mb, devices in shares
        for name in _names(nodelist)
    }


def count_gpus(devices: str) -> int:
    """Return how many accelerators "gpu:a100:2(IDX:0-1),gpu:1(IDX:2)" are."""
    return sum(int(count) for count in re.findall(r"\bgpu:(?:[^:,()]+:)?(\d+)(?=\(|,|$)", devices))
