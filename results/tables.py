"""Tables: what the columns are, and the rows that cells and comparisons fill them with.

`render.py` turns a table into text. The form for machines (CSV) has `Column.name` and plain
values; the forms for people have `Column.heading` and scaled, rounded values. Both name the units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import NamedTuple, TypeVar

from .attainment import hypervolume_over_seeds
from .comparisons import SUBJECT, Comparison, comparisons
from .frontier import Cell, Frontier, engine_saving, realised_saving
from .record import Record
from .stats import Estimate

GIGA = 1e9
Value = str | bool | int | float | None
_Source = TypeVar("_Source")


class Column(NamedTuple):
    """How a column is called and read. `digits` and `scale` are for people alone."""

    name: str
    heading: str
    digits: int = 0
    scale: float = 1.0
    is_narrow: bool = False
    """Whether a terminal or a page, which have no room for all, shows the column."""


@dataclass(frozen=True)
class Table:
    """Rows of plain values, each as long as `columns`; `None` where there is nothing to say."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]

    def narrow(self) -> Table:
        """The same rows with only the columns that a page has room for."""
        return self._kept([column.is_narrow for column in self.columns])

    def without(self, *names: str) -> Table:
        """The same rows less the columns named."""
        return self._kept([column.name not in names for column in self.columns])

    def of_panel(self, dataset: str, recognizer: str) -> Table:
        """The rows of one (dataset, recognizer)."""
        here = zip(self.rows, self.column("dataset"), self.column("recognizer"), strict=True)
        rows = tuple(row for row, *names in here if names == [dataset, recognizer])
        return Table(self.columns, rows)

    def column(self, name: str) -> list[Value]:
        """The values of the column `name`, from the first row to the last."""
        index = [column.name for column in self.columns].index(name)
        return [row[index] for row in self.rows]

    def _kept(self, mask: Sequence[bool]) -> Table:
        rows = tuple(tuple(compress(row, mask)) for row in self.rows)
        return Table(tuple(compress(self.columns, mask)), rows)


_Definitions = Sequence[tuple[Column, Callable[[_Source], Value]]]


def cell_table(frontiers: Iterable[Frontier]) -> Table:
    """One row a cell, dense first within each (dataset, recognizer)."""
    rows = [
        _CellRow(cell, pareto)
        for frontier in frontiers
        for cell, pareto in zip(frontier.cells, frontier.pareto, strict=True)
    ]
    return _filled(_CELL, rows)


def comparison_table(frontiers: Iterable[Frontier], subject: str = SUBJECT) -> Table:
    """One row a comparison of the subject with another method; see `comparisons`."""
    return _filled(
        _COMPARISON, [row for frontier in frontiers for row in comparisons(frontier, subject)]
    )


def hypervolume_table(frontiers: Iterable[Frontier]) -> Table:
    """One row a method that is not dense: the area that its points dominate, in [0, 1]."""
    rows = [
        _MethodRow(frontier, method, hypervolume_over_seeds(frontier, method))
        for frontier in frontiers
        for method in frontier.methods
        if frontier.dense is None or method != frontier.dense.method
    ]
    return _filled(_HYPERVOLUME, rows)


class _CellRow(NamedTuple):
    cell: Cell
    pareto: bool


class _MethodRow(NamedTuple):
    frontier: Frontier
    method: str
    over_seeds: Estimate | None


def _filled(definitions: _Definitions[_Source], sources: Iterable[_Source]) -> Table:
    rows = tuple(tuple(value(source) for _, value in definitions) for source in sources)
    return Table(tuple(column for column, _ in definitions), rows)


def _mean(measure: Callable[[Record], float | None]) -> Callable[[_CellRow], Value]:
    return lambda row: row.cell.mean(measure)


def _accuracy(part: Callable[[Estimate], float | None]) -> Callable[[_CellRow], Value]:
    return lambda row: part(row.cell.accuracy) if row.cell.accuracy else None


def _gmacs(part: Callable[[Estimate], float | None]) -> Callable[[_CellRow], Value]:
    return lambda row: _giga(part(row.cell.macs)) if row.cell.macs else None


def _over_seeds(part: Callable[[Estimate], float | None]) -> Callable[[_MethodRow], Value]:
    return lambda row: part(row.over_seeds) if row.over_seeds else None


def _giga(macs: float | None) -> float | None:
    return None if macs is None else macs / GIGA


