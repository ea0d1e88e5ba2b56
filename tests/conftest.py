"""A real SLURM cluster: `slurm` is one test's alone, `cluster` the same without care for others."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn

import pytest
from hypothesis import settings

# a busy machine is no reason to fail
settings.register_profile("any pace", deadline=None)
settings.load_profile("any pace")

# before any test imports it: its assertions tell what they compared
pytest.register_assert_rewrite("jobs.testing")

SCRIPT = Path(__file__).parent / "cluster" / "slurm_cluster.sh"
HOW = "`make slurm-up` starts one and prints the SLURM_CONF to export"
LOCK_WAIT_S = 480.0
NUM_PORTS = 15


class Shown(NamedTuple):
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def shell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Shown]:
    """Run `harness` as from a shell; an exception that gets out of `main` fails the test."""
    from harness.cli import main

    def run(*arguments: object) -> Shown:
        monkeypatch.setattr(sys, "argv", ["harness", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Shown(int(caught.value.code or 0), out, err)

    return run


@dataclass(frozen=True)
class Cluster:
    """A running cluster of tests/cluster; SLURM's commands find it by SLURM_CONF.

    Partitions: main; low and grace, which high preempts, grace with 15 s to checkpoint.
    """

    state: Path
    nodes = ("node1", "node2", "node3", "node4")
    cpus_per_node, memory_per_node_mb, gpus_per_node = 2, 4000, 2
    main, low, grace, high = partitions = ("main", "low", "grace", "high")
    account, qos = "team", "debug"

    @property
    def conf(self) -> Path:
        return self.state / "etc" / "slurm.conf"

    def run(self, *command: str | Path) -> str:
        """Return what one of SLURM's commands prints."""
        environ = os.environ | {"SLURM_CONF": str(self.conf)}
        done = subprocess.run(command, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, f"{command} failed: {done.stderr}{done.stdout}"
        return done.stdout.strip()

    def control(self, *words: str, **settings: str) -> None:
        environ = os.environ | {"SLURM_STATE": str(self.state)} | settings
        # into a file, since daemons would hold a pipe open
        with tempfile.TemporaryFile("w+") as said:
            done = subprocess.run(
                [SCRIPT, *words], env=environ, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )
            said.seek(0)
            assert done.returncode == 0, f"{SCRIPT.name} {' '.join(words)}: {said.read()}"

    def kill_node(self, node: str) -> None:
        """As a machine's crash. The controller takes some 15 s to call the node down.

        If the node is back before that, its jobs are missed only half a minute later.
        """
        self.control("kill-node", node)

    def start_node(self, node: str) -> None:
        self.control("start-node", node)

    def restart_controller(self) -> None:
        """It takes submissions at once, and hears from its nodes some 5 s later."""
        self.control("restart-controller")

    @contextlib.contextmanager
    def max_array_size(self, size: int) -> Iterator[None]:
        """MaxArraySize is `size` within: one more than an array's largest index. Takes seconds."""
        before = self.config("MaxArraySize")
        self.control("set-max-array-size", str(size))
        try:
            yield
        finally:
            self.control("set-max-array-size", before)

    def config(self, key: str) -> str:
        lines = self.run("scontrol", "show", "config").splitlines()
        pairs = (line.partition("=") for line in lines)
        return next(value.strip() for name, _, value in pairs if name.strip() == key)

    def node_states(self) -> dict[str, str]:
        """As sinfo tells them: idle, mixed, allocated, down*, ... A star: it does not answer."""
        lines = self.run("sinfo", "-hN", "-p", self.main, "-o", "%N %T").splitlines()
        return dict(line.split() for line in lines)

    def jobs(self) -> dict[str, str]:
        """State by id of what is in the queue: PENDING, RUNNING, COMPLETING, ..."""
        lines = self.run("squeue", "-hr", "-o", "%i %T").splitlines()
        return dict(line.split() for line in lines)

    def accounts_of(self, job: str) -> dict[str, str]:
        """Accounting's state of a job by id, array elements apiece; it is a second behind."""
        lines = self.run("sacct", "-nPX", "-j", job, "-o", "JobID,State").splitlines()
        return dict(line.split("|") for line in lines)

    def idle(self) -> None:
        """Wait until no job is in the queue and every node is free."""
        self.until(lambda: not self.jobs() and set(self.node_states().values()) == {"idle"})

    def until(self, condition: Callable[[], object], seconds: float = 120.0) -> None:
        """Wait for what takes seconds to come about; a question to SLURM costs, so few a second."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                said = f"jobs {self.jobs()}, nodes {self.node_states()}"
                raise TimeoutError(f"It did not come about in {seconds:.0f} s: {said}.")
            time.sleep(0.2)

    def cancel_all(self) -> None:
        """Return when every job is gone, also those that ignore SIGTERM."""
        self.control("cancel-all")

    def restore(self) -> None:
        """No jobs, and every node back."""
        for node in self.nodes:
            self.start_node(node)
        for node, state in self.node_states().items():
            if state.startswith(("down", "drain", "fail")):
                self.run("scontrol", "update", f"NodeName={node}", "State=RESUME")
        self.cancel_all()
        self.idle()


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark those that need the cluster: they mostly wait, so `make test` runs others beside."""
    for item in items:
        if "cluster" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster of SLURM_CONF, or one for this run where HARNESS_REQUIRE_SLURM=1 or CI=true."""
    conf = os.environ.get("SLURM_CONF")
    with contextlib.ExitStack() as stack:
        if conf:
            found = Cluster(Path(conf).resolve().parent.parent)
            reason = _unfit(found)
            if reason:
                _no_cluster(f"SLURM_CONF={conf} {reason}: {HOW}")
        elif _required():
            found = stack.enter_context(_own_cluster())
        else:
            _no_cluster(f"no SLURM cluster: {HOW}")
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("SLURM_CONF", str(found.conf))
        yield found


@pytest.fixture
def slurm(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster for this test alone: nobody's jobs, all nodes; so it leaves it, too."""
    with _alone(cluster):
        cluster.restore()
        yield cluster
        cluster.restore()


def _required() -> bool:
    return os.environ.get("HARNESS_REQUIRE_SLURM") == "1" or os.environ.get("CI") == "true"


def _no_cluster(reason: str) -> NoReturn:
    if _required():
        pytest.fail(reason)
    pytest.skip(reason)


def _unfit(cluster: Cluster) -> str:
    """Return why tests must not have it: they cancel every job, so a true cluster is taboo."""
    if not (cluster.state / "run" / "munge.sock").exists():
        return f"is not of a running cluster of {SCRIPT.name}"
    try:
        cluster.run("scontrol", "ping")
    except (AssertionError, OSError) as error:
        return f"does not answer ({error})"
    return ""


@contextlib.contextmanager
def _own_cluster() -> Iterator[Cluster]:
    may = os.geteuid() == 0 or (
        shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"]).returncode == 0
    )
    if not may:
        _no_cluster("A SLURM cluster is required, and starting one takes root or sudo.")
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
        cluster = Cluster(Path(folder) / "cluster")
        try:
            cluster.control("up", SLURM_PORT=str(_free_ports()))
            yield cluster
        finally:
            cluster.control("destroy")


def _free_ports() -> int:
    """Return the first of as many free ports in a row as a cluster takes."""
    # at random, lest runs that start together choose the same
    for first in random.sample(range(21000, 32000, NUM_PORTS), 100):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for port in range(first, first + NUM_PORTS):
                stack.enter_context(socket.socket()).bind(("", port))
            return first
    raise RuntimeError("No free ports for a cluster.")


@contextlib.contextmanager
def _alone(cluster: Cluster) -> Iterator[None]:
    """Keep other runs of the tests off the same cluster."""
    folder = os.open(cluster.state, os.O_RDONLY)
    deadline = time.monotonic() + LOCK_WAIT_S
    try:
        while True:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    pytest.fail("Another run of the tests holds the cluster; give each its own.")
                time.sleep(0.2)
        yield
    finally:
        os.close(folder)
