"""Ray on the nodes of a SLURM allocation: started by this process, ended with it.

Each node runs `jobs.ray.node` as a job step of its own, which ends when this process closes its
standard input or dies. So nothing stays, whichever way this process goes.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from ..environment import clean_environment, import_path
from ..logs import tail
from ..ports import free_ports, listens
from ..slurm.allocation import Node, nodes_of
from .job import the_way_in

PATIENCE_S = 20.0
_GLANCE_S = 0.2


class RayAllocation:
    """Ray on nodes of this job; this process must run on one of them, which gets the head.

    Args:
        num_nodes: How many nodes of the allocation.
        join_timeout_s: How long the head may take to answer, and then the others to join it.
        folder: For what Ray says on each node.
    """

    def __init__(self, num_nodes: int, join_timeout_s: float, folder: Path) -> None:
        self._num_nodes = num_nodes
        self._timeout_s = join_timeout_s
        self._folder = folder
        self._steps: dict[str, subprocess.Popen[bytes]] = {}
        self._environ_before: dict[str, str | None] = {}

    def start(self) -> None:
        """Start Ray everywhere and join it; what was started is stopped if that fails.

        Raises:
            ValueError: This process is in no allocation, or in one of fewer nodes.
            ConnectionError: Ray does not come up on all nodes in time; names those, and what was
                said there.
            SlurmError: The cluster could not be asked.
        """
        head, *others = self._nodes()
        self._protect()
        try:
            port, client_port = free_ports(int(os.environ["SLURM_JOB_ID"]), 2)
            self._launch(head, [*_HEAD, f"--port={port}", *_client(client_port)])
            self._await([head], lambda: {head.address} if listens(head.address, port) else set())
            for node in others:
                self._launch(node, [f"--address={head.address}:{port}"])
            self._join([head, *others], port)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End Ray on all nodes, and return when it is gone. Leave Ray before."""
        for step in self._steps.values():
            if step.stdin:
                with contextlib.suppress(OSError):
                    step.stdin.close()
        _await_all(self._steps.values(), PATIENCE_S)
        for step in self._steps.values():
            step.terminate()  # srun kills its step then
        _await_all(self._steps.values(), PATIENCE_S)
        for step in self._steps.values():
            step.kill()
            step.wait()
        self._steps.clear()
        self._unprotect()

    def _nodes(self) -> list[Node]:
        if "SLURM_JOB_ID" not in os.environ:
            raise ValueError(the_way_in(self._num_nodes))
        nodes = nodes_of(os.environ)
        if len(nodes) < self._num_nodes:
            raise ValueError(
                f"`nodes: {self._num_nodes}`, but the allocation {os.environ['SLURM_JOB_ID']} has "
                f"{len(nodes)}: {', '.join(node.name for node in nodes)}"
            )
        return nodes[: self._num_nodes]

    def _protect(self) -> None:
        """Give Ray a token of its own: it listens on all interfaces, to other jobs' users, too."""
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self._environ_before = {name: os.environ.get(name) for name in token}
        os.environ.update(token)

    def _unprotect(self) -> None:
        for name, value in self._environ_before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        self._environ_before = {}
        if "jobs.ray.cluster" in sys.modules:
            from .cluster import read_token_again

            read_token_again()

    def _launch(self, node: Node, arguments: Sequence[str]) -> None:
        log = self._log(node.name)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as file:
            self._steps[node.name] = subprocess.Popen(
                [*_srun(node), sys.executable, "-m", "jobs.ray.node", *arguments, *_common(node)],
                env=_environment(os.environ),
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for this process, which then stops them
            )

    def _log(self, name: str) -> Path:
        return self._folder / f"ray-{os.environ['SLURM_JOB_ID']}" / f"{name}.log"

    def _join(self, nodes: Sequence[Node], port: int) -> None:
        from .cluster import addresses, disconnect

        self._join_head(nodes[0], port)
        try:
            self._await(nodes, addresses)
        except BaseException:
            disconnect()
            raise

    def _join_head(self, head: Node, port: int) -> None:
        """Join, again while there is time: a head on a busy machine listens before it answers."""
        from .cluster import disconnect, join

        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                return join(head.address, port)
            except ConnectionError:
                disconnect()
                if time.monotonic() > deadline or self._steps[head.name].poll() is not None:
                    raise
            time.sleep(_GLANCE_S)

    def _await(self, nodes: Sequence[Node], present: Callable[[], set[str]]) -> None:
        deadline = time.monotonic() + self._timeout_s
        while missing := _missing(nodes, present()):
            if ended := [name for name in missing if self._steps[name].poll() is not None]:
                raise ConnectionError(self._words(ended, "ended before it was up"))
            if time.monotonic() > deadline:
                raise ConnectionError(
                    self._words(missing, f"was not up after {self._timeout_s:g} s")
                )
            time.sleep(_GLANCE_S)

    def _words(self, names: Sequence[str], what: str) -> str:
        said = [f"{name} ({self._log(name)}):\n{tail(self._log(name))}" for name in names]
        return "\n".join([f"Ray {what} on {', '.join(names)}.", *said])


def _missing(nodes: Sequence[Node], present: set[str]) -> list[str]:
    return [node.name for node in nodes if node.address not in present]


_HEAD = ("--head", "--include-dashboard=false", "--disable-usage-stats")


def _client(port: int) -> list[str]:
    """Ray opens this port on a head wherever grpc is installed, and refuses to where it is not."""
    return [f"--ray-client-server-port={port}"] if importlib.util.find_spec("grpc") else []


def _common(node: Node) -> list[str]:
    """Return what tells Ray where it is, and that the kernel shall choose all other ports."""
    arguments = [
        f"--node-ip-address={node.address}", f"--node-name={node.name}", f"--num-cpus={node.cpus}",
        f"--num-gpus={node.gpus}",
        "--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0",
    ]  # fmt: skip
    if node.memory_mb:
        memory_mb = node.memory_mb
        store_mb = min(max(memory_mb // 10, 100), 1000)  # calls send little; Ray refuses below 75
        arguments += [
            f"--memory={(memory_mb - store_mb) * 2**20}",
            f"--object-store-memory={store_mb * 2**20}",
        ]
    return arguments


def _srun(node: Node) -> list[str]:
    return [
        "srun", f"--jobid={os.environ['SLURM_JOB_ID']}", "--overlap", "--nodes=1", "--ntasks=1",
        f"--nodelist={node.name}", f"--cpus-per-task={node.cpus}", "--mem=0", "--export=ALL",
        "--job-name=ray", f"--gpus={node.gpus}" if node.gpus else "--gres=none",
    ]  # fmt: skip


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Without the variables of this process's own step, which srun would take for options."""
    environ = clean_environment(environ) | {"PYTHONPATH": import_path()}
    environ.pop("RAY_ADDRESS", None)
    return environ


def _await_all(steps: Iterable[subprocess.Popen[bytes]], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for step in steps:
        with contextlib.suppress(subprocess.TimeoutExpired):
            step.wait(max(0.0, deadline - time.monotonic()))
