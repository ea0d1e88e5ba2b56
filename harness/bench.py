"""`harness bench`: check what a person asked for, run it, show and save what it found."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from registry.interfaces import Scale

from .problems import UserError, nearest
from .show import line

if TYPE_CHECKING:
    from registry.bench.bout import Options
    from registry.bench.result import Result

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Request:
    """What the command line asks for; lists are still text.

    Args:
        recognizer: A name of the table.
        scale: desk or paper.
        size: Side of the input in pixels, None for the scale's.
        frames: Frames of a clip, None for the scale's.
        saving: Nominal saving.
        axes: What routes reduce.
        batch: Batches, separated by commas.
        dtype: Data types, separated by commas.
        threads: Of every variant.
        repeats: Rounds.
        variants: Names, separated by commas; "" for all.
        seeds: Sets of routes.
    """

    recognizer: str
    scale: Any
    size: int | None
    frames: int | None
    saving: float
    axes: Any
    batch: str
    dtype: str
    threads: int
    repeats: int
    variants: str
    seeds: int


def bench(request: Request, out: Path, as_json: bool, console: Console) -> int:
    """Time a recognizer's variants; print them, and write JSON and a plot.

    Args:
        request: What to time.
        out: Folder for `RECOGNIZER-SCALE.json` and `.png`.
        as_json: Print JSON instead of tables.
        console: Where to print.

    Raises:
        UserError: Something asked for is not to be had.
    """
    options = checked(request)
    if out.exists() and not out.is_dir():
        raise UserError(f"`--out` must be a folder, but {out} is a file")
    with _progress() as tell:
        tell("building", 0, 0)
        result = _run(request, options, tell)
    document = result.as_dict()
    files = save(document, out, f"{request.recognizer}-{request.scale}")
    if as_json:
        line(console, json.dumps(document, indent=2))
    else:
        show(result, console)
        for path in files:
            line(console, str(path))
    return 0


def checked(request: Request) -> Options:
    """Return the options a request stands for.

    Raises:
        UserError: With every mistake, the choices and the nearest match.
    """
    from registry.bench.bout import Options
    from registry.bench.routes import AXES
    from registry.bench.timing import Pace
    from registry.bench.variants import DTYPES, VARIANTS, chosen
    from registry.tables import RECOGNIZERS

    dtypes, variants = _items(request.dtype), _items(request.variants)
    problems = [
        *_unknown("recognizer", [request.recognizer], RECOGNIZERS),
        *_unknown("scale", [request.scale], get_args(Scale)),
        *_unknown("axes", [request.axes], AXES),
        *_unknown("data type", dtypes, DTYPES),
        *_unknown("variant", variants, VARIANTS),
        *_out_of_range(request),
    ]
    if problems:
        raise UserError("\n  ".join(problems))
    return Options(
        saving=request.saving,
        axes=request.axes,
        num_routes=request.seeds,
        batches=tuple(dict.fromkeys(map(int, _items(request.batch)))),
        dtypes=tuple(dict.fromkeys(dtypes)),
        num_threads=request.threads,
        variants=chosen(variants),
        pace=Pace(num_rounds=request.repeats),
    )


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
        f"{document['saving']:.0%} saved nominally ({document['axes']}), "
        f"{threads} thread{'s' if threads > 1 else ''}"
    )


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
    console.print(to_rich(variant_table(document["variants"]).narrow()))
    if result.headlines:
        console.print(to_rich(headline_table(document["headlines"])))
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
    for text in result.warnings:
        yield f"warning: {text}"


def _grouped(pairs: Any) -> list[tuple[str, list[str]]]:
    groups: dict[str, list[str]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return list(groups.items())


def _run(request: Request, options: Options, tell: Tell) -> Result:
    from registry._mmaction import import_mmaction, quiet_logging
    from registry.bench.bench import bench
    from registry.bench.subject import random_subject

    import_mmaction()
    with quiet_logging():
        try:
            subject = random_subject(
                request.recognizer, request.scale, request.size, request.frames
            )
            return bench(subject, options, tell)
        except ValueError as error:
            raise UserError(str(error)) from error


def _items(text: str) -> list[str]:
    return [item for item in (part.strip() for part in text.split(",")) if item]


def _unknown(kind: str, names: Sequence[str], choices: Any) -> Iterator[str]:
    for name in names:
        if name not in choices:
            hint = nearest(name, choices)
            yield f"unknown {kind} {name!r}.{hint} Choices: {', '.join(choices)}"


def _out_of_range(request: Request) -> Iterator[str]:
    if not 0 < request.saving < 1:
        yield f"`--saving` must be in (0, 1), but got {request.saving:g}"
    for name in ("batch", "dtype"):
        if not _items(getattr(request, name)):
            yield f"`--{name}` must name at least one"
    for item in _items(request.batch):
        if not item.isascii() or not item.isdigit() or int(item) < 1:
            yield f"`--batch` must be numbers of at least 1, such as 1,8, but got {item!r}"
    for name in ("threads", "repeats", "seeds"):
        value = getattr(request, name)
        if value < 1:
            yield f"`--{name}` must be at least 1, but got {value}"


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
