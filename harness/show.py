"""What the commands print. Nothing is computed here."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.table import Table

from jobs.underway import Look
from results.tracking_uri import redacted

from .cost import Cost
from .plan import Plan, name_of
from .progress import duration
from .sweep import Tally
from .trial import Trial

if TYPE_CHECKING:
    from results.content import Content


def show_plan(console: Console, plan: Plan, todo: Sequence[Trial], cost: Cost | None) -> None:
    """Print how many trials there are in each state, and what the rest will cost."""
    table = Table("trials", "done", "failed", "missing", "to run now", box=None)
    states = (plan.trials, plan.done, plan.failed, plan.missing, todo)
    table.add_row(*(str(len(trials)) for trials in states))
    console.print(table)
    show_damaged(console, plan.damaged)
    if cost and todo:
        macs, disk = f"{cost.macs / 1e12:,.2f} TMACs", f"{cost.disk_bytes / 1e6:,.0f} MB of disk"
        time = f"{duration(cost.time_s)} if one trial runs after another ({cost.basis})"
        line(console, f"That is about {macs} of training, {disk}, and {time}.")


def show_trials(
    console: Console, heading: str, trials: Sequence[Trial], many: int | None = None
) -> None:
    """Print trials by their keys and names under a heading, the first `many` of them."""
    _list(console, heading, [f"{trial.key}  {name_of(trial)}" for trial in trials], many)


def show_underway(
    console: Console, trials: Sequence[Trial], looks: Mapping[str, Look], many: int
) -> None:
    """Print how many trials are in each state, and the first `many` one by one.

    Args:
        console: Where to.
        trials: Those without a record.
        looks: By key, what those under way are doing.
        many: How many lines at most.
    """
    counts = Counter(look.state for look in looks.values())
    if counts:
        line(console, f"Under way: {', '.join(f'{n} {state}' for state, n in counts.items())}.")
    ordered = sorted(
        (trial for trial in trials if trial.key in looks),
        key=lambda trial: looks[trial.key].state != "runs",
    )
    _list(console, "", [_underway(trial, looks[trial.key]) for trial in ordered], many)


def show_failures(console: Console, plan: Plan, many: int | None = None) -> None:
    """Print why each failed trial failed, the first `many` of them."""
    lines = []
    for trial in plan.failed:
        failure = plan.records[trial.key].failure
        reason = f"{failure.kind}: {failure.message}" if failure else "no reason was recorded"
        lines.append(f"{trial.key}  {name_of(trial)}: {reason}")
    _list(console, "Failed", lines, many)


def _underway(trial: Trial, look: Look) -> str:
    job = f"job {look.job}" if look.job else ""
    return (
        f"{trial.key}  {name_of(trial)}: {', '.join(filter(None, [look.state, look.detail, job]))}"
    )


def _list(console: Console, heading: str, lines: Sequence[str], many: int | None) -> None:
    if lines and heading:
        line(console, f"{heading}:")
    for text in lines[:many]:
        line(console, f"  {text}")
    if many is not None and len(lines) > many:
        line(console, f"  ... and {len(lines) - many} more")


def show_concerns(console: Console, concerns: Sequence[str]) -> None:
    """Print what a person should know of the data."""
    for text in concerns:
        line(console, f"warning: {text}")


def show_damaged(console: Console, damaged: Mapping[str, str]) -> None:
    """Print which records could not be read; they count as missing."""
    for message in damaged.values():
        line(console, f"warning: {message} It counts as missing.")


def show_results(console: Console, content: Content | None) -> None:
    """Print the report for a terminal: cells, comparisons, and what failed."""
    from results.report import terminal

    if content:
        show_table(console, terminal(content))


def show_tally(console: Console, tally: Tally, num_skipped_failed: int) -> None:
    """Print what became of the trials of this run, and of those it left alone."""
    fates = [f"{tally.count(fate)} {fate}" for fate in ("done", "failed", "stopped", "lost")]
    told = [fate for fate in fates if not fate.startswith("0 ")]
    if told:
        line(console, f"Trials of this run: {', '.join(told)}.")
    if num_skipped_failed:
        number = f"{num_skipped_failed} that failed before"
        line(console, f"Left alone: {number}. Run them again with `harness retry --failed`.")


def show_files(console: Console, files: Sequence[Path], uri: str | None) -> None:
    """Print where everything lies."""
    for path in files:
        line(console, str(path))
    if uri is None:
        return
    line(console, f"MLflow: {redacted(uri)}")
    if uri.startswith("sqlite:"):
        line(console, f"Open it: mlflow ui --backend-store-uri {shlex.quote(uri)} --host 127.0.0.1")


def show_table(console: Console, table: RenderableType) -> None:
    """Print tables whole: what is wider than the terminal runs on in its next line."""
    console.print(table, crop=False)


def line(console: Console, text: str) -> None:
    """Print one line as it is: no markup, no colours, no wrapping of paths."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
