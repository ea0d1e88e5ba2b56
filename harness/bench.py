"""`harness bench`: run what a person asked for, show and save what it found."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .bench_request import Request, checked
from .bench_subject import subject_of
from .problems import UserError
from .show import line, show_table

if TYPE_CHECKING:
    from registry.bench.bout import Options
    from registry.bench.result import Result

Tell = Callable[[str, int, int], None]


def bench(request: Request, out: Path, as_json: bool, console: Console) -> int:
    """Time the variants of a recognizer or a trial; print them, and write JSON and a plot.

    Args:
        request: What to time.
        out: Folder for `RECOGNIZER-SCALE.json` and `.png`, or `KEY.json` and `.png`.
        as_json: Print JSON instead of tables.
        console: Where to print.

    Raises:
        UserError: Something asked for is not to be had.
    """
    from registry.bench.bench import warnings_beforehand

    options = checked(request)
    if out.exists() and not out.is_dir():
        raise UserError(f"`--out` must be a folder, but {out} is a file")
    for text in warnings_beforehand(options):
        line(Console(stderr=True), f"warning: {text}")
    if request.layers:
        return show_layers(request, options, out, as_json, console)
    with _progress() as tell:
        tell("building", 0, 0)
        name, result = _run(request, options, tell)
    document = result.as_dict()
    files = save(document, out, name)
    if as_json:
        line(console, json.dumps(document, indent=2))
    else:
        show(result, console)
        for path in files:
            line(console, str(path))
    return 0


def save(document: dict[str, Any], out: Path, name: str) -> list[Path]:
    """Write a benchmark as JSON and as a plot; returns both paths."""
    from results.files import write_atomic
    from results.speed import save_speed

    out.mkdir(parents=True, exist_ok=True)
    file = out / f"{name}.json"
    write_atomic(file, json.dumps(document, indent=2) + "\n")
    return [file, save_speed(document["variants"], out / f"{name}.png", title(document))]


def title(document: dict[str, Any]) -> str:
    """Return what a benchmark was of, in one line."""
    clip, threads = document["clip"], document["machine"]["num_threads"]
    return (
        f"{document['recognizer']}, {clip['num_frames']} frames at {clip['size']}, "
        f"{document['saving']:.0%} saved nominally ({document['routes']} routes, "
        f"{document['axes']}), "
        f"{threads} thread{'s' if threads > 1 else ''}"
    )


def gates_told(document: dict[str, Any]) -> str:
    """Return on which clips routes were timed, and through which gates, in one line."""
    gates = document["gates"]
    return (
        f"on {document['clips']}; gates in {document['num_layers']} layers "
        f"(gate layers: {gates['choice']}), {gates['channels']} reduce channels, {gates['frames']} "
        "frames"
    )


def show_layers(
    request: Request, options: Options, out: Path, as_json: bool, console: Console
) -> int:
    """Time layers one by one; print the table, and write it as JSON."""
    from registry.bench.layers import layer_table
    from registry.bench.variants import DTYPES
    from results.files import write_atomic
    from results.render import to_rich
    from results.speed import layer_rows

    with _progress() as tell:
        tell("building", 0, 0)
        name, subject = subject_of(request, options)
        pace = options.pace
        table = layer_table(
            subject,
            DTYPES[options.dtypes[0]],
            options.num_threads,
            pace,
            lambda done: tell("rounds", done, pace.num_warm + pace.num_rounds),
        )
    document = table.as_dict()
    text = json.dumps(document, indent=2)
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / f"{name}-layers.json", text + "\n")
    if as_json:
        line(console, text)
        return 0
    show_table(console, to_rich(layer_rows(document["layers"])))
    worth = [x.is_worth_a_gate for x in table.layers]
    machine = table.machine
    load = f"load {machine.load_before:.1f} before, {machine.load_after:.1f} after"
    line(
        console,
        f"worth a gate: {worth.count(True)} of {len(worth)}, {worth.count(None)} too uncertain to "
        f"say ({table.num_rounds} rounds, {load})",
    )
    dense = [x.layer for x in table.layers if x.is_worth_a_gate is False]
    if dense:
        line(console, f"to leave the others dense: `exclude: [{', '.join(dense)}]`")
    line(console, str(out / f"{name}-layers.json"))
    return 0


def show(result: Result, console: Console) -> None:
    """Print what was measured, what may be said of it, and what was left out."""
    from results.render import to_rich
    from results.speed import headline_table, variant_table

    document = result.as_dict()
    machine = result.machine
    line(console, title(document))
    load = f"load {machine.load_before:.1f} before, {machine.load_after:.1f} after"
    where = f"{machine.processor}, {machine.num_cores} cores, torch {machine.torch}"
    line(console, f"{where}, {load}; {len(machine.allocator)} allocator settings")
    line(console, gates_told(document))
    show_table(console, to_rich(variant_table(document["variants"]).narrow()))
    if result.headlines:
        show_table(console, to_rich(headline_table(document["headlines"])))
    for text in _remarks(result):
        line(console, text)


def _remarks(result: Result) -> Iterator[str]:
    for headline in result.headlines:
        place = f"{headline.variant}, {headline.dtype}, batch {headline.batch}"
        if headline.best_dense:
            yield f"{place}: the best dense is {headline.best_dense}"
        for reason, names in _grouped((why, name) for name, why in headline.why.items()):
            yield f"no {', '.join(names)} for {place}: {reason}"
    left = (
        (f"{'DISAGREES' if x.disagrees else 'skipped'}: {x.reason}", x) for x in result.left_out
    )
    for reason, ones in _grouped((r, f"{x.variant} ({x.dtype})") for r, x in left):
        yield f"warning: {', '.join(dict.fromkeys(ones))} {reason}"
    yield from result.gates["notes"]
    if left := result.gates["left"]:
        yield f"without a gate: {len(left)} layers, {', '.join(left)}"
    for text in result.warnings:
        yield f"warning: {text}"


def _grouped(pairs: Any) -> list[tuple[str, list[str]]]:
    groups: dict[str, list[str]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return list(groups.items())


def _run(request: Request, options: Options, tell: Tell) -> tuple[str, Result]:
    """Return the name for its files, and what was found."""
    from registry._mmaction import quiet_logging
    from registry.bench.bench import bench

    name, subject = subject_of(request, options)
    with quiet_logging():
        try:
            return name, bench(subject, options, tell)
        except ValueError as error:
            raise UserError(str(error)) from error


@contextmanager
def _progress() -> Iterator[Tell]:
    """A bar on stderr, where it does not mix with JSON; nothing where that is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=None)

        def tell(text: str, done: int, total: int) -> None:
            bar.update(task, description=text, completed=done, total=total or None)

        yield tell
