"""What a person should know of the SLURM cluster here, and what a test job finds on a node."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from jobs.backends import open_executor
from jobs.executor import Call, DurableExecutor, Resources
from jobs.files import read_json, write_json
from jobs.slurm.client import SlurmError, accounting_is_off, ask, cancel, config
from jobs.slurm.probe import GREETING, LOCK, PACKAGES, READY, installed, probe
from jobs.underway import end, look

from .findings import Finding

SIGNAL_S = 10.0
"""A signal that takes longer leaves too little of a usual grace time for a checkpoint."""

SKEW_S = 5.0
OUTCOME = "outcome.json"
_GLANCE_S = 0.2


def on_cluster() -> bool:
    """Whether SLURM's commands are installed here."""
    return shutil.which("sinfo") is not None


def settings() -> Iterator[Finding]:
    """What the controller says of itself."""
    try:
        known = config()
    except SlurmError as error:
        fix = "ask the administrators, or set SLURM_CONF to the cluster's slurm.conf"
        yield Finding("broken", "SLURM", str(error), fix)
        return
    yield Finding("ok", "SLURM", f"{known.get('SLURM_VERSION', '?')}, {known.get('ClusterName')}")
    detail = f"{known.get('MaxArraySize')} (larger sweeps become several arrays)"
    yield Finding("ok", "MaxArraySize", detail)
    yield _preemption(known)
    yield _requeue(known)
    yield _accounting()


def _preemption(known: Mapping[str, str]) -> Finding:
    subject, mode = "preemption", known.get("PreemptMode", "OFF")
    if mode.startswith("OFF"):
        return Finding("ok", subject, "off: running jobs are not pushed out")
    told = known.get("SlurmctldParameters", "") + known.get("PreemptParameters", "")
    detail = f"PreemptMode {mode}, KillWait {known.get('KillWait')}"
    if "CANCEL" in mode:
        fix = "trials pushed out start again with `harness resume`, or while a sweep waits"
        return Finding("warning", subject, f"{detail}: jobs are not put back by SLURM", fix)
    if "preempt_send_user_signal" not in told:
        fix = (
            "lower `resources: checkpoint_s`, or ask the administrators for "
            "preempt_send_user_signal and a GraceTime of the partition"
        )
        detail += ": no signal before SIGTERM, so jobs may have little time to save"
        return Finding("warning", subject, detail, fix)
    return Finding("ok", subject, f"{detail}, a signal before")


def _requeue(known: Mapping[str, str]) -> Finding:
    if known.get("JobRequeue") == "0":
        fix = "`executor: {name: slurm, sbatch: {requeue: true}}`"
        return Finding("warning", "requeue", "JobRequeue is 0: lost jobs stay lost", fix)
    return Finding("ok", "requeue", "jobs lost with their node are put back")


def _accounting() -> Finding:
    try:
        ask(["sacct", "--noheader", "--jobs=1", "--format=State"])
    except SlurmError as error:
        off = accounting_is_off(str(error))
        detail = "off: how jobs ended is known only as long as squeue shows them"
        fix = "nothing to do; a waiting sweep looks often enough" if off else "ask for sacct access"
        return Finding("warning", "accounting", detail if off else str(error), fix)
    return Finding("ok", "accounting", "on: sacct answers")


def job(
    runs: Path, options: Mapping[str, Any], needs: Resources, wait_s: float
) -> Iterator[Finding]:
    """Run a job as a trial would be run, look at its node, and send it a signal.

    Args:
        runs: The folder that results would go to; must be shared with the nodes.
        options: Of the executor `slurm`.
        needs: What a trial asks for.
        wait_s: How long the job may take to start.
    """
    folder = (runs / f".doctor.{uuid.uuid4().hex[:8]}").absolute()
    folder.mkdir(parents=True)
    payload = {"folder": str(folder), "gpus": needs.gpus}
    target = f"{probe.__module__}:{probe.__name__}"
    call = Call("doctor", target, payload, needs, folder=folder / "call")
    greeting = uuid.uuid4().hex
    write_json(folder / GREETING, greeting)
    try:
        with FileLock(folder / LOCK), open_executor("slurm", options, folder) as executor:
            assert isinstance(executor, DurableExecutor)
            yield from _conversation(executor, call, folder, greeting, wait_s)
    except (ValueError, RuntimeError) as error:
        yield Finding("broken", "test job", str(error), "mend `executor` or `resources`")
    finally:
        end([folder / "call"])
        shutil.rmtree(folder, ignore_errors=True)


