"""Questions to SLURM: few, batched, and never believed further than they reach."""

from __future__ import annotations

import getpass
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

TIMEOUT_S = 60.0
_ARGUMENTS_AT_ONCE = 500

WAITING = frozenset(
    {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT"}
)
RUNNING = frozenset(
    {"COMPLETING", "RESIZING", "RUNNING", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED"}
)
ENDED = frozenset(
    {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
     "PREEMPTED", "TIMEOUT"}
)  # fmt: skip
IMPOSSIBLE = frozenset(
    {"AccountNotAllowed", "BadConstraints", "InvalidAccount", "InvalidQOS", "PartitionConfig",
     "PartitionNodeLimit", "PartitionTimeLimit", "QOSNotAllowed"}
)  # fmt: skip
"""Reasons of pending jobs that no amount of waiting mends."""


class SlurmError(RuntimeError):
    """A command of SLURM's failed; the message is its own."""


@dataclass(frozen=True)
class Seen:
    """What the scheduler says of one job.

    Args:
        state: In SLURM's words, without what it appends: "CANCELLED", not "CANCELLED by 0".
        reason: Why it waits, in SLURM's words; else "".
        by: Who cancelled it, as SLURM names them; else "".
    """

    state: str
    reason: str = ""
    by: str = ""

    @property
    def waits(self) -> bool:
        """Whether it is in the queue and may start."""
        return self.state in WAITING

    @property
    def runs(self) -> bool:
        """Whether it has a node."""
        return self.state in RUNNING

    @property
    def ended(self) -> bool:
        """Whether it ended, as far as the scheduler knows; states never heard of have not."""
        return self.state in ENDED


def ask(command: Sequence[str]) -> str:
    """Run a command of SLURM's and return what it prints.

    Raises:
        SlurmError: It failed, did not answer, or is not installed.
    """
    try:
        done = subprocess.run(
            list(command), capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        raise SlurmError(f"there is no `{command[0]}`: is this a SLURM cluster?") from None
    except subprocess.TimeoutExpired:
        raise SlurmError(f"`{command[0]}` did not answer within {TIMEOUT_S:g} s") from None
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}"
        raise SlurmError(f"`{command[0]}`: {said}")
    return done.stdout


def queued(job_names: Iterable[str]) -> dict[str, Seen]:
    """Return what squeue knows of the jobs of some names, by job id ("12", or "12_3" in an array).

    Raises:
        SlurmError: It could not be asked.
    """
    found: dict[str, Seen] = {}
    for names in _batches(sorted(set(job_names))):
        told = ask(
            ["squeue", "--noheader", "--array", "--states=all", f"--user={getpass.getuser()}",
             f"--name={','.join(names)}", "--format=%i|%T|%r"]
        )  # fmt: skip
        for line in told.splitlines():
            job, state, reason = line.strip().split("|", 2)
            found[job] = Seen(state, "" if reason == "None" else reason)
    return found


def accounted(jobs: Iterable[str]) -> dict[str, Seen]:
    """Return what sacct knows of jobs; nothing where accounting is off.

    Args:
        jobs: Ids of jobs or whole arrays.

    Raises:
        SlurmError: It could not be asked, for another reason than that accounting is off.
    """
    found: dict[str, Seen] = {}
    for batch in _batches(sorted(set(jobs))):
        try:
            told = ask(
                ["sacct", "--noheader", "--parsable2", "--allocations",
                 f"--jobs={','.join(batch)}", "--format=JobID,State"]
            )  # fmt: skip
        except SlurmError as error:
            if accounting_is_off(str(error)):
                return {}
            raise
        for line in told.splitlines():
            job, _, state = line.partition("|")
            word, _, by = state.partition(" by ")
            found[job] = Seen(word.strip(), by=by.strip())
    return found


def accounting_is_off(message: str) -> bool:
    """Whether a complaint of sacct means that this cluster keeps no accounts."""
    return "accounting storage is disabled" in message


def cancel(jobs: Iterable[str], signal: str = "") -> None:
    """Cancel jobs; those that ended already are left alone.

    Raises:
        SlurmError: scancel could not be asked.
    """
    for batch in _batches(sorted(set(jobs))):
        try:
            ask(["scancel", *([f"--signal={signal}"] if signal else []), *batch])
        except SlurmError as error:
            if "Invalid job id" not in str(error) and "already completing" not in str(error):
                raise


def requeue(job: str) -> None:
    """Put a running job back into the queue.

    Raises:
        SlurmError: The scheduler refuses, for instance since it did so already.
    """
    ask(["scontrol", "requeue", job])


def find(job_name: str) -> str:
    """Return the id of the job, or whole array, with a name; "" if the scheduler knows none.

    Raises:
        SlurmError: It could not be asked.
    """
    told = ask(
        ["squeue", "--noheader", "--states=all", f"--user={getpass.getuser()}",
         f"--name={job_name}", "--format=%F"]
    )  # fmt: skip
    return told.split()[0] if told.strip() else ""


def config(asked: Callable[[Sequence[str]], str] = ask) -> dict[str, str]:
    """Return the cluster's settings, as `scontrol show config` prints them.

    Args:
        asked: How a command is run: `patiently` waits for a controller that is away.

    Raises:
        SlurmError: It could not be asked.
    """
    pairs = (line.partition("=") for line in asked(["scontrol", "show", "config"]).splitlines())
    return {name.strip(): value.strip() for name, mid, value in pairs if mid}


def max_array_size() -> int:
    """Return how many tasks an array may have.

    Raises:
        SlurmError: The cluster could not be asked.
    """
    found = re.match(r"\d+", config(patiently).get("MaxArraySize", ""))
    return int(found.group()) if found else 1001


def patiently(command: Sequence[str], tries: int = 5) -> str:
    """Ask again, at growing intervals, while the controller cannot be reached.

    Raises:
        SlurmError: Refused, or not reached in all tries.
    """
    for number in range(1, tries + 1):
        try:
            return ask(command)
        except SlurmError as error:
            if number == tries or not passing(str(error)):
                raise
            time.sleep(2.0**number)
    raise AssertionError("the last try returns or raises")


def passing(message: str) -> bool:
    """Whether a complaint is about the controller being away, which passes."""
    signs = (
        "Unable to contact slurm controller",
        "Socket timed out",
        "Connection refused",
        "Resource temporarily unavailable",
        "Transport endpoint is not connected",
        "Zero Bytes were transmitted",
        "did not answer",
        " is DOWN",  # the last line of `scontrol show config`, which prints all others still
    )
    return any(sign in message for sign in signs)


def _batches(items: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), _ARGUMENTS_AT_ONCE):
        yield items[start : start + _ARGUMENTS_AT_ONCE]
