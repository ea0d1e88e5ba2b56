"""Content: what every form of a report is made from, computed once from the records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from .any_budget import any_budget_table
from .by_clip import dependence_table
from .clips import Clips
from .comparisons import SUBJECT
from .frontier import Frontier, frontiers
from .guards import Flag, flags
from .record import Record
from .strips import StripPanel
from .tables import Table, cell_table, comparison_table, hypervolume_table

NOTES = (
    "Accuracies are means over seeds with 95 % t-intervals. GMACs are executed multiply-adds of "
    "one view of one clip, gates and cheap operations included. Over budget and failed count "
    "seeds; means are over the others' figures and, where over budget, at what was reached. "
    "On the frontier: no cell executes less and is as accurate. rho is the share of the saved "
    "MACs that is saved time too."
)
COMPARISON_NOTES = (
    "Differences are paired by seed, with a BCa bootstrap interval, and tested by sign flips; "
    "p-values are adjusted after Holm over all comparisons on one data set and recognizer."
)
RIVAL_NOTES = (
    "Cells of one budget in points of top-1 accuracy, paired by seed. More or less accurate is "
    "only what is significant at 0.05 after Holm's correction over one recognizer on one data set."
)
HYPERVOLUME_NOTES = (
    "The area that a method's points dominate, of share of the dense MACs against accuracy; "
    "reference point: all of the MACs, no accuracy. First that of the means over seeds, then the "
    "mean of what each seed's own points dominate, with its 95 % t-interval, over the n seeds that "
    "have every budget."
)
ANY_BUDGET_NOTES = (
    "Gates of a trained recognizer shifted to another budget, its weights left alone: means over "
    "seeds with 95 % t-intervals. Beside it, every cell is trained for its own budget. Budgets at "
    "or below the gates' floor have no row; over budget counts seeds whose gates, shifted on "
    "training clips, executed more than the budget on the validation clips."
)
DEPENDENCE_NOTES = (
    "Motion: the mean absolute difference from frame to frame, in grey levels of 255, so noise and "
    "cuts count too. Rank correlation: Spearman's, of motion and executed multiply-adds over the "
    "validation clips; of frames alone, of motion and the share of frames that a clip computes, "
    "mean over layers. Frozen: clips with their middle frame repeated. Figures are means over "
    "seeds; intervals are over clips, from the lowest seed's end to the highest's. One interval in "
    "twenty excludes zero by chance."
)
CLAIM_NOTES = (
    "CHECK: too good to be believed before it is explained. Other verdicts are on what was claimed "
    "beforehand. No loss: the paired interval and a one-sided sign-flip test rule out a loss of as "
    "many points as was fixed beforehand. WITHIN NOISE: neither claim nor opposite is shown."
)

CHECK = "CHECK"
"""The verdict on a figure that is too good, until somebody explains it."""

EXPLAINED = "EXPLAINED"

MAX_FLAGS = 50
"""Figures that are too good shown one by one; of more only the number is told."""


class Claim(NamedTuple):
    """Something that was claimed beforehand, and what became of it."""

    claim: str
    verdict: str
    evidence: str


@dataclass(frozen=True)
class Content:
    """A sweep's cells, tables and failures. Every record is in a cell of `frontiers`."""

    title: str
    frontiers: list[Frontier]
    cells: Table
    comparisons: Table
    hypervolumes: Table
    any_budget: Table
    """Trained recognizers with their gates shifted to other budgets."""
    dependence: Table
    """Where gates decide: whether what they execute goes with a clip's motion."""
    failed: list[Record]
    claims: tuple[Claim, ...] = ()
    flags: tuple[Claim, ...] = ()
    """Figures that are too good: CHECK, or EXPLAINED."""
    num_missing: int = 0
    """Trials of the sweep that have no record, so that nothing here is of them."""
    clips: Mapping[str, Clips] = field(default_factory=dict)
    """By key, of the trials whose clips are shown one by one, as far as they told them apart."""
    strips: tuple[StripPanel, ...] = ()
    """Pictures of the cheapest and the dearest clips, or why there are none."""
    damaged_clips: tuple[str, ...] = ()
    """Files of such clips that cannot be read, and why."""

    @property
    def judged(self) -> tuple[Claim, ...]:
        """What is to be looked at first, then the claims."""
        return (*self.flags, *self.claims)

    def with_claims(self, claims: Sequence[Claim]) -> Content:
        """The same content with these claims."""
        return replace(self, claims=tuple(claims))

    def with_clips(self, clips: Mapping[str, Clips], damaged: Sequence[str] = ()) -> Content:
        """The same content with the clips of these trials, by key; see `by_clip.to_show`."""
        return replace(self, clips=clips, damaged_clips=tuple(damaged))

    def with_strips(self, strips: Sequence[StripPanel]) -> Content:
        """The same content with these pictures."""
        return replace(self, strips=tuple(strips))

    @property
    def records(self) -> list[Record]:
        """All records, panel by panel and cell by cell."""
        cells = [cell for panel in self.frontiers for cell in panel.cells]
        return [record for cell in cells for record in (*cell.runs, *cell.failed)]


