"""Frontier: from records to cells (means over seeds) and to the points that nothing dominates.

A cell is one (dataset, recognizer, method, budget). A point dominates another if it executes no
more MACs, is no less accurate, and is better in one of the two.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from .record import Record
from .stats import Estimate, mean_interval

DENSE = "dense"
"""Name of the method that is the unmodified recognizer."""

REFERENCE = (1.0, 0.0)
"""Hypervolume's reference point: all of the dense MACs, none of the accuracy."""

MIN_SAVING = 0.01
"""Saved share of the dense MACs below which the realised share of the saving is not given."""

_Key = TypeVar("_Key", bound=Hashable)
_Item = TypeVar("_Item")


def method_name(record: Record) -> str:
    """The method's name in the registry, which several labels may share; else its label."""
    return str(record.trial.get("method", {}).get("name", record.method))


def realised_saving(record: Record) -> float | None:
    """Rho: the share of the saved MACs that is saved time too, (1 - t/t_dense) / (1 - share).

    Both times are of recognizers as MMAction2 runs them; see `engine_saving`.
    `None` where latency was not measured, or so few MACs are saved that rho would be noise.
    """
    if record.latency is None or record.macs is None:
        return None
    saving = 1 - record.macs.share
    if saving < MIN_SAVING:
        return None
    return (1 - record.latency.ms_p50 / record.latency.dense_ms_p50) / saving


def engine_saving(record: Record) -> float | None:
    """Rho with both times of the inference engine; `None` also where it was not timed there."""
    latency = record.latency
    if latency is None or record.macs is None or 1 - record.macs.share < MIN_SAVING:
        return None
    if latency.engine_ms_p50 is None or latency.engine_dense_ms_p50 is None:
        return None
    return (1 - latency.engine_ms_p50 / latency.engine_dense_ms_p50) / (1 - record.macs.share)


@dataclass(frozen=True)
class Cell:
    """The trials of one (dataset, recognizer, method, budget), which differ in their seed.

    `runs` have accuracy and MACs, and are in the order of their seeds; `failed` have not. Every
    mean is over `runs` alone, and is `None` where there are none.
    """

    dataset: str
    recognizer: str
    method: str
    budget: float | None
    is_dense: bool
    runs: tuple[Record, ...]
    failed: tuple[Record, ...] = ()

    @cached_property
    def accuracy(self) -> Estimate | None:
        """Top-1 accuracy in [0, 1]."""
        return _estimate([run.accuracy.top1 for run in self.runs if run.accuracy])

    @cached_property
    def macs(self) -> Estimate | None:
        """Executed MACs a clip, each seed's already a mean over the validation clips."""
        return _estimate([run.macs.mean for run in self.runs if run.macs])

    @cached_property
    def share(self) -> float | None:
        """Executed MACs as a share of the dense recognizer's."""
        return self.mean(lambda run: run.macs.share if run.macs else None)

    @property
    def n(self) -> int:
        """How many seeds the means are over."""
        return len(self.runs)

    @property
    def num_infeasible(self) -> int:
        """How many seeds did not get down to the budget. Their points stand where they are."""
        return sum(run.budget_status == "infeasible" for run in self.runs)

    def mean(self, measure: Callable[[Record], float | None]) -> float | None:
        """Mean of a measurement over the runs that have it; `None` where none has."""
        found = [value for run in self.runs if (value := measure(run)) is not None]
        return statistics.fmean(found) if found else None

    def accuracy_by_seed(self) -> dict[int, float]:
        """Top-1 accuracy in [0, 1] of each seed."""
        return {run.seed: run.accuracy.top1 for run in self.runs if run.accuracy}


@dataclass(frozen=True)
class Frontier:
    """All cells of one (dataset, recognizer), and which of them nothing dominates.

    `cells` are in the order of a table: dense first, then method by method from the largest budget
    down. `pareto` has one entry a cell; a cell without figures is never on the frontier.
    """

    dataset: str
    recognizer: str
    cells: tuple[Cell, ...]
    pareto: tuple[bool, ...]

    @property
    def dense(self) -> Cell | None:
        """The unmodified recognizer's cell, if the sweep has it."""
        return next((cell for cell in self.cells if cell.is_dense), None)

    @property
    def dense_macs(self) -> int | None:
        """MACs of the dense recognizer; `None` if the records do not agree on one number."""
        numbers = {run.macs.dense for cell in self.cells for run in cell.runs if run.macs}
        return numbers.pop() if len(numbers) == 1 else None

    @property
    def methods(self) -> tuple[str, ...]:
        """Labels of the methods, in the order of the cells."""
        return tuple(dict.fromkeys(cell.method for cell in self.cells))

    def hypervolume(self, method: str | None = None) -> float:
        """Hypervolume of all points, or of one method's, in [0, 1] against `REFERENCE`."""
        chosen = [cell for cell in self.cells if method is None or cell.method == method]
        return hypervolume(
            [(c.share, c.accuracy.mean) for c in chosen if c.share is not None and c.accuracy]
        )


