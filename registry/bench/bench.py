"""A benchmark of one subject: bouts at all batches, on a machine that is described beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from .bout import Bout, Options, Tell
from .headline import Headline
from .loads import saving
from .machine import Machine, bf16_units, load, look, threads
from .memory import keep_freed_memory
from .result import LeftOut, Result, Row
from .routes import offered
from .subject import Subject

BUSY = 0.25
"""Load a core before anything ran from which a reader is warned."""


def bench(
    subject: Subject, options: Options, tell: Tell = lambda text, done, total: None
) -> Result:
    """Time a subject's variants.

    Freed memory stays in this process from now on: see `memory.py`.

    Raises:
        ValueError: The saving cannot be met, or there are too few validation clips.
    """
    load_before, allocator = load(), keep_freed_memory()
    rows: list[Row] = []
    headlines: list[Headline] = []
    left_out: list[LeftOut] = []
    savings: list[float] = []
    with threads(options.num_threads):
        for batch in options.batches:
            bout = Bout(subject, options, batch, tell)
            savings.append(saving(subject, bout.loads))
            its_rows, its_headlines = bout.run()
            rows += its_rows
            headlines += its_headlines
            left_out += bout.left_out
        machine = look(allocator, load_before)
    return Result(
        recognizer=subject.name,
        clip=asdict(subject.clip),
        dense_macs=subject.dense_macs,
        saving=options.saving if subject.validation is None else savings[0],
        axes=options.axes if subject.validation is None else offered(subject.policy.costs),
        routes="drawn" if subject.validation is None else "learnt",
        clips=subject.clips,
        num_layers=len(subject.policy.costs),
        gates=gates(subject),
        variants=tuple(rows),
        headlines=tuple(headlines),
        left_out=tuple(left_out),
        warnings=tuple(_warnings(options, machine)),
        machine=machine,
    )


def gates(subject: Subject) -> dict[str, Any]:
    """Return which layers of a subject were to have gates, and how many have them on each axis."""
    layers = subject.policy.costs.layers
    return asdict(subject.gates) | {
        "channels": sum(len(layer.channel_factors) > 1 for layer in layers),
        "frames": sum(len(layer.time_factors) > 1 for layer in layers),
    }


def warnings_beforehand(options: Options) -> Iterator[str]:
    """Yield what a reader of the result will be warned of, as far as it is known already."""
    if "bfloat16" in options.dtypes and not bf16_units():
        yield "this processor has no units for bfloat16: it is emulated, and its times say little"


def _warnings(options: Options, machine: Machine) -> Iterator[str]:
    yield from warnings_beforehand(options)
    if not machine.allocator:
        yield "the allocator is not glibc's: page faults may be part of the times"
    if machine.load_before > BUSY * machine.num_cores:
        load_before = f"{machine.load_before:.1f}"
        yield f"the machine was busy before: load {load_before} on {machine.num_cores} cores"
    if options.num_threads > machine.num_cores:
        yield f"{options.num_threads} threads on {machine.num_cores} cores wait for one another"
