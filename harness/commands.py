"""What the commands do, each returning its exit code. `cli.py` only reads the command line."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from jobs.backends import BACKENDS
from jobs.ray.job import RayJob
from jobs.underway import look
from results.store import Store
from results.tracking_uri import TrackingError

from . import allocation
from .budgets import BudgetsError, Sweep, load
from .concerns import concerns
from .cost import Cost, estimate, experience
from .expand import Manifests, manifests, trials_of
from .plan import Again, Plan, make_plan
from .problems import UserError
from .progress import watching
from .publish import Published, mirror, mirror_uri, probe, publish, tracking_uri
from .show import (
    line,
    show_concerns,
    show_damaged,
    show_failures,
    show_files,
    show_plan,
    show_results,
    show_tally,
    show_trials,
    show_underway,
)
from .single import match
from .sizes import dense_size
from .sweep import Finished, Settings, Tally, prepare, preview, reconcile, sole_sweep, submit
from .trial import Trial

PUBLISH_EVERY_S = 60.0
MANY = 30
"""Lists of trials longer than this are cut, except where a person asked for each."""
INTERRUPTED = 130
"""The exit code shells know for "ended by Ctrl-C"."""


@dataclass(frozen=True)
class Request:
    """A budgets.yaml read, and the trials it stands for."""

    sweep: Sweep
    trials: tuple[Trial, ...]
    found: Manifests
    settings: Settings

    @property
    def store(self) -> Store:
        """The records of the runs folder."""
        return Store(self.settings.runs)

    @property
    def uri(self) -> str | None:
        """Where MLflow keeps the mirror."""
        return _uri(self.sweep, self.store)

    @property
    def concerns(self) -> list[str]:
        """What a person should know of the data."""
        return concerns(self.trials, self.found)


def read_request(
    path: Path, settings: Settings, executor: str | None = None, will_run: bool = False
) -> Request:
    """Return what a file asks for.

    Args:
        path: A budgets.yaml.
        settings: Paths.
        executor: Takes the place of the file's.
        will_run: Try the places that results go to before the clips are looked at, since the
            first look at them decodes every one.

    Raises:
        BudgetsError: All mistakes in it.
        StoreError, TrackingError: It will run, but results could not be kept.
    """
    sweep = load(path, executor)
    if will_run:
        _try_places(sweep, settings)
    try:
        found = manifests(sweep, settings.data_root)
        return Request(sweep, tuple(trials_of(sweep, found)), found, settings)
    except BudgetsError as error:
        raise BudgetsError(str(path), error.problems) from None


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
    _try_places(request.sweep, request.settings)
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


def report(store: Store, name: str, console: Console) -> int:
    """Draw everything again from the records of a sweep.

    Raises:
        UserError: There is no such sweep.
    """
    published = _published(store, name)
    show_results(console, published.content)
    show_damaged(console, published.reading.damaged)
    show_files(console, published.files, None)
    return 0


def page(store: Store, name: str, console: Console) -> int:
    """Write a sweep's page alone.

    Raises:
        UserError: There is no such sweep, or it has no record yet.
    """
    published = _page(store, name)
    show_damaged(console, published.reading.damaged)
    show_files(console, published.files[1:], None)
    return 0


def serve(store: Store, name: str, port: int, console: Console) -> int:
    """Serve a sweep's page, and MLflow where there is a mirror, until Ctrl-C.

    Raises:
        UserError: There is no such sweep, it has no record yet, or a port is taken.
    """
    from .serve import TYPES, serve

    _page(store, name)
    folder = store.sweep_folder(name)
    files = {path.name: path for path in folder.iterdir() if path.suffix in TYPES}
    uri = mirror_uri(folder)
    if uri is None:
        line(console, f"There is no MLflow mirror of it yet: `harness sync {name}` makes one.")
    return serve(files, uri, port, console)


def sync(store: Store, name: str, uri: str | None, console: Console) -> int:
    """Send a sweep's records to MLflow again.

    Raises:
        UserError: There is no such sweep.
    """
    probe(uri)
    published = _published(store, name)
    mirror(published, name, uri)
    show_files(console, (), uri)
    return 0


def cost_of(request: Request, trials: Sequence[Trial]) -> Cost:
    """Return what trials of a request will cost."""
    num_clips = {label: manifest.num_train for label, manifest in request.found.items()}
    keeps_weights = request.sweep.keeps_weights
    known = experience(request.store)
    return estimate(trials, num_clips, known, dense_size, keeps_weights=keeps_weights)


def _show_todo(request: Request, console: Console, many: int | None = None) -> list[Trial]:
    plan = make_plan(request.trials, request.store)
    todo = plan.todo()
    show_plan(console, plan, todo, cost_of(request, todo))
    show_trials(console, "To run", todo, many)
    show_concerns(console, request.concerns)
    return todo


def _try_places(sweep: Sweep, settings: Settings) -> None:
    store = Store(settings.runs)
    store.check_writable()
    probe(_uri(sweep, store))


def _uri(sweep: Sweep, store: Store) -> str | None:
    return tracking_uri(sweep.tracking.mlflow, store.sweep_folder(sweep.name))


def _page(store: Store, name: str) -> Published:
    published = _published(store, name, ("html",))
    if published.content is None:
        raise UserError(f"sweep {name!r} has no record yet, so there is nothing to show")
    return published


def _published(store: Store, name: str, formats: Sequence[str] | None = None) -> Published:
    try:
        store.read_sweep(name)
    except (LookupError, ValueError) as error:
        raise UserError(str(error)) from error
    return publish(store, name, formats)


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
    number = submit(request.sweep, todo, request.settings)
    line(console, f"Submitted {number} trials; {len(todo) - number} were under way already.")
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