def frontiers(records: Iterable[Record]) -> list[Frontier]:
    """One frontier for each (dataset, recognizer), in the order in which the records name them.

    Raises:
        ValueError: two different trials have one cell and one seed, so labels do not tell them
            apart.
    """
    by_panel = _grouped(cells(records), lambda cell: (cell.dataset, cell.recognizer))
    return [_frontier(dataset, name, group) for (dataset, name), group in by_panel.items()]


def cells(records: Iterable[Record]) -> list[Cell]:
    """Records grouped by what they share but for the seed, in the order of appearance.

    A record that is given twice counts once.

    Raises:
        ValueError: two different trials have one cell and one seed.
    """
    unique = {record.key: record for record in records}.values()
    groups = _grouped(unique, lambda r: (r.dataset, r.recognizer, r.method, r.budget))
    return [_cell(group) for group in groups.values()]


def non_dominated(points: Sequence[tuple[float, float]]) -> list[bool]:
    """For each (MACs, accuracy) whether no other point dominates it; equal points stand together.

    Sorts by MACs, the more accurate first, and keeps what beats the best accuracy so far.
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    mask = [False] * len(points)
    best: tuple[float, float] | None = None
    for index in order:
        if best is None or points[index][1] > best[1] or points[index] == best:
            mask[index] = True
            best = points[index]
    return mask


def hypervolume(points: Sequence[tuple[float, float]]) -> float:
    """Area that (MACs share, accuracy) points dominate within the unit square, in [0, 1].

    The reference point is (1, 0): a point that saves nothing, or gets nothing right, adds nothing.
    So the dense recognizer adds nothing either, and a method is measured by what it saves.
    """
    if not points:
        return 0.0
    import moocore

    return float(moocore.hypervolume(points, ref=REFERENCE, maximise=[False, True]))


def _estimate(values: Sequence[float]) -> Estimate | None:
    return mean_interval(values) if values else None


def _grouped(items: Iterable[_Item], key: Callable[[_Item], _Key]) -> dict[_Key, list[_Item]]:
    groups: defaultdict[_Key, list[_Item]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups


def _cell(records: Sequence[Record]) -> Cell:
    _check_seeds_differ(records)
    ordered = sorted(records, key=lambda record: record.seed)
    first = ordered[0]
    return Cell(
        dataset=first.dataset,
        recognizer=first.recognizer,
        method=first.method,
        budget=first.budget,
        is_dense=method_name(first) == DENSE,
        runs=tuple(r for r in ordered if _has_figures(r)),
        failed=tuple(r for r in ordered if not _has_figures(r)),
    )


def _has_figures(record: Record) -> bool:
    return record.accuracy is not None and record.macs is not None


def _check_seeds_differ(records: Sequence[Record]) -> None:
    for seed, group in _grouped(records, lambda record: record.seed).items():
        if len(group) > 1:
            r = group[0]
            raise ValueError(
                f"Labels must tell trials apart, but trials {', '.join(g.key for g in group)} are "
                f"all {r.dataset} / {r.recognizer} / {r.method} at budget {r.budget}, seed {seed}."
            )


def _frontier(dataset: str, recognizer: str, group: Sequence[Cell]) -> Frontier:
    rank = {method: i for i, method in enumerate(dict.fromkeys(cell.method for cell in group))}
    ordered = sorted(
        group, key=lambda c: (not c.is_dense, rank[c.method], -(c.budget or float("inf")))
    )
    points = {
        i: (cell.macs.mean, cell.accuracy.mean)
        for i, cell in enumerate(ordered)
        if cell.macs and cell.accuracy
    }
    kept = dict(zip(points, non_dominated(list(points.values())), strict=True))
    pareto = tuple(kept.get(i, False) for i in range(len(ordered)))
    return Frontier(dataset, recognizer, tuple(ordered), pareto)
