"""Rivals: where the method beats each baseline at its budget, and where not, in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .stats import CANNOT
from .tables import Table, Value

MAX_TOLD = 20
"""Pairs of methods told one by one; of more only the number is told."""

_MAX_NAMED = 4
_Row = dict[str, Value]


def rivals_told(table: Table) -> list[str]:
    """One sentence a pair of methods, from the comparisons over all data sets and recognizers."""
    pairs: dict[tuple[Value, Value], list[_Row]] = {}
    for values in table.rows:
        row = dict(zip([column.name for column in table.columns], values, strict=True))
        pairs.setdefault((row["method"], row["other"]), []).append(row)
    told = [_sentence(*pair, rows) for pair, rows in pairs.items()]
    more = len(told) - MAX_TOLD
    return told if more <= 0 else [*told[:MAX_TOLD], f"and {more} more pairs of methods."]


def _sentence(method: Value, other: Value, rows: Sequence[_Row]) -> str:
    return f"{method} against {other}: {'; '.join(_parts(rows))}."


def _parts(rows: Sequence[_Row]) -> Iterator[str]:
    yield _named("more accurate", [row for row in rows if row["verdict"] == "higher"])
    yield _named("less accurate", [row for row in rows if row["verdict"] == "lower"])
    open_ones = [row for row in rows if row["verdict"] not in ("higher", "lower")]
    undecidable = [row for row in open_ones if str(row["verdict"]).startswith(CANNOT)]
    if undecided := [row for row in open_ones if row not in undecidable]:
        yield _named("no difference shown", undecided)
    if undecidable:
        yield f"{_named('too few seeds to say', undecidable)}, {_leaning(undecidable)}"


def _named(what: str, rows: Sequence[_Row]) -> str:
    if not rows:
        return f"{what} nowhere"
    names = ", ".join(_place(row) for row in rows[:_MAX_NAMED])
    more = f" and {len(rows) - _MAX_NAMED} more" if len(rows) > _MAX_NAMED else ""
    return f"{what} in {len(rows)} ({names}{more})"


def _place(row: _Row) -> str:
    budget = "" if row["budget"] is None else f" at {row['budget']:g}"
    points = row["accuracy_top1_difference"]
    gain = "" if points is None else f": {100 * float(points):+.1f}"
    return f"{row['recognizer']} on {row['dataset']}{budget}{gain}"


def _leaning(rows: Sequence[_Row]) -> str:
    """What the means would say, were they to be believed."""
    means = [float(row["accuracy_top1_difference"] or 0) for row in rows]
    higher, lower = sum(mean > 0 for mean in means), sum(mean < 0 for mean in means)
    return f"the mean is higher in {higher}, lower in {lower}"
