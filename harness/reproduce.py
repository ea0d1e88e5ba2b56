"""`harness reproduce`: published claims held against what can be measured here."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.progress import track

from results.citation import Count, Published
from results.frontier import Frontier, frontiers
from results.published import PUBLISHED
from results.store import Store
from results.verdicts import WORDS, Clip, Counted, Verdict, clip_of, judge

from .problems import UserError, nearest
from .show import line
from .sources import read_source

KINDS = {
    "stated": "stated in the paper",
    "recalled": "recalled of the paper, not read in it, so not published figures",
    "zoo": "printed by the model zoo",
    "peer": "printed by peers",
}


def reproduce(
    sweep: str | None,
    store: Store,
    only: Sequence[str],
    as_json: bool,
    strict: bool,
    console: Console,
) -> int:
    """Print every claim with its verdict.

    Args:
        sweep: Name of a sweep, a folder with records or a file of them; None: claims on sweeps
            are not run.
        store: The runs folder.
        only: Ids of claims, or how they begin; empty for all.
        as_json: Print JSON.
        strict: Whether a claim that was not reproduced is a failure.
        console: Where to print.

    Returns:
        0; 1 if `strict` and a claim is NOT REPRODUCED.

    Raises:
        UserError: There is no such claim or sweep.
    """
    chosen = choose(only)
    panels = None if sweep is None else panels_of(sweep, store)
    checks = [one.check for one in chosen if isinstance(one.check, Count)]
    counted = count_all(dict.fromkeys(map(clip_of, checks)), console, quiet=as_json)
    verdicts = judge(chosen, panels, counted)
    if as_json:
        line(console, json.dumps([_plain(verdict) for verdict in verdicts], indent=2))
    else:
        _show(verdicts, console)
    failed = any(verdict.word == "NOT REPRODUCED" for verdict in verdicts)
    return 1 if strict and failed else 0


def choose(only: Sequence[str]) -> list[Published]:
    """Return the claims whose ids are, or begin with, one of `only`; all if it is empty.

    Raises:
        UserError: No id begins so.
    """
    ids = [one.id for one in PUBLISHED]
    for text in only:
        if not any(id.startswith(text) for id in ids):
            raise UserError(
                f"there is no claim {text!r}.{nearest(text, ids)} `harness reproduce` lists all"
            )
    return [one for one in PUBLISHED if not only or one.id.startswith(tuple(only))]


def panels_of(sweep: str, store: Store) -> list[Frontier]:
    """Return the frontiers of the records that a person means.

    Raises:
        UserError: There are none, or labels do not tell trials apart.
    """
    source = read_source(sweep, store)
    try:
        return frontiers(source.records)
    except ValueError as error:
        raise UserError(f"{source.name}: {error}") from error


def count_all(clips: Iterable[Clip], console: Console, quiet: bool) -> dict[Clip, Counted | str]:
    """Count each config at its size, on shapes alone; a few seconds for the first."""
    waiting = list(clips)
    if not waiting:
        return {}
    told = track(waiting, "Counting", console=console, transient=True, disable=quiet)
    return {clip: _count(clip) for clip in told}


def _count(clip: Clip) -> Counted | str:
    from registry.macs import summarise

    try:
        summary = summarise(clip.config, size=clip.size, frames=clip.frames)
    except (LookupError, ValueError) as error:
        return f"it cannot be counted: {error}"
    return Counted(summary["dense_gmacs"], summary["params"], tuple(summary["input_shape"]))


def _show(verdicts: Sequence[Verdict], console: Console) -> None:
    kind = ""
    for verdict in verdicts:
        told = verdict.published
        if told.kind != kind:
            kind = told.kind
            line(console, f"{KINDS[kind]}:")
        where = f" [{verdict.where}]" if verdict.where else ""
        line(console, f"  {verdict.word:<14}  {told.id}{where}: {told.text}")
        line(console, f"  {'':<14}  {verdict.evidence}")
    counts = Counter(verdict.word for verdict in verdicts)
    line(console, ", ".join(f"{counts[word]} {word}" for word in WORDS if counts[word]) + ".")


def _plain(verdict: Verdict) -> dict[str, Any]:
    told = verdict.published
    fields = {name: value for name, value in asdict(told).items() if name != "check"}
    checked = {"kind": type(told.check).__name__, **asdict(told.check)}
    return {
        **fields,
        "check": checked,
        "where": verdict.where,
        "verdict": verdict.word,
        "evidence": verdict.evidence,
    }
