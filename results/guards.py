"""Guards: figures that are too good to be believed before somebody has said how they came about.

Each flag is a sentence with the figures. A flag is a reason to look, not a verdict: it stays in
every form of the report until it is explained.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .frontier import Cell, Frontier, method_name
from .record import Record

NUM_STANDARD_ERRORS = 3.0
"""An accuracy further above dense than this many standard errors of the difference is flagged."""

CEILING_ORDER_ONLY = 0.50
"""What a recognizer blind to order can reach where every clip comes forwards and backwards."""

CEILING_REENCODED = 0.55
"""The same where the reversed clips were encoded a second time, which gives them away a little."""

BLIND_TO_ORDER = "tsn"
_TOLERANCE = 1e-6
"""Of a share that is a mean of floats."""


class Flag(NamedTuple):
    """Something too good: `name` is what an explanation refers to."""

    name: str
    guard: str
    sentence: str


def flags(frontiers: Iterable[Frontier]) -> list[Flag]:
    """Everything that is too good, panel by panel and cell by cell."""
    return [flag for panel in frontiers for flag in _of_panel(panel)]


def _of_panel(panel: Frontier) -> Iterator[Flag]:
    for cell in panel.cells:
        yield from _above_dense(cell, panel.dense)
        yield from _below_the_floor(cell)
        yield from _identical_seeds(cell)
        yield from _above_the_ceiling(cell)
        yield from _engine_disagrees(cell)


def _flag(cell: Cell, kind: str, guard: str, sentence: str) -> Flag:
    budget = () if cell.budget is None else (f"{cell.budget:g}",)
    parts = (kind, cell.dataset, cell.recognizer, cell.method, *budget)
    return Flag("/".join(parts), guard, f"{place(cell)}: {sentence}")


def place(cell: Cell) -> str:
    """Names a cell: method, budget, recognizer and data set."""
    budget = "" if cell.budget is None else f" at {cell.budget:g}"
    return f"{cell.method}{budget}, {cell.recognizer} on {cell.dataset}"


def _above_dense(cell: Cell, dense: Cell | None) -> Iterator[Flag]:
    if dense is None or cell.is_dense:
        return
    own, its = cell.accuracy_by_seed(), dense.accuracy_by_seed()
    gains = [own[seed] - its[seed] for seed in sorted(own.keys() & its.keys())]
    if len(gains) < 2:
        return
    mean = statistics.fmean(gains)
    error = statistics.stdev(gains) / math.sqrt(len(gains))
    if mean > _TOLERANCE and mean > NUM_STANDARD_ERRORS * error:
        yield _flag(
            cell,
            "above-dense",
            "Less work is not far more accurate than all of it",
            f"{100 * mean:.1f} points above dense, more than {NUM_STANDARD_ERRORS:g} standard "
            f"errors of the difference paired by seed, {100 * error:.2f} points (n = {len(gains)})",
        )


def _below_the_floor(cell: Cell) -> Iterator[Flag]:
    found = [(run, below) for run in cell.runs if (below := _shortfall(run))]
    if found:
        seeds = ", ".join(str(run.seed) for run, _ in found)
        guard = "Nothing executes less than its gates can reach"
        yield _flag(cell, "below-floor", guard, f"{found[0][1]}; so seed {seeds}")


def _shortfall(record: Record) -> str:
    """What of a record lies below the gates' reach, and by what reasoning; "" if nothing does."""
    factors = _factors(_settings(record, "method"))
    if record.macs is None or not factors:
        return ""
    floor = math.prod(1 / factor for factor in factors.values())
    executed = min(record.macs.min, record.macs.mean) / record.macs.dense
    if executed < floor - _TOLERANCE:
        basis = " and ".join(f"{axis} by {factor} at most" for axis, factor in factors.items())
        return (
            f"{100 * executed:.2f} % of dense executed, below {100 * floor:.2f} %, which would be "
            f"left with every layer reduced, gates free of charge ({basis})"
        )
    return _layer_shortfall(record, factors)


def _layer_shortfall(record: Record, factors: Mapping[str, int]) -> str:
    measured = {"channel": "channels", "time": "frames"}
    for layer, route in record.routes.items():
        for axis, name in measured.items():
            least = 1 / factors.get(axis, 1)
            if name in route and route[name] < least - _TOLERANCE:
                return (
                    f"layer {layer} computed {100 * route[name]:.2f} % of its {name}, and its "
                    f"gate can reduce them to {100 * least:g} %"
                )
    return ""


