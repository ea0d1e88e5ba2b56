"""Surroundings: where the trials ran and how, where they differ in it, and what they warned of."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .record import Record

MAX_VALUES = 12
MAX_NOTES = 200


class Fact(NamedTuple):
    """One thing about the trials: its values, the commonest first, each with its trials' number."""

    name: str
    values: tuple[tuple[str, int], ...]
    num_values: int

    @property
    def differs(self) -> bool:
        """Whether not all trials are alike in it."""
        return self.num_values > 1


class Note(NamedTuple):
    """What trials warned of, and how many of them."""

    text: str
    num_trials: int


def environment(records: Sequence[Record]) -> list[Fact]:
    """Versions, devices, code revisions and the clips' digests."""
    return _facts([_environment(record) for record in records])


def recipe(records: Sequence[Record]) -> list[Fact]:
    """How the trials trained and were timed; methods' own settings are not part of it."""
    return _facts([_recipe(record) for record in records])


def notes(records: Sequence[Record]) -> tuple[list[Note], int]:
    """What the trials warned of, the commonest first, and how many more there are."""
    texts = Counter(text for record in records for text in dict.fromkeys(_warnings(record)))
    ordered = [Note(text, n) for text, n in texts.most_common()]
    return ordered[:MAX_NOTES], max(0, len(ordered) - MAX_NOTES)


def _environment(record: Record) -> dict[str, str]:
    facts = {"code revision": record.code_revision or "unknown"}
    if record.manifest_digest:
        facts[f"clips of {record.dataset}"] = record.manifest_digest[:12]
    return facts | record.environment


def _recipe(record: Record) -> dict[str, str]:
    facts = {"scale": record.trial.get("scale"), **_mapping(record.trial.get("recipe"))}
    if record.latency:
        facts["timed repeats"] = record.latency.num_repeats
        facts["timed threads"] = record.latency.num_threads
    return {name: str(value) for name, value in facts.items() if value is not None}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _facts(of_trials: Iterable[Mapping[str, str]]) -> list[Fact]:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for facts in of_trials:
        for name, value in facts.items():
            counts[name][value] += 1
    return [
        Fact(name, tuple(values.most_common(MAX_VALUES)), len(values))
        for name, values in counts.items()
    ]


def _warnings(record: Record) -> Iterable[str]:
    yield from record.warnings
    if record.unreadable_clips:
        shown = ", ".join(record.unreadable_clips[:5])
        more = ", ..." if len(record.unreadable_clips) > 5 else ""
        yield f"{len(record.unreadable_clips)} unreadable clips: {shown}{more}"
    if record.budget_status == "infeasible" and record.macs and record.budget is not None:
        yield (
            f"over budget: {record.recognizer} {record.method} at {record.budget:g} on "
            f"{record.dataset} reached {record.macs.share:.3f}"
        )
