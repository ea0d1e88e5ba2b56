"""The job's side: what submitit starts on a node for each call.

Every job imports this first, so it imports little.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..attempts import fruitless_in_a_row, read_attempts
from ..calls import invoke
from ..environment import enter_worker
from ..executor import Call, Outcome, State
from ..worker import Interrupted
from .client import SlurmError, requeue
from .ticket import Ticket, read_outcome, read_ticket, write_outcome

MAX_FRUITLESS = 3
"""Attempts in a row that may end without result, error or progress before the call is given up."""

_TRY_AGAIN = 75  # EX_TEMPFAIL
_ASKED_BY_SIGNAL = "SIGUSR2"
"""Sent before the time limit and before a preemption; SIGTERM also comes with scancel."""


class Job:
    """What submitit pickles: no state at all, so that a requeued job starts from the ticket."""

    def __call__(self, folder: str) -> None:
        """Run the call of a folder.

        Raises:
            SystemExit: It was interrupted; the job has been put back into the queue if it may.
        """
        job = job_id(os.environ)
        ticket = read_ticket(Path(folder))
        if ticket is None or _is_settled(Path(folder), ticket, job):
            print(f"{folder}: nothing to do for job {job}", flush=True)
            return
        print(f"{ticket.call['name']} ({folder}), job {job}", flush=True)
        try:
            _settle(Path(folder), ticket, job)
        except Interrupted as interrupted:
            print(f"interrupted: {interrupted.reason}; saved", flush=True)
            if interrupted.reason == _ASKED_BY_SIGNAL:
                _requeue(job)
            sys.exit(_TRY_AGAIN)

    def checkpoint(self, folder: str) -> Any:
        """Let submitit requeue a job that is signalled before its call has begun."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, folder)


def _is_settled(folder: Path, ticket: Ticket, job: str) -> bool:
    """Whether a job that was put back into the queue finds its call ended, or another's."""
    if ticket.job not in ("", job):
        return True
    return read_outcome(folder, ticket, ticket.restored(folder)) is not None


def job_id(environ: Mapping[str, str]) -> str:
    """Return the id by which the scheduler knows this job: "12", or "12_3" in an array."""
    array = environ.get("SLURM_ARRAY_JOB_ID")
    if array:
        return f"{array}_{environ['SLURM_ARRAY_TASK_ID']}"
    return environ.get("SLURM_JOB_ID", "")


def given_up(name: str, count: int, why: str) -> str:
    """Return the error of a call that was tried often enough."""
    return f"GivenUp: {count} attempts at {name} in a row came to nothing; the last: {why}"


def _settle(folder: Path, ticket: Ticket, job: str) -> None:
    call = ticket.restored(folder)
    enter_worker(os.environ, call.resources.cpus)
    earlier = read_attempts(folder)[ticket.num_attempts :]
    count = fruitless_in_a_row(earlier)
    if count >= MAX_FRUITLESS:
        why = f"on {earlier[-1].host}, job {earlier[-1].job}: {earlier[-1].reason or 'vanished'}"
        outcome = Outcome(call, State.FAILED, error=given_up(call.name, count, why))
    else:
        # once the call hears signals itself, submitit's own handler would only cut its saving short
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        outcome = _outcome(call, job, str(ticket.log_of(job)))
    write_outcome(folder, ticket.submission, outcome)


def _outcome(call: Call, job: str, log: str) -> Outcome:
    try:
        return Outcome(call, State.DONE, value=invoke(call, _ignore, job, log))
    except (Exception, SystemExit):
        error = traceback.format_exc()
        print(error, file=sys.stderr, flush=True)
        return Outcome(call, State.FAILED, error=error)


def _ignore(metrics: Mapping[str, Any]) -> None:
    """The heartbeat shows them."""


def _requeue(job: str) -> None:
    try:
        requeue(job)
    except SlurmError as error:  # the scheduler was faster, or does not let us
        print(f"not requeued from here: {error}", flush=True)
