"""`harness check`: a sweep's records against committed ones."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.table import Table

from results.frontier import Cell, cells
from results.regression import ALL, THE_SAME, Change, Regression, compare, name
from results.store import Store

from .problems import UserError
from .show import line
from .sources import Source, read_source


def check(sweep: str, against: str, store: Store, as_json: bool, console: Console) -> int:
    """Print what changed beyond noise.

    Args:
        sweep: Name of a sweep, a folder with records or a file of them.
        against: Likewise: what it is compared with.
        store: The runs folder.
        as_json: Print JSON.
        console: Where to print.

    Returns:
        0; 1 if something is worse beyond noise, or failed that had figures.

    Raises:
        UserError: One of them has no records, or they have no cell in common.
    """
    new, committed = read_source(sweep, store), read_source(against, store)
    fresh, known = _cells(new), _cells(committed)
    found = compare(fresh, known)
    if not found.changes:
        raise UserError(
            f"{new.name} and {committed.name} have no cell with figures in common: "
            f"{_some(fresh)} against {_some(known)}"
        )
    if as_json:
        line(console, json.dumps(_plain(found), indent=2))
    else:
        _show(found, new, committed, console)
    return 1 if found.regressed else 0


def _cells(source: Source) -> list[Cell]:
    try:
        return cells(source.records)
    except ValueError as error:
        raise UserError(f"{source.name}: {error}") from error


def _some(found: list[Cell]) -> str:
    names = [name(cell) for cell in found]
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"{'; '.join(names[:2])}{more}"


def _show(found: Regression, new: Source, committed: Source, console: Console) -> None:
    line(console, f"{new.name} against {committed.name}")
    line(
        console,
        f"{found.num_pairs} pairs by seed, {found.num_same_trials} of the very same trial",
    )
    if found.num_same_trials < found.num_pairs:
        line(console, "warning: the other pairs differ in recipe, settings, scale or clips")
    if new.num_missing:
        line(console, f"warning: {new.num_missing} trials of {new.name} have no record")
    console.print(_table(found))
    for text in found.missing:
        line(console, f"missing: {text}")
    for text in found.added:
        line(console, f"only in {new.name}: {text}")
    for text in found.newly_failed:
        line(console, f"failed, and had figures before: {text}")
    line(console, _conclusion(found))


def _table(found: Regression) -> Table:
    table = Table("cell", "measure", "change", "95 %", "p (Holm)", "pairs", "verdict", box=None)
    for change in found.changes:
        if change.verdict != THE_SAME or change.cell == ALL:
            table.add_row(*_row(change))
    return table


def _row(change: Change) -> tuple[str, ...]:
    difference, scale = change.difference, change.measure.scale
    interval = ""
    if difference.low is not None and difference.high is not None:
        interval = f"{scale * difference.low:+.1f} to {scale * difference.high:+.1f}"
    mean = f"{scale * difference.mean:+.1f} {change.measure.unit}" if difference.n else ""
    p = "" if change.p_adjusted is None else f"{change.p_adjusted:.3f}"
    mark = "WORSE: " if change.is_regression else ""
    told = (change.cell, change.measure.name, mean, interval, p, str(difference.n))
    return (*told, f"{mark}{change.verdict}")


def _conclusion(found: Regression) -> str:
    worse = [change for change in found.changes if change.is_regression]
    better = sum(change.is_improvement for change in found.changes)
    same = sum(change.verdict == THE_SAME for change in found.changes)
    counts = f"{len(worse)} worse and {better} better beyond noise, {same} the same to the last bit"
    end = "A regression." if found.regressed else "No regression beyond noise."
    return f"Of {len(found.changes)} comparisons {counts}. {end}"


def _plain(found: Regression) -> dict[str, Any]:
    return {
        "regressed": found.regressed,
        "num_pairs": found.num_pairs,
        "num_same_trials": found.num_same_trials,
        "missing": list(found.missing),
        "added": list(found.added),
        "newly_failed": list(found.newly_failed),
        "changes": [_plain_change(change) for change in found.changes],
    }


def _plain_change(change: Change) -> dict[str, Any]:
    difference = change.difference
    return {
        "cell": change.cell,
        "measure": change.measure.name,
        "mean": difference.mean if difference.n else None,
        "low": difference.low,
        "high": difference.high,
        "p": difference.p_value,
        "p_holm": change.p_adjusted,
        "n": difference.n,
        "unpaired_seeds": list(difference.unpaired_seeds),
        "verdict": change.verdict,
        "is_regression": change.is_regression,
        "is_improvement": change.is_improvement,
    }
