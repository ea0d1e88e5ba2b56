"""The checklist of a bundle: artifact badges and reproducibility items, from facts only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from results.frontier import cells
from results.record import Record

from .checkout import Code
from .resolved import Resolved

Answer = Literal["yes", "no", "not known"]


class Item(NamedTuple):
    """One thing that is asked, the answer, and the fact behind it."""

    asked: str
    answer: Answer
    why: str


@dataclass(frozen=True)
class Facts:
    """What the answers are made from."""

    records: Sequence[Record]
    num_trials: int
    code: Code
    resolved: Resolved
    num_distributions: int
    num_weights: int


def checklist(facts: Facts) -> str:
    """Return the checklist as Markdown."""
    parts = [
        "# Checklist",
        "Filled in from the records and the files of this bundle; nothing is assumed.",
        "## ACM artifact badges, version 1.1",
        _table(_badges(facts)),
        "## Machine learning reproducibility checklist",
        _table([*_models(facts), *_data(facts), *_code(facts), *_results(facts)]),
    ]
    return "\n\n".join(parts) + "\n"


def _table(items: Iterable[Item]) -> str:
    rows = [f"| {item.asked} | {item.answer} | {item.why} |" for item in items]
    return "\n".join(["| asked | answer | why |", "| :--- | :--- | :--- |", *rows])


def _badges(facts: Facts) -> Iterator[Item]:
    done, total = len(facts.records), facts.num_trials
    whole: Answer = "yes" if done == total else "no"
    yield Item(
        "Available: in a public archive, with a DOI", "not known", "the harness deposits nothing"
    )
    told = (
        "REPRODUCE.md, and docs/ in code/source.tar" if facts.code.packed else "no source is packed"
    )
    yield Item("Functional: documented", "yes" if facts.code.packed else "no", told)
    yield Item("Functional: complete", whole, f"{done} of {total} trials have a record")
    yield Item("Functional: exercisable", "not known", "nobody has run this bundle elsewhere yet")
    yield Item("Reusable", "not known", "for others to judge")
    yield Item("Results reproduced by others", "not known", "no record of another lab is in it")


def _models(facts: Facts) -> Iterator[Item]:
    params = [r.num_params for r in facts.records if r.num_params is not None]
    verified = [r for r in facts.records if r.macs and r.macs.num_clips_verified]
    told = f"{min(params):,} to {max(params):,} parameters" if params else "no record has them"
    yield Item("Models: described, with size", "yes" if params else "no", told)
    yield Item(
        "Models: executed multiply-adds, checked by a second counter",
        "yes" if facts.records and len(verified) == len(facts.records) else "no",
        f"{len(verified)} of {len(facts.records)} records",
    )
    kept = f"runs/trials/*/weights.pth of {facts.num_weights} trials stay where they ran"
    yield Item("Models: trained weights", "no", kept if facts.num_weights else "none were kept")


def _data(facts: Facts) -> Iterator[Item]:
    digests = {record.manifest_digest for record in facts.records}
    known = all(digests)
    unreadable = sum(bool(record.unreadable_clips) for record in facts.records)
    yield Item(
        "Data: which clips, to the byte",
        "yes" if known else "no",
        f"digests over names, labels and content in data/manifests.json: {len(digests - {''})}",
    )
    yield Item("Data: names of the clips", "no", "records hold the digest, not the lists")
    yield Item("Data: the clips themselves", "no", "a bundle holds no clips")
    yield Item("Data: what was left out", "yes", f"{unreadable} records name unreadable clips")


def _code(facts: Facts) -> Iterator[Item]:
    yield Item("Code: the source", "yes" if facts.code.packed else "no", facts.code.sentence)
    modified = [name for name in facts.code.recorded if name.endswith("+")]
    unnamed = "" in facts.code.recorded
    answer: Answer = "no" if modified else "not known" if unnamed else "yes"
    why = (
        "a revision was modified, and how was not recorded"
        if modified
        else ("some records name no revision" if unnamed else "no record names a modified revision")
    )
    yield Item("Code: unmodified when the trials ran", answer, why)
    yield Item(
        "Code: dependencies with versions",
        "yes",
        f"environment/requirements.lock: {facts.num_distributions} installed where this was packed",
    )
    yield Item("Code: commands of training and evaluation", "yes", "REPRODUCE.md")
    yield Item(
        "Code: hyperparameters of every trial",
        "yes" if all(record.trial for record in facts.records) else "no",
        f"runs/trials/*/trial.json. {facts.resolved.note}",
    )


def _results(facts: Facts) -> Iterator[Item]:
    sizes = [len(cell.runs) + len(cell.failed) for cell in cells(facts.records)]
    most = max(sizes, default=0)
    failed = sum(record.status == "failed" for record in facts.records)
    timed = [r.train_time_s for r in facts.records if r.train_time_s is not None]
    hours = f"{sum(timed) / 3600:.1f} hours of training in {len(timed)} records"
    machines = sorted({_machine(record) for record in facts.records} - {""})
    yield Item(
        "Results: several runs, with seeds",
        "yes" if most > 1 else "no",
        f"{min(sizes, default=0)} to {most} seeds a cell",
    )
    yield Item(
        "Results: error bars, with their meaning",
        "yes" if most > 1 else "no",
        "95 % t-intervals over seeds; differences paired by seed, BCa and sign flips (table.md)",
    )
    yield Item("Results: failed runs reported", "yes", f"{failed} failed, kept as records")
    yield Item(
        "Results: how runs were selected", "not known", "records do not say what was tried before"
    )
    yield Item("Compute: time", "yes" if timed else "no", hours)
    yield Item(
        "Compute: machines", "yes" if machines else "no", "; ".join(machines) or "not recorded"
    )


def _machine(record: Record) -> str:
    names = ("device", "processor", "cores", "threads")
    return ", ".join(
        f"{name} {record.environment[name]}" for name in names if name in record.environment
    )
