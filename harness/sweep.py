"""The reconcile loop: submit what is missing, record what finishes."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from jobs.backends import open_executor
from jobs.executor import Call, DurableExecutor, Executor, Outcome, State
from jobs.worker import Interrupted
from results.record import Failure, Record
from results.store import Store

from .budgets import Sweep
from .plan import STOPPED, Plan, make_plan, name_of, stored
from .problems import UserError
from .starts import waves
from .trial import Trial

TARGET = "harness.run:run"
"""What a worker calls for each trial."""

Fate = Literal["done", "failed", "stopped", "lost"]
"""What became of a submitted trial; "lost" left no record, so the next sweep runs it again."""


@dataclass(frozen=True)
class Finished:
    """One trial that came back, and how many have by now."""

    trial: Trial
    fate: Fate
    message: str = ""


@dataclass
class Tally:
    """What a sweep has done so far."""

    finished: list[Finished] = field(default_factory=list)
    interrupted: bool = False

    def count(self, fate: Fate) -> int:
        """Return how many trials met this fate."""
        return sum(item.fate == fate for item in self.finished)


@dataclass(frozen=True)
class Settings:
    """Where a sweep reads and writes."""

    runs: Path
    data_root: Path | None = None


def prepare(sweep: Sweep, trials: Sequence[Trial], settings: Settings) -> Plan:
    """Check that results can be written, write down the sweep's trials, and return the plan.

    Raises:
        OSError: The runs folder cannot be written.
    """
    store = Store(settings.runs)
    store.check_writable()
    store.write_sweep(stored(sweep, trials))
    return make_plan(trials, store)


def reconcile(
    sweep: Sweep,
    todo: Sequence[Trial],
    settings: Settings,
    on_finish: Callable[[Finished], None],
) -> Tally:
    """Run trials; every one that ends has a record before the next is looked at.

    Trials that start from the weights of others run when those have ended. An interrupt cancels
    what has not finished, unless it runs on a cluster, and returns what has.

    Args:
        sweep: Says where and with what trials run.
        todo: Trials to run.
        settings: Paths.
        on_finish: Called after each trial.
    """
    tally = Tally()
    if not todo:
        return tally
    store = Store(settings.runs)
    _make_ready(store, todo)
    try:
        with _terminable(), _executor(sweep, store) as executor:
            for wave in waves(todo):
                for finished in _finish(executor, _calls(sweep, wave, settings), wave, store):
                    tally.finished.append(finished)
                    on_finish(finished)
    except (KeyboardInterrupt, Interrupted):
        tally.interrupted = True
    return tally


@contextmanager
def _terminable() -> Iterator[None]:
    """Within the block SIGTERM is an interrupt, as Ctrl-C is."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def submit(sweep: Sweep, todo: Sequence[Trial], settings: Settings) -> int:
    """Submit what is not under way yet, and return at once with the number of trials.

    Raises:
        UserError: This executor ends with this process, or the scheduler refuses.
    """
    store = Store(settings.runs)
    with _executor(sweep, store) as executor:
        if not isinstance(executor, DurableExecutor):
            raise UserError(
                f"trials of the executor {sweep.executor.name!r} end with this process; "
                "--detach needs a cluster: `executor: slurm`"
            )
        _make_ready(store, todo)
        try:
            return executor.submit(_calls(sweep, todo, settings))
        except (ValueError, RuntimeError) as error:
            raise UserError(str(error)) from error


def preview(sweep: Sweep, todo: Sequence[Trial], settings: Settings) -> list[str]:
    """Return what a scheduler would be given; nothing for an executor of this machine.

    Raises:
        UserError: There is no such scheduler here.
    """
    with _executor(sweep, Store(settings.runs)) as executor:
        if not isinstance(executor, DurableExecutor):
            return []
        try:
            return executor.preview(_calls(sweep, todo, settings))
        except (ValueError, RuntimeError) as error:
            raise UserError(str(error)) from error


