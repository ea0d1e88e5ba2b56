"""The SLURM job that runs a command with Ray around it, asked for from outside of any job."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..options import RayOptions
from ..slurm.client import Seen, SlurmError, passing, patiently, queued

_WHOLE_NODES = ("--ntasks-per-node=1", "--exclusive", "--mem=0")
_WARNING = {"signal": "B:TERM@90"}
"""The command is told this many seconds before the time limit, so that it ends in order."""


@dataclass(frozen=True)
class RayJob:
    """A job, and where what it prints goes.

    Args:
        id: As SLURM numbers it.
        name: Unique to the folder that it works for.
        log: Appears when the job starts.
    """

    id: str
    name: str
    log: Path

    def goes_on(self) -> bool:
        """Whether it waits or runs, as far as the scheduler can be asked: silence is not its end.

        Raises:
            SlurmError: The scheduler refuses to answer.
        """
        try:
            return _is_under_way(queued([self.name]).get(self.id))
        except SlurmError as error:
            if not passing(str(error)):
                raise
            return True


def is_outside(options: RayOptions) -> bool:
    """Whether nodes of an allocation are wanted, and this process is in none but can ask for it."""
    inside = "SLURM_JOB_ID" in os.environ
    return options.nodes is not None and not inside and shutil.which("sbatch") is not None


def job_script(options: RayOptions, command: Sequence[str]) -> str:
    """Return the file for sbatch that runs a command on the nodes the options ask for.

    Raises:
        ValueError: An option of sbatch contains a line break.
    """
    return batch_script(options.nodes or 1, command, _WARNING | options.sbatch, options.setup)


def under_way(folder: Path) -> RayJob | None:
    """Return the job that works for a folder, if one waits or runs.

    Raises:
        SlurmError: The scheduler cannot be asked.
    """
    name = _job_name(folder)
    for job, seen in queued([name]).items():
        if _is_under_way(seen):
            return RayJob(job, name, _log(folder, job))
    return None


def submit(folder: Path, options: RayOptions, command: Sequence[str]) -> RayJob:
    """Submit a command.

    Args:
        folder: Gets the job's file and its log.
        options: With `nodes`.
        command: What to run, on the first of the nodes.

    Raises:
        ValueError: SLURM refuses, in its own words.
        SlurmError: It cannot be asked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "allocation.sbatch"
    script.write_text(job_script(options, command), encoding="utf-8")
    name, log = _job_name(folder), _log(folder, "%j")
    try:
        said = patiently(
            ["sbatch", "--parsable", f"--job-name={name}", f"--output={log}", str(script)]
        )
    except SlurmError as error:
        if passing(str(error)):
            raise
        raise ValueError(f"SLURM refused the job: {error}") from None
    job = said.strip().partition(";")[0]
    return RayJob(job, name, _log(folder, job))


def _job_name(folder: Path) -> str:
    digest = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()
    return f"harness-ray-{digest[:12]}"


def _log(folder: Path, job: str) -> Path:
    return folder.absolute() / f"{job}.log"


def batch_script(
    num_nodes: int,
    command: Sequence[str],
    options: Mapping[str, str | int | bool] | None = None,
    setup: Iterable[str] = (),
) -> str:
    """Return the file for sbatch that runs a command within an allocation of whole nodes.

    Args:
        num_nodes: As `nodes` in the options.
        command: Such as ("harness", "sweep", "budgets.yaml").
        options: Other options of sbatch, without the dashes; true means that it takes no value.
        setup: Shell lines before the command.

    Raises:
        ValueError: An option contains a line break.
    """
    given = [
        _directive(name, value) for name, value in (options or {}).items() if value is not False
    ]
    request = [f"--nodes={num_nodes}", *_WHOLE_NODES, *given]
    lines = ["#!/bin/bash", *(f"#SBATCH {option}" for option in request)]
    # exec: what SLURM signals to the job reaches the command
    return "\n".join([*lines, *setup, f"exec {shlex.join(command)}", ""])


def the_way_in(num_nodes: int) -> str:
    """Return what a person types to get into an allocation of so many nodes."""
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    if not command.startswith("harness "):
        command = "harness sweep budgets.yaml"
    request = " ".join([f"--nodes={num_nodes}", *_WHOLE_NODES])
    return (
        f"`nodes: {num_nodes}` spreads over an allocation of SLURM's, and this process is in none. "
        f"Submit it: `sbatch {request} --wrap={shlex.quote(command)}`, or wait for it: "
        f"`salloc {request} srun --overlap --nodes=1 --ntasks=1 {command}`"
    )


def _is_under_way(seen: Seen | None) -> bool:
    return seen is not None and (seen.waits or seen.runs)


def _directive(name: str, value: str | int | bool) -> str:
    option = f"--{name}" if value is True else f"--{name}={shlex.quote(str(value))}"
    if len(option.splitlines()) > 1:
        raise ValueError(f"The option `{name}` must be one line, but got {value!r}")
    return option
