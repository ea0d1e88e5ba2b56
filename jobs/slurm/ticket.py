"""What is written down about a call before it is submitted, and what comes back.

In the call's own folder:

    ticket.json     the call, and the submission it is part of; there while the call is under way
    outcome.json    what became of it

In a folder per submission, beside its sbatch files and logs:

    submission.json  the job's name, and its id once sbatch has answered
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..executor import Call, Outcome, Resources, State
from ..files import read_json, write_json


@dataclass(frozen=True)
class Ticket:
    """One call under way.

    Args:
        submission: Folder of the submission it is part of.
        index: Its place in the job array; -1 for a job of its own.
        submitted_at: Seconds since 1970.
        num_attempts: Attempts made before a person asked for it; those do not count against it.
        num_unstarted: Submissions in a row that came to no attempt.
        call: Name, target, payload and resources, as plain data.
        cancelled: Whether a person asked for its end.
    """

    submission: Path
    index: int
    submitted_at: float
    num_attempts: int
    call: dict[str, Any]
    num_unstarted: int = 0
    cancelled: bool = False

    @property
    def job(self) -> str:
        """The scheduler's id of it; "" while that is not known."""
        job = _job(self.submission)
        return f"{job}_{self.index}" if job and self.index >= 0 else job

    @property
    def job_name(self) -> str:
        """The name of the job or array it is part of, unique to the submission."""
        return job_name(self.submission)

    @property
    def log(self) -> Path:
        """Where what it prints goes; the file appears when it starts."""
        return self.log_of(self.job)

    def log_of(self, job: str) -> Path:
        """Return the log by the job's id, which the job knows before the ticket does."""
        return self.submission / f"{job}_0_log.out"

    def restored(self, folder: Path) -> Call:
        """Return the call as it was submitted."""
        told = self.call
        return Call(
            name=told["name"],
            target=told["target"],
            payload=told["payload"],
            resources=Resources(**told["resources"]),
            folder=folder,
        )


def told(call: Call) -> dict[str, Any]:
    """Return a call as plain data."""
    return {
        "name": call.name,
        "target": call.target,
        "payload": dict(call.payload),
        "resources": asdict(call.resources),
    }


def job_name(submission: Path) -> str:
    """Return the name of the job of a submission's folder."""
    return f"harness-{submission.name}"


def write_ticket(folder: Path, ticket: Ticket) -> None:
    """Write a call's ticket, in place of any before."""
    data = asdict(ticket) | {"submission": str(ticket.submission)}
    write_json(folder / "ticket.json", data, durable=False)


def read_ticket(folder: Path) -> Ticket | None:
    """Return the ticket of a call; None while none is under way."""
    data = read_json(folder / "ticket.json")
    if data is None:
        return None
    return Ticket(**(data | {"submission": Path(data["submission"])}))


def tear_ticket(folder: Path) -> None:
    """The call is no longer under way."""
    (folder / "ticket.json").unlink(missing_ok=True)


def write_job(submission: Path, job: str) -> None:
    """Write down the id that sbatch gave a submission."""
    write_json(submission / "submission.json", {"name": job_name(submission), "job": job})


def write_outcome(folder: Path, submission: Path, outcome: Outcome) -> None:
    """Write what became of a call."""
    write_json(
        folder / "outcome.json",
        {
            "submission": str(submission),
            "state": outcome.state.value,
            "value": outcome.value,
            "error": outcome.error,
        },
    )


def read_outcome(folder: Path, ticket: Ticket, call: Call) -> Outcome | None:
    """Return what became of a call under way; None as long as it is."""
    data = read_json(folder / "outcome.json")
    if data is None or data["submission"] != str(ticket.submission):
        return None
    return Outcome(call, State(data["state"]), data["value"], data["error"])


def _job(submission: Path) -> str:
    try:
        return _known_job(submission)
    except LookupError:
        return ""


@lru_cache(maxsize=1024)
def _known_job(submission: Path) -> str:
    """Read the id, which never changes once it is known."""
    known = read_json(submission / "submission.json")
    if not known:
        raise LookupError(submission)
    return str(known["job"])