def _factors(settings: Mapping[str, Any]) -> dict[str, int]:
    """The largest factor of each axis that a method's gates reduce; empty if it has none."""
    axes = settings.get("axes")
    if not isinstance(axes, Sequence) or isinstance(axes, str):
        return {}
    largest = 4 if settings.get("search_space") == 3 else 2
    return {str(axis): largest for axis in axes}


def _identical_seeds(cell: Cell) -> Iterator[Flag]:
    groups: dict[tuple[Any, ...], list[int]] = {}
    for run in cell.runs:
        groups.setdefault(_figures(run), []).append(run.seed)
    for figures, seeds in groups.items():
        if len(seeds) > 1:
            same_learning = "" if figures[-1] is None else ", and the same losses in every epoch"
            yield _flag(
                cell,
                f"identical-{'-'.join(map(str, seeds))}",
                "Another seed is another training",
                f"seeds {', '.join(map(str, seeds))} have the same accuracy, "
                f"{100 * figures[0]:.2f} %, and the same executed MACs, {figures[1]:.6g}"
                f"{same_learning}",
            )


def _figures(run: Record) -> tuple[Any, ...]:
    """What two trainings do not share by chance.

    Where all clips cost the same the MACs are the method's, whatever the seed, and an accuracy of
    100 % is soon shared: there the losses must be the same too.
    """
    if run.accuracy is None or run.macs is None:
        raise ValueError(f"Only runs with figures can be told apart, but {run.key} has none.")
    figures = run.accuracy.top1, run.macs.mean
    if run.macs.min < run.macs.max:
        return (*figures, None)
    return (*figures, tuple(str(epoch.get("loss")) for epoch in run.history))


def _above_the_ceiling(cell: Cell) -> Iterator[Flag]:
    found = [(run, top) for run in cell.runs if (top := _ceiling(run)) is not None]
    over = [(run, top) for run, top in found if run.accuracy and run.accuracy.top1 > top]
    if not over:
        return
    best = max(run.accuracy.top1 for run, _ in over if run.accuracy)
    ceiling = over[0][1]
    seeds = ", ".join(str(run.seed) for run, _ in over)
    hint = "" if all(_keeps_blind(run) for run, _ in over) else _SEES_ORDER
    yield _flag(
        cell,
        "above-ceiling",
        "A recognizer blind to order cannot tell a clip from its reverse",
        f"{100 * best:.1f} % is above {100 * ceiling:g} %, the ceiling where only order tells "
        f"the classes apart (seed {seeds}){hint}",
    )


_SEES_ORDER = (
    "; its record does not say `keep: mirrored`, and gates on time that keep the first frame of "
    "a group do see order"
)


def _ceiling(record: Record) -> float | None:
    settings = _settings(record, "dataset")
    task = _part(record, "dataset").get("name"), settings.get("task")
    if task != ("weizmann", "phase") or _part(record, "recognizer").get("name") != BLIND_TO_ORDER:
        return None
    return CEILING_ORDER_ONLY if settings.get("reversed_in_memory", True) else CEILING_REENCODED


def _keeps_blind(record: Record) -> bool:
    settings = _settings(record, "method")
    return method_name(record) != "vared" or settings.get("keep") == "mirrored"


def _engine_disagrees(cell: Cell) -> Iterator[Flag]:
    found = [
        (run.seed, run.engine) for run in cell.runs if run.engine and run.engine.num_disagreeing
    ]
    if found:
        told = ", ".join(
            f"{check.num_disagreeing} of {check.num_clips} clips (seed {seed})"
            for seed, check in found
        )
        worst = max(check.worst_difference for _, check in found)
        yield _flag(
            cell,
            "engine",
            "The inference engine predicts what the evaluation does",
            f"another prediction for {told}; the worst difference of scores is {worst:.2g}",
        )


def _part(record: Record, name: str) -> Mapping[str, Any]:
    part = record.trial.get(name)
    return part if isinstance(part, Mapping) else {}


def _settings(record: Record, name: str) -> Mapping[str, Any]:
    settings = _part(record, name).get("settings")
    return settings if isinstance(settings, Mapping) else {}
