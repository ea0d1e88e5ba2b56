"""Run calls as jobs of a SLURM cluster, through submitit.

Nothing that matters lives in this process: what is under way stands in the folders of the calls, so
any other process can go on where this one ended.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..attempts import fruitless_in_a_row, read_attempts
from ..calls import check_calls
from ..executor import Call, DurableExecutor, Outcome, State
from ..logs import tail
from ..options import SlurmOptions
from .client import Seen, SlurmError, cancel
from .judge import Verdict
from .submit import Asked, Submitter
from .ticket import Ticket, read_outcome, read_ticket, tear_ticket
from .watch import Watch, ask_all
from .worker import MAX_FRUITLESS, given_up

_GLANCE_S = 0.25


class SlurmExecutor(DurableExecutor):
    """Each call is a task of a job array; arrays differ in resources only.

    Calls without a folder get one below the executor's, under their name, and begin anew.

    Args:
        folder: For sbatch files and logs; must be shared with the nodes.
        options: Where on the cluster.
    """

    def __init__(self, folder: Path, options: SlurmOptions | None = None) -> None:
        self._folder = folder.absolute()
        self._submitter = Submitter(self._folder, options or SlurmOptions())

    def run(self, calls: Sequence[Call]) -> Iterator[Outcome]:
        """See `Executor.run`. Closing the iterator leaves the jobs alone.

        Raises:
            ValueError: Names are not unique, a target is malformed, or SLURM refuses the job.
        """
        check_calls(calls)
        housed = [self._housed(call) for call in calls]
        self._submit(_not_under_way(housed))
        given = {call.name: call for call in calls}
        outcomes = self._wait({call.name: call for call in housed})
        return (replace(outcome, call=given[outcome.call.name]) for outcome in outcomes)

    def submit(self, calls: Sequence[Call]) -> int:
        """See `DurableExecutor.submit`.

        Raises:
            ValueError: As for `run`.
        """
        check_calls(calls)
        missing = _not_under_way([self._housed(call) for call in calls])
        self._submit(missing)
        return len(missing)

    def preview(self, calls: Sequence[Call]) -> list[str]:
        """See `DurableExecutor.preview`: one sbatch file an array.

        Raises:
            ValueError: As for `run`.
        """
        check_calls(calls)
        asked = [Asked(self._housed(call), 0) for call in calls]
        return [self._submitter.script(chunk) for chunk in self._submitter.chunks(asked)]

    def _housed(self, call: Call) -> Call:
        if call.folder is not None:
            return call
        name = hashlib.sha256(call.name.encode()).hexdigest()[:12]
        return replace(call, folder=self._folder / "calls" / name)

    def _submit(self, calls: Iterable[Call]) -> None:
        self._submitter.submit([Asked(call, len(read_attempts(_folder(call)))) for call in calls])

    def _wait(self, waiting: dict[str, Call]) -> Iterator[Outcome]:
        watch = Watch()
        tickets = {name: read_ticket(_folder(call)) for name, call in waiting.items()}
        while waiting:
            began = time.monotonic()
            for name, call in list(waiting.items()):
                tickets[name] = read_ticket(_folder(call)) or tickets[name]
                if outcome := _ended(call, tickets[name]):
                    yield self._end(waiting, outcome)
            for call, verdict in watch.verdicts(list(waiting.values())):
                if outcome := self._act_if_possible(call, verdict, watch):
                    yield self._end(waiting, outcome)
            if waiting:  # on a slow file system glances are rarer
                time.sleep(max(_GLANCE_S, 5 * (time.monotonic() - began)))

    def _end(self, waiting: dict[str, Call], outcome: Outcome) -> Outcome:
        call = waiting.pop(outcome.call.name)
        tear_ticket(_folder(call))
        return outcome

    def _act_if_possible(self, call: Call, verdict: Verdict, watch: Watch) -> Outcome | None:
        try:
            return self._act(call, verdict, watch)
        except SlurmError:  # the scheduler is away; the next look comes to the same
            return None

    def _act(self, call: Call, verdict: Verdict, watch: Watch) -> Outcome | None:
        """Do what a verdict asks for; return the outcome if that is the end of the call."""
        ticket = read_ticket(_folder(call))
        if ticket is None:  # ended just now, seen by another process; its outcome is there
            return None
        if verdict is Verdict.CANCELLED:
            return Outcome(call, State.STOPPED, error=f"cancelled{watch.by(_folder(call))}")
        if verdict is Verdict.OUT_OF_MEMORY:
            return Outcome(call, State.FAILED, error=_out_of_memory(call, ticket))
        if verdict is Verdict.IMPOSSIBLE:
            cancel([ticket.job])
            return Outcome(call, State.FAILED, error=_impossible(call, watch.reason(_folder(call))))
        if verdict is Verdict.LOST:
            return self._again(call, ticket, watch)
        return None

    def _again(self, call: Call, ticket: Ticket, watch: Watch) -> Outcome | None:
        attempts = read_attempts(_folder(call))[ticket.num_attempts :]
        began = any(attempt.job == ticket.job for attempt in attempts)
        unstarted = 0 if began else ticket.num_unstarted + 1
        fruitless = unstarted + fruitless_in_a_row(attempts)
        why = f"job {ticket.job} ended {watch.reason(_folder(call)) or 'unseen'}"
        if fruitless >= MAX_FRUITLESS:
            error = f"{tail(ticket.log)}\n{given_up(call.name, fruitless, why)}"
            return Outcome(call, State.FAILED, error=error)
        if ticket.job:
            cancel([ticket.job])  # a job thought lost must not come back beside its successor
        self._submitter.submit([Asked(call, ticket.num_attempts, unstarted)])
        return None


def _not_under_way(calls: Sequence[Call]) -> list[Call]:
    """Return the calls that nobody runs, or that a person cancelled: they are asked for again."""
    tickets = {call.name: read_ticket(_folder(call)) for call in calls}
    known = [ticket for ticket in tickets.values() if ticket]
    hints = (ask_all(known) if known else None) or {}
    return [call for call in calls if not _under_way(call, tickets[call.name], hints)]


def _under_way(call: Call, ticket: Ticket | None, hints: Mapping[str, Seen]) -> bool:
    if ticket is None or ticket.cancelled:
        return False
    outcome = read_outcome(_folder(call), ticket, call)
    if outcome is None:
        hint = hints.get(ticket.job)
        return hint is None or hint.state != "CANCELLED"
    # an error that nobody has seen yet is news; a value that is asked for again has been lost
    return outcome.state is not State.DONE


def _ended(call: Call, ticket: Ticket | None) -> Outcome | None:
    """Return the outcome, which another process that waits may have seen before."""
    return None if ticket is None else read_outcome(_folder(call), ticket, call)


def _folder(call: Call) -> Path:
    if call.folder is None:
        raise ValueError(f"{call.name!r} has no folder")
    return call.folder


def _out_of_memory(call: Call, ticket: Ticket) -> str:
    limit = call.resources.memory_gb
    asked = "the partition's default" if limit is None else f"{limit:g} GB"
    return (
        f"{tail(ticket.log)}\nOutOfMemory: job {ticket.job} passed its memory limit ({asked}); "
        "raise `resources: memory_gb`"
    )


def _impossible(call: Call, reason: str) -> str:
    needs = call.resources
    parts = [f"{needs.cpus} cpus", f"{needs.gpus:g} gpus" if needs.gpus else ""]
    parts += [f"{needs.memory_gb:g} GB" if needs.memory_gb else ""]
    parts += [f"{needs.time_min} min" if needs.time_min else ""]
    asked = ", ".join(part for part in parts if part)
    return (
        f"Impossible: no node will ever take this job ({asked}); SLURM says {reason}. "
        "Compare `resources` and the executor's options with `sinfo` and `scontrol show partition`"
    )
