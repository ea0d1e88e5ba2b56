"""What the commands that touch a sweep do, each returning its exit code."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console

from jobs.backends import BACKENDS
from jobs.ray.job import RayJob
from jobs.underway import look
from results.tracking_uri import TrackingError

from . import allocation
from .cost import Cost
from .plan import Again, Plan, make_plan
from .progress import watching
from .publish import Published, mirror, publish
from .request import Request, cost_of, try_places
from .show import (
    line,
    show_concerns,
    show_failures,
    show_files,
    show_plan,
    show_results,
    show_tally,
    show_trials,
    show_underway,
)
from .single import match
from .starts import waves
from .sweep import Finished, Tally, prepare, preview, reconcile, sole_sweep, submit
from .trial import Trial

PUBLISH_EVERY_S = 60.0
MANY = 30
"""Lists of trials longer than this are cut, except where a person asked for each."""
INTERRUPTED = 130
"""The exit code shells know for "ended by Ctrl-C"."""


@dataclass(frozen=True)
class Manner:
    """How a sweep is run.

    Args:
        again: Which trials with a record run again.
        confirm: Asked, if given, before anything runs.
        detach: Submit, and do not wait.
    """

    again: Callable[[Plan], Again] = lambda plan: frozenset()
    confirm: Callable[[Cost], bool] | None = None
    detach: bool = False


def run_sweep(request: Request, console: Console, manner: Manner | None = None) -> int:
    """Run what is missing, then write the report.

    Args:
        request: What to run.
        console: Where progress is shown.
        manner: How; by default, all that is missing, waiting for it.

    Returns:
        0, 1 if a trial failed in this run, 130 if it was interrupted.
    """
    manner = manner or Manner()
    try_places(request.sweep, request.settings)
    folder = request.store.sweep_folder(request.sweep.name) / "executor"
    if job := allocation.under_way(request.sweep, folder):
        return _run_elsewhere(request, job, console, manner.detach)
    with sole_sweep(request.store, request.sweep.name):
        plan = prepare(request.sweep, request.trials, request.settings)
        todo = plan.todo(manner.again(plan))
        show_plan(console, plan, todo, None)
        show_concerns(console, request.concerns)
        if todo and manner.confirm and not manner.confirm(cost_of(request, todo)):
            return 0
        if not todo or not allocation.is_elsewhere(request.sweep):
            return _run_here(request, plan, todo, console, manner.detach)
    # without the lock, which the job takes
    job = allocation.send(request.sweep, folder)
    return _run_elsewhere(request, job, console, manner.detach)


def again_failed(plan: Plan) -> Again:
    """All that failed."""
    return frozenset(trial.key for trial in plan.failed)


def again_chosen(keys: Sequence[str]) -> Callable[[Plan], Again]:
    """Those that a person names by their keys, or how they begin.

    Raises:
        UserError: When asked: a key is of no failed trial of the sweep.
    """

    def chosen(plan: Plan) -> Again:
        failed = [trial.key for trial in plan.failed]
        return frozenset(match(key, failed, "failed trial of this sweep") for key in keys)

    return chosen


def again_stopped(plan: Plan) -> Again:
    """What was ended on purpose."""
    return frozenset(trial.key for trial in plan.stopped)


def dry_run(request: Request, console: Console) -> int:
    """Show what a sweep would run and what it would cost; nothing is written."""
    todo = _show_todo(request, console)
    if allocation.is_elsewhere(request.sweep):
        scripts = [allocation.script(request.sweep)]
    else:
        scripts = preview(request.sweep, todo, request.settings)
    for script in scripts:
        line(console, f"\nsbatch would be given:\n{script}")
    return 0


def plan_only(request: Request, console: Console) -> int:
    """Show what a sweep would run and what it would cost, in a few lines."""
    _show_todo(request, console, MANY)
    return 0


def status(request: Request, console: Console) -> int:
    """Show how far a sweep is, what runs, and why trials failed; 1 if any did."""
    plan = make_plan(request.trials, request.store)
    show_plan(console, plan, plan.todo(), None)
    looks = look(request.store.trial_folder(trial.key).path for trial in plan.missing)
    by_key = {folder.name: found for folder, found in looks.items()}
    show_underway(console, plan.missing, by_key, MANY)
    idle = [trial for trial in plan.missing if trial.key not in by_key]
    show_trials(console, "Missing, and not under way", idle, MANY)
    show_failures(console, plan, MANY)
    return 1 if plan.failed else 0


def _show_todo(request: Request, console: Console, many: int | None = None) -> list[Trial]:
    plan = make_plan(request.trials, request.store)
    todo = plan.todo()
    show_plan(console, plan, todo, cost_of(request, todo))
    show_trials(console, "To run", todo, many)
    show_concerns(console, request.concerns)
    return todo


def _run_here(
    request: Request, plan: Plan, todo: Sequence[Trial], console: Console, detach: bool
) -> int:
    if detach:
        return _detach(request, todo, console)
    tally = _run(request, todo, console)
    left_alone = [trial for trial in plan.failed if trial not in todo]
    return _end(request, console, len(left_alone), tally)


def _run_elsewhere(request: Request, job: RayJob, console: Console, detach: bool) -> int:
    allocation.introduce(job, console)
    if detach:
        return 0
    try:
        allocation.watch(job, console)
    except KeyboardInterrupt:
        line(console, "Interrupted; the job runs on.")
        return INTERRUPTED
    plan = make_plan(request.trials, request.store)
    return 1 if plan.failed or plan.missing else 0


def _detach(request: Request, todo: Sequence[Trial], console: Console) -> int:
    now, *later = waves(todo)
    number = submit(request.sweep, now, request.settings)
    line(console, f"Submitted {number} trials; {len(now) - number} were under way already.")
    for wave in later:
        line(console, f"{len(wave)} start from weights of these, and are submitted once they end.")
    line(console, "See how far they are with `harness status`; the same command without --detach")
    line(console, "waits for them, and writes tables and figures when they have ended.")
    return 0


def _run(request: Request, todo: Sequence[Trial], console: Console) -> Tally:
    last = time.monotonic()
    store = request.store
    with watching(todo, console, lambda key: store.trial_folder(key).path) as show:

        def on_finish(finished: Finished) -> None:
            nonlocal last
            show(finished)
            if time.monotonic() - last > PUBLISH_EVERY_S:
                _publish(request, console)
                last = time.monotonic()

        return reconcile(request.sweep, todo, request.settings, on_finish)


def _publish(request: Request, console: Console) -> Published | None:
    # the records are on disk: what is made of them must not end a sweep, and can be made again
    name = request.sweep.name
    try:
        published = publish(request.store, name)
    except Exception as error:
        line(console, f"warning: no report ({error}). Once mended: harness report {name}")
        return None
    try:
        mirror(published, name, request.uri)
    except TrackingError as error:
        line(console, f"warning: {error} Once mended: harness sync {name}")
    return published


def _end(request: Request, console: Console, num_left_alone: int, tally: Tally) -> int:
    published = _publish(request, console)
    if published:
        show_results(console, published.content)
    show_concerns(console, request.concerns)
    show_tally(console, tally, num_left_alone)
    if published:
        show_files(console, published.files, request.uri)
    if tally.interrupted:
        line(console, "Interrupted; all that finished is kept. The same command goes on.")
        if BACKENDS[request.sweep.executor.name].durable:
            line(console, "What was submitted runs on; `harness cancel` ends it.")
        return INTERRUPTED
    return 1 if tally.count("failed") + tally.count("lost") else 0