_CELL: _Definitions[_CellRow] = (
    (Column("dataset", "dataset", is_narrow=True), lambda row: row.cell.dataset),
    (Column("recognizer", "recognizer", is_narrow=True), lambda row: row.cell.recognizer),
    (Column("method", "method", is_narrow=True), lambda row: row.cell.method),
    (Column("budget", "budget", 2, is_narrow=True), lambda row: row.cell.budget),
    (Column("executed_gmacs", "GMACs", 3, is_narrow=True), _gmacs(lambda e: e.mean)),
    (Column("executed_gmacs_sd", "sd of GMACs", 3), _gmacs(lambda e: e.sd)),
    (
        Column("executed_share", "% of dense", 1, 100, is_narrow=True),
        lambda row: row.cell.share,
    ),
    (
        Column("gate_gmacs", "GMACs in gates", 4),
        _mean(lambda r: _giga(r.macs.gate if r.macs else None)),
    ),
    (Column("accuracy_top1", "top-1 %", 1, 100, is_narrow=True), _accuracy(lambda e: e.mean)),
    (Column("interval_low", "95 % from", 1, 100, is_narrow=True), _accuracy(lambda e: e.low)),
    (Column("interval_high", "to", 1, 100, is_narrow=True), _accuracy(lambda e: e.high)),
    (Column("accuracy_top1_sd", "sd", 1, 100), _accuracy(lambda e: e.sd)),
    (
        Column("accuracy_top5", "top-5 %", 1, 100),
        _mean(lambda r: r.accuracy.top5 if r.accuracy else None),
    ),
    (
        Column("accuracy_mean_class", "mean class %", 1, 100),
        _mean(lambda r: r.accuracy.mean_class if r.accuracy else None),
    ),
    (Column("n", "n", is_narrow=True), lambda row: row.cell.n),
    (Column("n_infeasible", "over budget", is_narrow=True), lambda row: row.cell.num_infeasible),
    (Column("n_failed", "failed", is_narrow=True), lambda row: len(row.cell.failed)),
    (
        Column("latency_ms", "ms a clip", 2, is_narrow=True),
        _mean(lambda r: r.latency.ms_p50 if r.latency else None),
    ),
    (
        Column("latency_dense_ms", "dense ms a clip", 2),
        _mean(lambda r: r.latency.dense_ms_p50 if r.latency else None),
    ),
    (Column("rho", "rho", 2), _mean(realised_saving)),
    (
        Column("latency_engine_ms", "ms in the engine", 2),
        _mean(lambda r: r.latency.engine_ms_p50 if r.latency else None),
    ),
    (
        Column("latency_engine_dense_ms", "dense ms in the engine", 2),
        _mean(lambda r: r.latency.engine_dense_ms_p50 if r.latency else None),
    ),
    (Column("rho_engine", "rho in the engine", 2, is_narrow=True), _mean(engine_saving)),
    (Column("train_time_s", "training s", 1), _mean(lambda r: r.train_time_s)),
    (Column("num_params", "parameters"), _mean(lambda r: r.num_params)),
    (Column("pareto", "frontier", is_narrow=True), lambda row: row.pareto),
)

_COMPARISON: _Definitions[Comparison] = (
    (Column("dataset", "dataset", is_narrow=True), lambda c: c.subject.dataset),
    (Column("recognizer", "recognizer", is_narrow=True), lambda c: c.subject.recognizer),
    (Column("budget", "budget", 2, is_narrow=True), lambda c: c.subject.budget),
    (Column("method", "method", is_narrow=True), lambda c: c.subject.method),
    (Column("other", "compared with", is_narrow=True), lambda c: c.other.method),
    (Column("executed_share", "% of dense", 1, 100, is_narrow=True), lambda c: c.subject.share),
    (Column("other_executed_share", "its %", 1, 100, is_narrow=True), lambda c: c.other.share),
    (
        Column("accuracy_top1_difference", "difference, points", 1, 100, is_narrow=True),
        lambda c: c.difference.mean if c.difference.n else None,
    ),
    (Column("interval_low", "95 % from", 1, 100, is_narrow=True), lambda c: c.difference.low),
    (Column("interval_high", "to", 1, 100, is_narrow=True), lambda c: c.difference.high),
    (Column("p_value", "p", 3), lambda c: c.difference.p_value),
    (Column("p_value_holm", "p (Holm)", 3, is_narrow=True), lambda c: c.p_adjusted),
    (Column("n_pairs", "pairs", is_narrow=True), lambda c: c.difference.n),
    (Column("n_unpaired", "unpaired seeds"), lambda c: len(c.difference.unpaired_seeds)),
    (Column("verdict", "verdict", is_narrow=True), lambda c: c.verdict),
)

_HYPERVOLUME: _Definitions[_MethodRow] = (
    (Column("dataset", "dataset", is_narrow=True), lambda row: row.frontier.dataset),
    (Column("recognizer", "recognizer", is_narrow=True), lambda row: row.frontier.recognizer),
    (Column("method", "method", is_narrow=True), lambda row: row.method),
    (
        Column("hypervolume", "hypervolume", 3, is_narrow=True),
        lambda row: row.frontier.hypervolume(row.method),
    ),
    (Column("seeds_mean", "mean of seeds", 3, is_narrow=True), _over_seeds(lambda e: e.mean)),
    (Column("interval_low", "95 % from", 3, is_narrow=True), _over_seeds(lambda e: e.low)),
    (Column("interval_high", "to", 3, is_narrow=True), _over_seeds(lambda e: e.high)),
    (Column("n", "n", is_narrow=True), _over_seeds(lambda e: e.n)),
)
