"""A sweep whose Ray spreads over nodes that this process is not on: it runs there, as a job."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from jobs.logs import follow
from jobs.options import RayOptions
from jobs.ray import job as ray_job
from jobs.ray.job import RayJob
from jobs.slurm.client import SlurmError

from .budgets import Sweep
from .problems import UserError
from .show import line


def is_elsewhere(sweep: Sweep) -> bool:
    """Whether a sweep must be submitted to get the nodes that it asks for."""
    return sweep.executor.name == "ray" and ray_job.is_outside(_options(sweep))


def script(sweep: Sweep) -> str:
    """Return the file for sbatch."""
    return ray_job.job_script(_options(sweep), _command())


def under_way(sweep: Sweep, folder: Path) -> RayJob | None:
    """Return the job that is at a sweep already.

    Raises:
        UserError: SLURM cannot be asked.
    """
    with _told():
        return ray_job.under_way(folder) if is_elsewhere(sweep) else None


def send(sweep: Sweep, folder: Path) -> RayJob:
    """Submit this very command.

    Raises:
        UserError: SLURM refuses, or cannot be asked.
    """
    with _told():
        return ray_job.submit(folder, _options(sweep), _command())


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (ValueError, SlurmError) as error:
        raise UserError(str(error)) from error


def introduce(job: RayJob, console: Console) -> None:
    """Say what the job is for."""
    line(console, f"Job {job.id} runs this sweep on its nodes; what it says: {job.log}")
    line(console, f"`scancel {job.id}` ends it; the same command goes on where it was.")


def watch(job: RayJob, console: Console) -> None:
    """Print what the job prints, until it has ended."""
    for part in follow(job.log, job.goes_on):
        console.print(part, end="", markup=False, highlight=False, soft_wrap=True)


def _options(sweep: Sweep) -> RayOptions:
    return RayOptions.model_validate(sweep.executor.options)


def _command() -> list[str]:
    """What was typed, for a process that nobody watches."""
    words = [word for word in sys.argv[1:] if word not in ("--detach", "--yes", "--dry-run")]
    return [sys.executable, "-m", "harness", *words, "--yes"]
