"""Overview: a sweep in one paragraph of plain words, computed from its cells and comparisons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from .content import Content
from .frontier import Cell, Frontier
from .stats import ALPHA, CANNOT
from .tables import Table, Value

_MAX_NAMED = 6
"""Significant differences told one by one; of more only the number is told."""


def overview(content: Content) -> list[str]:
    """The paragraph's sentences: what was compared and saved, what is real, what broke."""
    cells = [cell for panel in content.frontiers for cell in panel.cells]
    methods = dict.fromkeys(cell.method for cell in cells if not cell.is_dense)
    return [
        _compared(content, cells),
        *filter(None, (_saved(content.frontiers, method) for method in methods)),
        *_significant(content.comparisons),
        _broken(content, cells),
    ]


def listed(names: Iterable[str]) -> str:
    """Names as a sentence lists them: a, b and c."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _compared(content: Content, cells: Sequence[Cell]) -> str:
    methods = listed(dict.fromkeys(cell.method for cell in cells))
    recognizers = listed(dict.fromkeys(panel.recognizer for panel in content.frontiers))
    datasets = listed(dict.fromkeys(panel.dataset for panel in content.frontiers))
    budgets = [cell.budget for cell in cells if cell.budget is not None]
    many = "budgets of" if len(set(budgets)) > 1 else "a budget of"
    at = f", at {many} {_span(budgets, '{:g}')} of the dense multiply-adds" if budgets else ""
    seeds = _span([len(cell.runs) + len(cell.failed) for cell in cells], "{:d}")
    return (
        f"{_number(len(content.records), 'trial')} of {methods} with {recognizers} on "
        f"{datasets}{at}; {seeds} a cell."
    )


def _saved(frontiers: Sequence[Frontier], method: str) -> str:
    cells = [c for panel in frontiers for c in panel.cells if c.method == method and c.n]
    if not cells:
        return f"{method} has no figures."
    shares = [100 * cell.share for cell in cells if cell.share is not None]
    text = f"{method} executed {_span(shares, '{:.1f}')} % of the dense multiply-adds"
    if times := [ratio for cell in cells if (ratio := _time_ratio(cell)) is not None]:
        text += f" in {_span(times, '{:.2f}')} times the dense recognizer's time for a clip"
    if gains := _gains(frontiers, method):
        text += f"; its top-1 accuracy is {_span(gains, '{:+.1f}')} points from the dense one's"
    return f"{text}."


def _time_ratio(cell: Cell) -> float | None:
    return cell.mean(lambda r: r.latency.ms_p50 / r.latency.dense_ms_p50 if r.latency else None)


def _gains(frontiers: Sequence[Frontier], method: str) -> list[float]:
    return [
        100 * (cell.accuracy.mean - panel.dense.accuracy.mean)
        for panel in frontiers
        for cell in panel.cells
        if cell.method == method and cell.accuracy and panel.dense and panel.dense.accuracy
    ]


def _significant(table: Table) -> list[str]:
    if not table.rows:
        return []
    rows = [dict(zip([c.name for c in table.columns], row, strict=True)) for row in table.rows]
    hopeless = Counter(text for row in rows if (text := str(row["verdict"])).startswith(CANNOT))
    told = [f"{n} {text}, whatever the outcome." for text, n in hopeless.items()]
    total = _number(len(rows), "comparison")
    if list(hopeless.values()) == [len(rows)]:
        could = next(iter(hopeless)).removeprefix("cannot ")
        return [f"None of {total} by seed can {could}, whatever the outcome."]
    if hopeless.total() == len(rows):
        return [f"No difference can be shown to be real: of {total} by seed {' '.join(told)}"]
    shown = [row for row in rows if row["verdict"] in ("higher", "lower")]
    if not shown:
        return [f"None of {total} by seed shows a significant difference at {ALPHA:g}.", *told]
    named = "; ".join(_difference(row) for row in shown[:_MAX_NAMED])
    more = f"; and {len(shown) - _MAX_NAMED} more" if len(shown) > _MAX_NAMED else ""
    many = f"{len(shown)} show{'s' if len(shown) == 1 else ''} a difference"
    return [f"Of {total} by seed {many} significant at {ALPHA:g}: {named}{more}.", *told]


def _difference(row: dict[str, Value]) -> str:
    budget = "" if row["budget"] is None else f" at {row['budget']:g}"
    points = f"{100 * float(row['accuracy_top1_difference'] or 0):+.1f} points"
    where = f"{row['recognizer']} on {row['dataset']}"
    return f"{row['method']}{budget} is {row['verdict']} than {row['other']}, {where} ({points})"


def _broken(content: Content, cells: Sequence[Cell]) -> str:
    over = sum(cell.num_infeasible for cell in cells)
    parts = [
        f"{_number(len(content.failed), 'trial')} failed" if content.failed else "no trial failed",
        f"{over} stayed over budget" if over else "none stayed over its budget",
    ]
    if content.num_missing:
        parts.append(f"{content.num_missing} of the sweep have no record yet")
    sentence = listed(parts)
    return f"{sentence[0].upper()}{sentence[1:]}."


def _number(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _span(values: Sequence[float], form: str) -> str:
    low, high = form.format(min(values)), form.format(max(values))
    return low if low == high else f"{low} to {high}"
