"""Verdicts: what becomes of each published claim when it is held against what was measured.

REPRODUCED: as claimed, within the tolerance. NOT REPRODUCED: shown to be otherwise. WITHIN NOISE:
what was measured is compatible with the claim and with its opposite. NOT RUN: nothing was measured,
and why. Tolerances stand beside the claims.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from .by_clip import excludes_zero
from .citation import MARGIN, SAVING, SPREAD, WINDOW, Count, NotHere, OnSweep, Published
from .comparisons import SUBJECT
from .content import Claim
from .frontier import Cell, Frontier, method_name
from .guards import place
from .record import Correlation
from .stats import ALPHA, PairedDifference, holm, paired_differences

Word = Literal["REPRODUCED", "WITHIN NOISE", "NOT REPRODUCED", "NOT RUN"]
WORDS: tuple[Word, ...] = ("REPRODUCED", "WITHIN NOISE", "NOT REPRODUCED", "NOT RUN")

MIN_PAIRS = 3
"""Paired seeds that an interval needs."""

_EPSILON = 1e-9


@dataclass(frozen=True)
class Verdict:
    """One claim, where it was looked at, and what became of it."""

    published: Published
    word: Word
    evidence: str
    where: str = ""
    """The cell of a sweep; empty for what is not of a sweep."""

    @property
    def claim(self) -> Claim:
        """As a report shows it: the kind stands beside the words, so that none is mistaken."""
        told = self.published
        kind = "recalled, not read in the paper" if told.kind == "recalled" else told.kind
        where = f" {self.where}." if self.where else ""
        return Claim(f"{told.text} ({kind}; {told.source}).{where}", self.word, self.evidence)


class Clip(NamedTuple):
    """What a count is of: a config at a size."""

    config: str
    size: int | None
    frames: int | None


class Counted(NamedTuple):
    """What counting gave."""

    gmacs: float
    params: int
    input_shape: tuple[int, ...]


def clip_of(check: Count) -> Clip:
    """What must be counted for a check."""
    return Clip(check.config, check.size, check.frames)


def judge(
    published: Iterable[Published],
    frontiers: Sequence[Frontier] | None = None,
    counted: Mapping[Clip, Counted | str] | None = None,
) -> list[Verdict]:
    """Hold claims against what was measured.

    Args:
        published: The claims.
        frontiers: Of a sweep; None where none was given.
        counted: By config and size what counting gave, or why it gave nothing.

    Returns:
        At least one verdict a claim, in the order of the claims; claims on a sweep have one a cell.
    """
    return [verdict for one in published for verdict in _judged(one, frontiers, counted or {})]


def _judged(
    one: Published, frontiers: Sequence[Frontier] | None, counted: Mapping[Clip, Counted | str]
) -> list[Verdict]:
    check = one.check
    if isinstance(check, NotHere):
        return [Verdict(one, "NOT RUN", check.why)]
    if isinstance(check, Count):
        return [_count(one, check, counted.get(clip_of(check), "it was not counted this time"))]
    return _on_sweep(one, check, frontiers)


def _count(one: Published, check: Count, found: Counted | str) -> Verdict:
    if isinstance(found, str):
        return Verdict(one, "NOT RUN", found)
    own = found.gmacs if check.measure == "gmacs" else found.params / 1e6
    off = own - float(check.printed)
    agrees = abs(off) <= check.tolerance + _EPSILON
    shape = "x".join(map(str, found.input_shape))
    decimals = len(check.printed.partition(".")[2]) + 2
    percent = round(100 * off / float(check.printed), 2) + 0.0  # never -0.00
    evidence = (
        f"{own:.{decimals}f} {check.unit} counted, {check.printed} printed: "
        f"{percent:+.2f} % (input {shape})"
    )
    if agrees:
        return Verdict(one, "REPRODUCED", evidence)
    note = f"; {one.note}" if one.note else ""
    return Verdict(one, "NOT REPRODUCED", f"{evidence}{note}")


def _on_sweep(
    one: Published, check: OnSweep, frontiers: Sequence[Frontier] | None
) -> list[Verdict]:
    if frontiers is None:
        return [Verdict(one, "NOT RUN", "no sweep was given to look at")]
    found = [verdict for panel in frontiers for verdict in _RULES[check.rule](one, panel)]
    return found or [Verdict(one, "NOT RUN", f"the sweep has no {SUBJECT} with figures")]


def _subjects(panel: Frontier) -> list[Cell]:
    return [cell for cell in panel.cells if cell.n and method_name(cell.runs[0]) == SUBJECT]


def _depends_on_clip(one: Published, panel: Frontier) -> Iterator[Verdict]:
    for cell in _subjects(panel):
        spreads = [(run.macs.p95 - run.macs.p5) / run.macs.dense for run in cell.runs if run.macs]
        spread = statistics.median(spreads)
        word: Word = "REPRODUCED" if spread >= SPREAD - _EPSILON else "NOT REPRODUCED"
        evidence = (
            f"from the 5th to the 95th percentile of the clips {100 * spread:.1f} % of the dense "
            f"multiply-adds (median over seeds, n = {len(spreads)})"
        )
        yield Verdict(one, word, evidence, place(cell))


def _saving(one: Published, panel: Frontier) -> Iterator[Verdict]:
    subjects = _subjects(panel)
    for cell in subjects:
        if not _saves_as_claimed(cell):
            saved = 100 * (1 - (cell.share or 0))
            why = f"saved {saved:.1f} %, which is not what the claim is about"
            yield Verdict(one, "NOT RUN", why, place(cell))
    chosen = [cell for cell in subjects if _saves_as_claimed(cell)]
    if panel.dense is None or not panel.dense.n:
        for cell in chosen:
            yield Verdict(one, "NOT RUN", "no dense recognizer with figures", place(cell))
        return
    yield from _without_loss(one, chosen, panel.dense)


def _saves_as_claimed(cell: Cell) -> bool:
    low, high = SAVING[0], SAVING[1] + WINDOW
    return cell.share is not None and low - _EPSILON <= 1 - cell.share <= high + _EPSILON


def _without_loss(one: Published, cells: Sequence[Cell], dense: Cell) -> Iterator[Verdict]:
    """Non-inferiority: is the accuracy, the margin added, above the dense one?"""
    its = dense.accuracy_by_seed()
    shifted = [{s: top1 + MARGIN for s, top1 in c.accuracy_by_seed().items()} for c in cells]
    differences = paired_differences([(own, its) for own in shifted])
    tested = [i for i, difference in enumerate(differences) if difference.n >= MIN_PAIRS]
    # the two-sided p of a sign-flip test is twice that of the side the mean lies on
    halves = [(p or 0.0) / 2 for p in (differences[i].p_value for i in tested)]
    adjusted = dict(zip(tested, holm(halves), strict=True))
    for i, (cell, difference) in enumerate(zip(cells, differences, strict=True)):
        if i in adjusted:
            word, why = _decided(difference, adjusted[i], len(tested))
            yield Verdict(one, word, f"{_told(cell, dense, difference)}; {why}", place(cell))
        else:
            why = f"an interval needs {MIN_PAIRS} paired seeds, but there are {difference.n}"
            yield Verdict(one, "NOT RUN", why, place(cell))


def _decided(shifted: PairedDifference, p_adjusted: float, num_cells: int) -> tuple[Word, str]:
    together = f" and {num_cells} cells" if num_cells > 1 else ""
    if num_cells * shifted.smallest_p / 2 > ALPHA:
        return "WITHIN NOISE", f"cannot be decided at {ALPHA:g} with n = {shifted.n}{together}"
    p = f"p = {p_adjusted:.3f}"
    if p_adjusted <= ALPHA and shifted.low is not None and shifted.low > 0:
        return "REPRODUCED", f"a loss of {100 * MARGIN:g} points or more is ruled out, {p}"
    if p_adjusted <= ALPHA and shifted.high is not None and shifted.high < 0:
        return "NOT REPRODUCED", f"the loss is more than {100 * MARGIN:g} points, {p}"
    return "WITHIN NOISE", f"a loss of {100 * MARGIN:g} points is neither shown nor ruled out, {p}"


def _told(cell: Cell, dense: Cell, shifted: PairedDifference) -> str:
    its = dense.accuracy_by_seed().values()
    low, high = (100 * ((end or 0.0) - MARGIN) for end in (shifted.low, shifted.high))
    over = f", {cell.num_infeasible} over budget" if cell.num_infeasible else ""
    return (
        f"saved {100 * (1 - (cell.share or 0)):.1f} %{over}; accuracy "
        f"{100 * (shifted.mean - MARGIN):+.1f} points from dense ({100 * min(its):.1f} to "
        f"{100 * max(its):.1f} % by seed), 95 % from {low:+.1f} to {high:+.1f}, paired by seed, "
        f"n = {shifted.n}"
    )


def _still_saves_frames(one: Published, panel: Frontier) -> Iterator[Verdict]:
    for cell in _subjects(panel):
        found = [run.input_dependence.frames for run in cell.runs if run.input_dependence]
        told = [frames for frames in found if frames is not None]
        if not told:
            why = "its records do not tell apart which frames single clips compute"
            yield Verdict(one, "NOT RUN", why, place(cell))
            continue
        word, evidence = _with_motion(told)
        yield Verdict(one, word, evidence, place(cell))


def _with_motion(told: Sequence[Correlation]) -> tuple[Word, str]:
    values = [one.value for one in told if one.value is not None]
    if not values:
        return "NOT REPRODUCED", f"all clips compute the same frames (n = {len(told)} seeds)"
    signs = [excludes_zero((one.low, one.high)) for one in told]
    word: Word = "WITHIN NOISE"
    if set(signs) in ({1}, {-1}):
        word = "REPRODUCED" if 1 in signs else "NOT REPRODUCED"
    return word, (
        f"rank correlation of motion and computed frames {statistics.median(values):+.2f} "
        f"({min(values):+.2f} to {max(values):+.2f} by seed); above 0 with its interval in "
        f"{signs.count(1)} of {len(told)} seeds, below in {signs.count(-1)}"
    )


_RULES: Mapping[str, Callable[[Published, Frontier], Iterator[Verdict]]] = {
    "saving-without-loss": _saving,
    "depends-on-the-clip": _depends_on_clip,
    "still-saves-frames": _still_saves_frames,
}
