"""Any budget: what one trained recognizer does with its gates shifted to other budgets.

A trace is what the trials of one cell reached, each shifted and not retrained: beside the frontier,
whose every point was trained for its budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .frontier import Cell, Frontier
from .stats import Estimate, mean_interval
from .tables import Column, Table, Value


@dataclass(frozen=True)
class Stop:
    """One budget of a trace: means over the seeds that were measured at it.

    Args:
        budget: That the gates were shifted to.
        share: Mean executed share of the dense MACs.
        macs: The same in MACs.
        top1: Accuracy in [0, 1].
        num_over: Seeds whose share lies over the budget.
    """

    budget: float
    share: float
    macs: float
    top1: Estimate
    num_over: int


@dataclass(frozen=True)
class Trace:
    """Where one cell's trained recognizers come to, from the largest budget down."""

    cell: Cell
    stops: tuple[Stop, ...]


def traces(frontier: Frontier) -> list[Trace]:
    """The traces of a frontier's cells, of those that were shifted."""
    found = (Trace(cell, tuple(_stops(cell))) for cell in frontier.cells)
    return [trace for trace in found if trace.stops]


def _stops(cell: Cell) -> Iterable[Stop]:
    budgets = {one.budget for run in cell.runs for one in run.any_budget}
    for budget in sorted(budgets, reverse=True):
        found = [
            (one, run.macs.dense)
            for run in cell.runs
            for one in run.any_budget
            if one.budget == budget and run.macs
        ]
        yield Stop(
            budget,
            share=mean_interval([one.share for one, _ in found]).mean,
            macs=mean_interval([one.share * dense for one, dense in found]).mean,
            top1=mean_interval([one.top1 for one, _ in found]),
            num_over=sum(one.share > budget for one, _ in found),
        )


def any_budget_table(frontiers: Iterable[Frontier]) -> Table:
    """One row a cell and budget that its trained recognizers were shifted to."""
    rows = [
        tuple(value(trace.cell, stop) for _, value in _COLUMNS)
        for frontier in frontiers
        for trace in traces(frontier)
        for stop in trace.stops
    ]
    return Table(tuple(column for column, _ in _COLUMNS), tuple(rows))


_COLUMNS: Sequence[tuple[Column, Callable[[Cell, Stop], Value]]] = (
    (Column("dataset", "dataset", is_narrow=True), lambda cell, stop: cell.dataset),
    (Column("recognizer", "recognizer", is_narrow=True), lambda cell, stop: cell.recognizer),
    (Column("method", "method", is_narrow=True), lambda cell, stop: cell.method),
    (Column("trained_budget", "trained at", 2, is_narrow=True), lambda cell, stop: cell.budget),
    (Column("budget", "shifted to", 2, is_narrow=True), lambda cell, stop: stop.budget),
    (
        Column("executed_gmacs", "GMACs", 3, is_narrow=True),
        lambda cell, stop: stop.macs / 1e9,
    ),
    (
        Column("executed_share", "% of dense", 1, 100, is_narrow=True),
        lambda cell, stop: stop.share,
    ),
    (
        Column("accuracy_top1", "top-1 %", 1, 100, is_narrow=True),
        lambda cell, stop: stop.top1.mean,
    ),
    (
        Column("interval_low", "95 % from", 1, 100, is_narrow=True),
        lambda cell, stop: stop.top1.low,
    ),
    (
        Column("interval_high", "to", 1, 100, is_narrow=True),
        lambda cell, stop: stop.top1.high,
    ),
    (Column("n", "n", is_narrow=True), lambda cell, stop: stop.top1.n),
    (Column("n_over", "over budget", is_narrow=True), lambda cell, stop: stop.num_over),
)