def content_of(
    records: Sequence[Record],
    title: str,
    subject: str = SUBJECT,
    claims: Sequence[Claim] = (),
    num_missing: int = 0,
    explained: Mapping[str, str] | None = None,
) -> Content:
    """Compute what there is to show.

    Args:
        records: the sweep's, in the order in which things are to appear.
        title: of the report.
        subject: name or label of the method that the others are compared with.
        claims: what was claimed beforehand, and what became of it.
        num_missing: trials of the sweep without a record.
        explained: by name of a flag (see `guards.py`), why the figure is as good as it is.

    Raises:
        ValueError: there are no records, or labels do not tell trials apart.
    """
    if not records:
        raise ValueError("A report needs at least one record, but got none.")
    panels = frontiers(records)
    return Content(
        title=title,
        frontiers=panels,
        cells=cell_table(panels),
        comparisons=comparison_table(panels, subject),
        hypervolumes=hypervolume_table(panels),
        any_budget=any_budget_table(panels),
        dependence=dependence_table(panels),
        failed=[run for panel in panels for cell in panel.cells for run in cell.failed],
        claims=tuple(claims),
        flags=tuple(_flagged(flags(panels), explained or {})),
        num_missing=num_missing,
    )


def _flagged(found: Sequence[Flag], explained: Mapping[str, str]) -> Iterator[Claim]:
    """CHECKs first, so that none is lost among what is explained."""
    open_ones = [flag for flag in found if flag.name not in explained]
    for flag in open_ones[:MAX_FLAGS]:
        yield Claim(flag.guard, CHECK, f"{flag.sentence} [{flag.name}]")
    if (more := len(open_ones) - MAX_FLAGS) > 0:
        yield Claim(f"{more} more figures are too good", CHECK, "not shown one by one")
    for flag in found:
        if flag.name in explained:
            evidence = f"{flag.sentence} [{flag.name}]. {explained[flag.name]}"
            yield Claim(flag.guard, EXPLAINED, evidence)
    for name in sorted(explained.keys() - {flag.name for flag in found}):
        yield Claim("An explanation is of a figure there is", CHECK, f"nothing is flagged {name}")


def failures(failed: Sequence[Record]) -> list[str]:
    """One line a failed trial: which it is, and why it has no figures."""
    return [
        f"{r.key}: {r.recognizer} {r.method} on {r.dataset}, seed {r.seed}: {reason(r)}"
        for r in failed
    ]


def reason(record: Record) -> str:
    """Why a trial has no figures, in one line."""
    if record.failure is None:
        return "ended without figures"
    first_line = record.failure.message.strip().partition("\n")[0]
    return f"{record.failure.kind}: {first_line}"
