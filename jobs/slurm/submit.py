"""From calls to job arrays: one for each set of resources, split where the cluster's limit is."""

from __future__ import annotations

import math
import os
import re
import shlex
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..environment import for_workers
from ..executor import Call, Resources
from ..options import SlurmOptions
from .client import SlurmError, cancel, find, max_array_size, passing
from .ticket import Ticket, job_name, told, write_job, write_ticket
from .worker import Job

TRIES = 6


class RefusedError(ValueError):
    """SLURM does not accept a job as it is asked for."""


@dataclass(frozen=True)
class Asked:
    """One call to submit, and what earlier submissions of it came to.

    Args:
        call: The call; it has a folder.
        num_attempts: See `Ticket`.
        num_unstarted: See `Ticket`.
    """

    call: Call
    num_attempts: int
    num_unstarted: int = 0

    @property
    def folder(self) -> Path:
        """The call's own folder."""
        if self.call.folder is None:
            raise ValueError(f"{self.call.name!r} has no folder")
        return self.call.folder


class Submitter:
    """Sends calls to SLURM through submitit.

    Args:
        folder: A subfolder for each submission holds its sbatch files and logs.
        options: Where on the cluster.
    """

    def __init__(self, folder: Path, options: SlurmOptions) -> None:
        self._folder = folder
        self._options = options

    def submit(self, asked: Sequence[Asked]) -> None:
        """Submit calls, array by array.

        A ticket is written before sbatch is asked and found again by the name of its job, so that
        dying in between neither loses a job nor submits it twice.

        Raises:
            RefusedError: SLURM does not accept it. Arrays before it have been submitted.
            SlurmError: It cannot be reached, and may have accepted it: the tickets stay.
        """
        after = ""
        for chunk in self.chunks(asked):
            tickets = self._write_tickets(chunk)
            try:
                after = self._send(chunk, tickets, after)
            except RefusedError:
                for folder in tickets:
                    (folder / "ticket.json").unlink(missing_ok=True)
                raise

    def chunks(self, asked: Sequence[Asked]) -> list[Sequence[Asked]]:
        """Return the calls as arrays: each of one set of resources, none larger than allowed."""
        by_needs: dict[Resources, list[Asked]] = {}
        for one in asked:
            by_needs.setdefault(one.call.resources, []).append(one)
        size = self._options.max_array_size or (max_array_size() if asked else 1)
        return [
            group[start : start + size]
            for group in by_needs.values()
            for start in range(0, len(group), size)
        ]

    def script(self, chunk: Sequence[Asked]) -> str:
        """Return the sbatch file of an array, without submitting it."""
        executor = self._executor(self._folder / "dry-run", chunk, after="")
        if len(chunk) > 1:
            executor.parameters["map_count"] = len(chunk)
        # submitit offers no public way to look at it
        text: str = executor._make_submission_file_text(executor._submitit_command_str, "dry-run")
        return text

    def _write_tickets(self, chunk: Sequence[Asked]) -> dict[Path, Ticket]:
        submission = self._folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
        submission.mkdir(parents=True)
        alone = len(chunk) == 1
        tickets = {
            one.folder: Ticket(
                submission=submission,
                index=-1 if alone else index,
                submitted_at=time.time(),
                num_attempts=one.num_attempts,
                num_unstarted=one.num_unstarted,
                call=told(one.call),
            )
            for index, one in enumerate(chunk)
        }
        for folder, ticket in tickets.items():
            (folder / "outcome.json").unlink(missing_ok=True)
            write_ticket(folder, ticket)
        return tickets

    def _send(self, chunk: Sequence[Asked], tickets: dict[Path, Ticket], after: str) -> str:
        submission = next(iter(tickets.values())).submission
        executor = self._executor(submission, chunk, after)
        job = _sbatch(executor, [str(folder) for folder in tickets], job_name(submission))
        write_job(submission, job)
        return job

    def _executor(self, folder: Path, chunk: Sequence[Asked], after: str) -> Any:
        from submitit import SlurmExecutor

        options = self._options
        executor = SlurmExecutor(folder, max_num_timeout=sys.maxsize, python=_python(options))
        # several arrays of one sweep share the cap: each waits for the one before
        chained = {"dependency": f"afterany:{after}"} if after and options.max_concurrent else {}
        executor.update_parameters(
            job_name=job_name(folder),
            array_parallelism=options.max_concurrent or len(chunk),
            signal_delay_s=options.signal_s,
            setup=list(options.setup) or None,
            additional_parameters=dict(options.sbatch) or None,
            **{name: getattr(options, name) for name in _PLAIN if getattr(options, name)},
            **_needs(chunk[0].call.resources),
            **chained,
        )
        return executor


_PLAIN = ("partition", "account", "qos", "constraint", "nodelist", "exclude")


def _needs(resources: Resources) -> dict[str, Any]:
    needs: dict[str, Any] = {
        "nodes": 1,
        "ntasks_per_node": 1,
        "cpus_per_task": resources.cpus,
        "time": resources.time_min,  # None leaves it to the partition
        # since 22.05 srun does not inherit it from sbatch
        "srun_args": [f"--cpus-per-task={resources.cpus}"],
    }
    if resources.gpus:
        needs["gpus_per_node"] = _whole(resources.gpus)
    if resources.memory_gb is not None:
        needs["mem"] = f"{math.ceil(resources.memory_gb * 1000)}MB"
    return needs


def _whole(gpus: float) -> int:
    if gpus != int(gpus):
        raise RefusedError(f"`gpus` must be whole on SLURM, but got {gpus:g}")
    return int(gpus)


def _python(options: SlurmOptions) -> str:
    """The command line that starts Python on a node, quoted for the sbatch file."""
    if options.container is None:
        return shlex.quote(options.python or sys.executable)
    return shlex.join([*shlex.split(options.container), options.python or "python3"])


def _sbatch(executor: Any, folders: Sequence[str], name: str) -> str:
    """Submit, again while the controller is away; return the id of the job or array."""
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    for number in range(1, TRIES + 1):
        try:
            if number > 1 and (job := find(name)):
                # accepted, only the answer was lost, and with it the files that the job waits for
                cancel([job])
            with for_workers(os.environ):
                jobs = executor.map_array(Job(), folders)
        except (FailedJobError, FailedSubmissionError, SlurmError) as error:
            message = str(error)
            if not passing(message):
                raise RefusedError(_refusal(message)) from None
            if number == TRIES:
                raise SlurmError(message) from None
            time.sleep(min(2.0**number, 30.0))
        else:
            return str(jobs[0].job_id).partition("_")[0]
    raise AssertionError("the last try returns or raises")


def _refusal(message: str) -> str:
    said = re.findall(r"sbatch: error: (?:Batch job submission failed: )?(.+)", message)
    return f"SLURM refused the job: {'; '.join(said) or message.strip()}"
