"""Regression: a sweep's records against a committed one's, cell by cell, paired by seed.

What is asked of each cell: is it as accurate, does it execute as little, does it keep its budget?
A change counts as one where sign flips tell it from noise, over the cells together (Holm). Few
seeds cannot show that of one cell, so all cells are tested together as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

from .frontier import Cell
from .record import Record
from .stats import PairedDifference, holm, paired_differences, verdict

ALL = "all cells together"
THE_SAME = "the same"
_Key = tuple[str, str, str, float | None]


@dataclass(frozen=True)
class Measure:
    """One thing that may have changed. `sign` is 1 where more is better, -1 where less is."""

    name: str
    unit: str
    scale: float
    sign: int
    value: Callable[[Record], float | None]


def _accuracy(record: Record) -> float | None:
    return record.accuracy.top1 if record.accuracy else None


def _share(record: Record) -> float | None:
    return record.macs.share if record.macs else None


def _within_budget(record: Record) -> float | None:
    status = record.budget_status
    return None if status is None else float(status != "infeasible")


MEASURES = (
    Measure("accuracy", "points", 100, 1, _accuracy),
    Measure("executed share", "points", 100, -1, _share),
    Measure("within budget", "% of seeds", 100, 1, _within_budget),
)


@dataclass(frozen=True)
class Change:
    """One measure of one cell, new minus committed."""

    cell: str
    measure: Measure
    difference: PairedDifference
    p_adjusted: float | None
    verdict: str
    """As in the table of comparisons: higher, lower, no difference shown, or why none can be."""

    @property
    def is_regression(self) -> bool:
        """Whether it is worse than before, beyond noise."""
        return self.verdict == ("lower" if self.measure.sign > 0 else "higher")

    @property
    def is_improvement(self) -> bool:
        """Whether it is better than before, beyond noise."""
        return self.verdict == ("higher" if self.measure.sign > 0 else "lower")


@dataclass(frozen=True)
class Regression:
    """What became of every cell. Every cell of either side is in `changes` or named as missing."""

    changes: tuple[Change, ...]
    missing: tuple[str, ...]
    """Cells of the committed records that the new ones lack."""
    added: tuple[str, ...]
    """Cells that only the new records have."""
    newly_failed: tuple[str, ...]
    """Trials without figures, of which the committed records have some."""
    num_pairs: int
    num_same_trials: int
    """Pairs of records of the very same trial: the others differ in recipe, settings or clips."""

    @property
    def regressed(self) -> bool:
        """Whether anything is worse beyond noise, or failed that had figures."""
        return bool(self.newly_failed) or any(change.is_regression for change in self.changes)


def compare(new: Sequence[Cell], committed: Sequence[Cell]) -> Regression:
    """Compare cells of the same data set, recognizer, method and budget."""
    fresh, known = ({_key(cell): cell for cell in cells} for cells in (new, committed))
    both = [(fresh[key], known[key]) for key in known if key in fresh]
    pairs = [(_keys(one), _keys(two)) for one, two in both]
    return Regression(
        changes=tuple(_changes(both)),
        missing=tuple(name(cell) for key, cell in known.items() if key not in fresh),
        added=tuple(name(cell) for key, cell in fresh.items() if key not in known),
        newly_failed=tuple(chain.from_iterable(_newly_failed(*pair) for pair in both)),
        num_pairs=sum(len(one.keys() & two.keys()) for one, two in pairs),
        num_same_trials=sum(
            one[seed] == two[seed] for one, two in pairs for seed in one.keys() & two.keys()
        ),
    )


def name(cell: Cell) -> str:
    """A cell's name: data set, recognizer, method and budget."""
    budget = "" if cell.budget is None else f" at {cell.budget:g}"
    return f"{cell.dataset}, {cell.recognizer}, {cell.method}{budget}"


def _key(cell: Cell) -> _Key:
    return cell.dataset, cell.recognizer, cell.method, cell.budget


def _keys(cell: Cell) -> dict[int, str]:
    return {run.seed: run.key for run in cell.runs}


def _newly_failed(new: Cell, committed: Cell) -> list[str]:
    had_figures = {run.seed for run in committed.runs}
    return [f"{name(new)}, seed {run.seed}" for run in new.failed if run.seed in had_figures]


_Pair = tuple[dict[int, float], dict[int, float]]


def _changes(both: Sequence[tuple[Cell, Cell]]) -> list[Change]:
    found = []
    for measure in MEASURES:
        valued = [
            (name(new), (_by_seed(new, measure), _by_seed(committed, measure)))
            for new, committed in both
        ]
        told = [(cell, pair) for cell, pair in valued if pair[0] or pair[1]]
        if told:
            found += _tested(measure, [(ALL, _pooled([pair for _, pair in told]))])
            found += _tested(measure, told)
    return found


def _by_seed(cell: Cell, measure: Measure) -> dict[int, float]:
    values = {run.seed: measure.value(run) for run in cell.runs}
    return {seed: value for seed, value in values.items() if value is not None}


def _pooled(pairs: Sequence[_Pair]) -> _Pair:
    """All pairs of values as if of one cell; only that they are pairs matters."""
    paired = [(one[seed], two[seed]) for one, two in pairs for seed in one.keys() & two.keys()]
    return dict(enumerate(one for one, _ in paired)), dict(enumerate(two for _, two in paired))


def _tested(measure: Measure, cells: Sequence[tuple[str, _Pair]]) -> list[Change]:
    differences = paired_differences([pair for _, pair in cells])
    tested = [i for i, difference in enumerate(differences) if difference.p_value is not None]
    adjusted = dict(zip(tested, holm([differences[i].p_value or 0.0 for i in tested]), strict=True))
    return [
        Change(
            cell=cell,
            measure=measure,
            difference=difference,
            p_adjusted=adjusted.get(i),
            verdict=_verdict(pair, difference, adjusted.get(i, 1.0), len(tested)),
        )
        for i, ((cell, pair), difference) in enumerate(zip(cells, differences, strict=True))
    ]


def _verdict(pair: _Pair, difference: PairedDifference, p: float, num_tested: int) -> str:
    one, two = pair
    common = one.keys() & two.keys()
    if common and all(one[seed] == two[seed] for seed in common):
        return THE_SAME
    return verdict(difference, p, num_tested)