def _conversation(
    executor: DurableExecutor, call: Call, folder: Path, greeting: str, wait_s: float
) -> Iterator[Finding]:
    began = time.monotonic()
    executor.submit([call])
    home = folder / "call"
    if not _until(lambda: (folder / READY).exists() or _over(home), wait_s):
        state = look([home]).get(home)
        detail = f"did not start in {wait_s:.0f} s: {state.state} {state.detail}" if state else ""
        fix = "wait longer with --wait-min, or choose another partition"
        yield Finding("warning", "test job", detail, fix)
        return
    facts = read_json(folder / READY)
    if facts is None:
        error = read_json(home / OUTCOME)["error"]
        fix = "the job's Python needs this project: set `python`, `container` or `setup`"
        yield Finding("broken", "test job", error.strip()[-500:], fix)
        return
    took = f"ran on {facts['host']} {time.monotonic() - began:.1f} s after submission"
    yield Finding("ok", "test job", took)
    yield from _node(facts, greeting, call.resources)
    yield _signal(home)


def _node(facts: Mapping[str, Any], greeting: str, needs: Resources) -> Iterator[Finding]:
    here = {name: installed(name) for name in PACKAGES}
    differing = [name for name in PACKAGES if facts["packages"][name] != here[name]]
    if differing:
        told = ", ".join(f"{name} {facts['packages'][name]} for {here[name]}" for name in differing)
        fix = "use the same environment on all nodes, or set `container`"
        yield Finding("warning", "node's packages", told, fix)
    else:
        yield Finding("ok", "node's packages", f"as here; Python {facts['python']}")
    if facts["greeting"] != greeting:
        fix = "put --runs on a file system that all nodes share"
        yield Finding("broken", "shared folder", "the node does not see what is written here", fix)
    elif not facts["locked"]:
        fix = "one sweep at a time on this folder, or a file system that locks across nodes"
        yield Finding("warning", "shared folder", "a lock held here is not seen on the node", fix)
    else:
        yield Finding("ok", "shared folder", "rename, fsync and locks reach the node and back")
    skew_s = abs(time.time() - facts["clock"])
    if skew_s > SKEW_S:
        fix = "nothing breaks, but times in records are off; ask for NTP"
        yield Finding("warning", "clock", f"the node's differs by about {skew_s:.0f} s", fix)
    if needs.gpus:
        yield _gpus(facts, needs.gpus)


def _gpus(facts: Mapping[str, Any], asked: float) -> Finding:
    detail = f"{facts['gpus']} seen by torch, {asked:g} asked for"
    if facts["gpus"] >= asked:
        return Finding("ok", "GPUs", detail)
    visible = f"CUDA_VISIBLE_DEVICES is {facts['visible']!r}"
    fix = "install a CUDA build of torch on the nodes, and check the driver with nvidia-smi"
    return Finding("broken", "GPUs", f"{detail}; {visible}", fix)


def _signal(home: Path) -> Finding:
    state = look([home]).get(home)
    began = time.monotonic()
    cancel([state.job] if state else [], signal="USR2")
    if not _until(lambda: _over(home), 6 * SIGNAL_S):
        fix = "lower `resources: checkpoint_s`: trials then rely on being saved by time alone"
        return Finding("broken", "signal", "SIGUSR2 does not reach the job", fix)
    took_s = time.monotonic() - began
    outcome = read_json(home / OUTCOME)
    if not (outcome["value"] or {}).get("signalled"):
        detail = outcome["error"].strip()[-300:] or "the job ended before the signal came"
        return Finding("broken", "signal", detail, "lower `resources: checkpoint_s`")
    slow = took_s > SIGNAL_S
    fix = "raise `executor: signal_s` above it" if slow else ""
    detail = f"SIGUSR2 reached the job and its answer was seen in {took_s:.1f} s"
    return Finding("warning" if slow else "ok", "signal", detail, fix)


def _over(home: Path) -> bool:
    return (home / OUTCOME).exists()


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_GLANCE_S)
    return True