def _executor(sweep: Sweep, store: Store) -> Executor:
    folder = store.sweep_folder(sweep.name) / "executor"
    return open_executor(sweep.executor.name, sweep.executor.options, folder)


@contextmanager
def sole_sweep(store: Store, name: str) -> Iterator[None]:
    """Keep others from running the same sweep on the same folder at the same time.

    Raises:
        UserError: Somebody does.
    """
    folder = store.sweep_folder(name)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(
            f"the sweep {name!r} is being run by another process ({lock.lock_file} is held); "
            "wait for it, or give this one another `name:`"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _make_ready(store: Store, trials: Iterable[Trial]) -> None:
    for trial in trials:
        folder = store.write_trial(trial.key, trial.model_dump(mode="json"))
        if folder.record_path.exists():  # failed or damaged; kept for whoever asks why
            folder.record_path.replace(folder.path / "record.previous.json")


def _calls(sweep: Sweep, trials: Iterable[Trial], settings: Settings) -> list[Call]:
    return [
        Call(
            name=f"{re.sub('[^A-Za-z0-9.]+', '-', name_of(trial))}-{trial.key}",
            target=TARGET,
            payload=_payload(trial, settings, sweep),
            resources=sweep.needs,
            group=_group(trial),
            folder=Store(settings.runs).trial_folder(trial.key).path.absolute(),
        )
        for trial in trials
    ]


def _payload(trial: Trial, settings: Settings, sweep: Sweep) -> dict[str, Any]:
    # a worker has another working directory
    root = settings.data_root
    return {
        "trial": trial.model_dump(mode="json"),
        "runs": str(settings.runs.absolute()),
        "data_root": None if root is None else str(root.absolute()),
        "threads": sweep.needs.cpus,
        "checkpoint_s": sweep.resources.checkpoint_s,
        "keeps_weights": sweep.keeps_weights,
    }


def _group(trial: Trial) -> str:
    parts = (trial.dataset.label, trial.recognizer.label, trial.method.name, trial.budget)
    return "/".join(map(str, parts))


def _finish(
    executor: Executor, calls: Sequence[Call], trials: Sequence[Trial], store: Store
) -> Iterator[Finished]:
    by_name = {call.name: trial for call, trial in zip(calls, trials, strict=True)}
    try:
        outcomes = executor.run(calls)
    except (ValueError, ConnectionError, RuntimeError) as error:  # nobody can meet its needs
        raise UserError(str(error)) from error
    for outcome in outcomes:
        yield _settle(by_name[outcome.call.name], outcome, store)


def _settle(trial: Trial, outcome: Outcome, store: Store) -> Finished:
    record = store.read_record(trial.key)
    if record is None and outcome.state is State.DONE:
        # on a network file system a record can take a minute to be seen: write nothing over it
        return Finished(trial, "lost", "the worker ended well, but its record is not to be seen")
    if record is None:
        record = _failed(trial, outcome)
        store.write_record(record)
    if record.failure is None:
        return Finished(trial, "done")
    fate: Fate = "stopped" if record.failure.kind == STOPPED else "failed"
    return Finished(trial, fate, record.failure.message)


def _failed(trial: Trial, outcome: Outcome) -> Record:
    return Record(
        key=trial.key,
        status="failed",
        trial=trial.model_dump(mode="json"),
        dataset=trial.dataset.label,
        recognizer=trial.recognizer.label,
        method=trial.method.label,
        budget=trial.budget,
        seed=trial.seed,
        manifest_digest=trial.data_digest,
        finished_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        failure=_failure(outcome),
    )


def _failure(outcome: Outcome) -> Failure:
    if outcome.state is State.STOPPED:
        message = outcome.error or "stopped early: judged weak"
        return Failure(kind=STOPPED, message=message, traceback="")
    last = next(iter(reversed(outcome.error.strip().splitlines())), "no traceback came back")
    kind, _, message = last.partition(":")
    return Failure(kind=kind.strip(), message=message.strip() or kind, traceback=outcome.error)
