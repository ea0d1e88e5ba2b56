"""By clip: what the report says of single clips: which trials' are shown, and what all seeds say.

`dependence.py` computes what a record keeps; this puts seeds side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .frontier import Cell, Frontier
from .record import InputDependence, Record
from .shortlist import shortlist
from .stats import mean_interval
from .tables import Column, Table, Value

MAX_CLOUDS = 8
"""Trials whose clips the page shows one by one."""

_Ends = tuple[float | None, float | None]


def dependence_table(frontiers: Sequence[Frontier]) -> Table:
    """One row a cell whose gates decide: does what they execute go with a clip's motion?"""
    rows = [
        tuple(value(_Row(cell, _found(cell))) for _, value in _DEPENDENCE)
        for frontier in frontiers
        for cell in frontier.cells
        if _found(cell)
    ]
    return Table(tuple(column for column, _ in _DEPENDENCE), tuple(rows))


class _Row(NamedTuple):
    cell: Cell
    found: list[InputDependence]


def _found(cell: Cell) -> list[InputDependence]:
    return [run.input_dependence for run in cell.runs if run.input_dependence]


def _correlation(one: InputDependence) -> _Ends:
    return one.low, one.high


def _frames(one: InputDependence) -> _Ends:
    return (one.frames.low, one.frames.high) if one.frames else (None, None)


def _frozen(one: InputDependence) -> _Ends:
    return (one.frozen.low, one.frozen.high) if one.frozen else (None, None)


def excludes_zero(ends: _Ends) -> int:
    """1 or -1 where an interval lies above or below zero, else 0: also where there is none."""
    low, high = ends
    if low is None or high is None:
        return 0
    return int(low > 0) - int(high < 0)


def _number(part: Callable[[InputDependence], _Ends]) -> Callable[[_Row], Value]:
    return lambda row: sum(excludes_zero(part(one)) != 0 for one in row.found)


def _mean(part: Callable[[InputDependence], float | None]) -> Callable[[_Row], Value]:
    def mean(row: _Row) -> Value:
        values = [value for one in row.found if (value := part(one)) is not None]
        return mean_interval(values).mean if values else None

    return mean


def _outermost(part: Callable[[InputDependence], _Ends], end: int) -> Callable[[_Row], Value]:
    def outermost(row: _Row) -> Value:
        ends = [value for one in row.found if (value := part(one)[end]) is not None]
        return (max if end else min)(ends) if ends else None

    return outermost


def _answer(row: _Row) -> str:
    """In plain words; "depends" only where every seed's interval says so, the same way."""
    if all(one.num_routes == 1 for one in row.found):
        return "no: every clip takes the same route"
    signs = [excludes_zero(_correlation(one)) for one in row.found]
    if set(signs) == {1}:
        return "yes: clips that move more execute more"
    if set(signs) == {-1}:
        return "yes: clips that move more execute less"
    if any(signs):
        many = sum(sign != 0 for sign in signs)
        return f"not in every seed: {many} of {len(signs)} intervals exclude zero"
    return "not shown: no seed's interval excludes zero"


_DEPENDENCE: Sequence[tuple[Column, Callable[[_Row], Value]]] = (
    (Column("dataset", "dataset", is_narrow=True), lambda row: row.cell.dataset),
    (Column("recognizer", "recognizer", is_narrow=True), lambda row: row.cell.recognizer),
    (Column("method", "method", is_narrow=True), lambda row: row.cell.method),
    (Column("budget", "budget", 2, is_narrow=True), lambda row: row.cell.budget),
    (Column("answer", "does it go with motion?", is_narrow=True), _answer),
    (Column("n", "n", is_narrow=True), lambda row: len(row.found)),
    (Column("num_routes", "routes", is_narrow=True), _mean(lambda one: one.num_routes)),
    (
        Column("rank_correlation", "rank correlation", 2, is_narrow=True),
        _mean(lambda one: one.rank_correlation),
    ),
    (Column("correlation_low", "95 % from", 2, is_narrow=True), _outermost(_correlation, 0)),
    (Column("correlation_high", "to", 2, is_narrow=True), _outermost(_correlation, 1)),
    (Column("n_correlated", "seeds without 0"), _number(_correlation)),
    (
        Column("frames_correlation", "of frames alone", 2, is_narrow=True),
        _mean(lambda one: one.frames.value if one.frames else None),
    ),
    (Column("frames_low", "95 % from", 2, is_narrow=True), _outermost(_frames, 0)),
    (Column("frames_high", "to", 2, is_narrow=True), _outermost(_frames, 1)),
    (
        Column("frozen_difference", "frozen - moving, points", 2, 100, is_narrow=True),
        _mean(lambda one: one.frozen.difference if one.frozen else None),
    ),
    (Column("frozen_low", "95 % from", 2, 100, is_narrow=True), _outermost(_frozen, 0)),
    (Column("frozen_high", "to", 2, 100, is_narrow=True), _outermost(_frozen, 1)),
    (Column("n_frozen_differ", "seeds without 0"), _number(_frozen)),
)


def dependence_told(table: Table) -> str:
    """The table in one sentence, also where it says no; "" without rows."""
    answers = [str(value).partition(":")[0] for value in table.column("answer")]
    if not answers:
        return ""
    yes, no = answers.count("yes"), answers.count("no")
    among = f"Of {len(answers)} cells with gates" if len(answers) > 1 else "Of 1 cell with gates"
    return (
        f"{among}, what a clip executes goes with its motion in every seed in {yes}; in {no} every "
        f"clip takes the same route; in {len(answers) - yes - no} it is not shown."
    )


@dataclass(frozen=True)
class Shown:
    """The trials whose clips are to be shown, by key, and how many cells are left out."""

    keys: tuple[str, ...]
    num_left_out: int


def to_show(frontiers: Sequence[Frontier]) -> Shown:
    """Choose the trials: of a cell the first seed that is known to have told its clips apart."""
    chosen = shortlist(frontiers, MAX_CLOUDS, lambda cell: bool(_found(cell)))
    runs = (_first(cell) for _, cells in chosen.panels for cell in cells)
    return Shown(tuple(run.key for run in runs), chosen.num_left_out)


def _first(cell: Cell) -> Record:
    return next(run for run in cell.runs if run.input_dependence)
