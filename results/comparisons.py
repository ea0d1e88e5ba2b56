"""Comparisons: one method against every other at the same budget, paired by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .frontier import Cell, Frontier, method_name
from .record import Record
from .stats import PairedDifference, holm, paired_differences, verdict

SUBJECT = "vared"
"""Name of the method that the others are compared with unless the caller says otherwise."""


@dataclass(frozen=True)
class Comparison:
    """One cell of the subject against one of another method.

    `p_adjusted` is Holm's, over all comparisons of the same frontier: the claim a reader takes
    away is about the panel, not about one of its points. `None` where no seed is in common.
    """

    subject: Cell
    other: Cell
    difference: PairedDifference
    """In top-1 accuracy, subject minus other."""
    p_adjusted: float | None
    verdict: str


def comparisons(frontier: Frontier, subject: str = SUBJECT) -> list[Comparison]:
    """Every cell of the subject against each other method's at its budget, and against dense.

    Args:
        frontier: the cells of one (dataset, recognizer).
        subject: a method's name, or the label of one of its variants. Variants of one name are
            not compared with each other unless a label is given.

    Returns:
        The comparisons in the order of the cells; none if the frontier lacks the subject.
    """
    pairs = _pairs(frontier, subject)
    differences = paired_differences(
        [(one.accuracy_by_seed(), two.accuracy_by_seed()) for one, two in pairs]
    )
    tested = [i for i, difference in enumerate(differences) if difference.p_value is not None]
    p_values = [p for i in tested if (p := differences[i].p_value) is not None]
    adjusted = dict(zip(tested, holm(p_values), strict=True))
    return [
        Comparison(
            subject=one,
            other=two,
            difference=difference,
            p_adjusted=adjusted.get(i),
            verdict=verdict(difference, adjusted.get(i, 1.0), num_comparisons=len(tested)),
        )
        for i, ((one, two), difference) in enumerate(zip(pairs, differences, strict=True))
    ]


def _pairs(frontier: Frontier, subject: str) -> list[tuple[Cell, Cell]]:
    subjects = [cell for cell in frontier.cells if _is_of(cell, subject)]
    others = [cell for cell in frontier.cells if not _is_of(cell, subject)]
    return [
        (one, two) for one in subjects for two in others if two.is_dense or two.budget == one.budget
    ]


def _is_of(cell: Cell, subject: str) -> bool:
    return subject in (cell.method, *(method_name(record) for record in _records(cell)))


def _records(cell: Cell) -> Sequence[Record]:
    return cell.runs + cell.failed
