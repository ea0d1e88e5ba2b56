"""What gates take of the adaptive time in the inference engine: each run with them and without.

    python benchmarks/gate_share.py [--recognizers tsn,tsm] [--saving 0.35] [--repeats 9]
        [--processes 3] [--dtype float32] [--sees own,block]

Paper scale, drawn routes, batch 1, one thread; gates that each see their own convolution's input,
and gates that share a look at their block's. Prints a Markdown table: median milliseconds, and the
share's median and quartiles over processes, routes and rounds, with and without gates in the same
round, and its median in each of the processes.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from harness.checkout import code_revision
from registry._mmaction import import_mmaction, quiet_logging
from registry.bench.loads import drawn
from registry.bench.machine import load, processor
from registry.bench.memory import keep_freed_memory
from registry.bench.subject import Subject, random_subject
from registry.bench.timing import Pace, interleave
from registry.bench.variants import DTYPES
from registry.recognizers.forward import recognizer_forward
from registry.tables import RECOGNIZERS
from registry.vared.engine import accelerate
from registry.vared.settings import VaRedSettings

Times = npt.NDArray[np.float64]

NUM_ROUTES = 3
SEES = ("own", "block")


def main() -> None:
    """Measure; print a row when it is done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recognizers", default=",".join(RECOGNIZERS))
    parser.add_argument("--scale", default="paper")
    parser.add_argument("--saving", type=float, default=0.35)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--dtype", default=",".join(DTYPES))
    parser.add_argument("--sees", default=",".join(SEES))
    options = parser.parse_args()
    print(
        f"`python {shlex.join(sys.argv)}`, {code_revision()}, {processor()}, torch "
        f"{torch.__version__}, 1 thread, load {load():.1f} before\n\n"
        "| recognizer | type | a gate sees | gates look | ms without | ms with | share | n "
        "| in each process |\n|---|---|---|---:|---:|---:|---|---:|---|",
        flush=True,
    )
    for name in options.recognizers.split(","):
        for dtype in options.dtype.split(","):
            for sees in options.sees.split(","):
                print(row(name, dtype, sees, options), flush=True)


def row(name: str, dtype: str, sees: Any, options: argparse.Namespace) -> str:
    """Time one recognizer in some processes, one after another: they differ more than rounds do."""
    measure = partial(measured, name, dtype, sees, options)
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        num_looks, without, having = zip(*pool.map(measure, range(options.processes)), strict=True)
    shares = 1 - np.array(without) / np.array(having)
    low, middle, high = np.quantile(shares, (0.25, 0.5, 0.75))
    ms = [1e3 * np.median(times) for times in (without, having)]
    each = ", ".join(f"{np.median(share):.1%}" for share in shares)
    return (
        f"| {name} | {dtype} | {sees} | {num_looks[0]} | {ms[0]:.1f} | {ms[1]:.1f} "
        f"| {middle:.1%} ({low:.1%} to {high:.1%}) | {shares.size} | {each} |"
    )


def measured(
    name: str, dtype: str, sees: Any, options: argparse.Namespace, _: int
) -> tuple[int, Times, Times]:
    """Time one recognizer without and with its gates, under the same routes, in this process.

    Returns:
        How often gates look at a map, and seconds without gates and with them, (routes, rounds).
    """
    torch.set_num_threads(1)
    keep_freed_memory()
    import_mmaction()
    quiet_logging()
    settings = VaRedSettings(weights="hard", gate_sees=sees)
    subject = random_subject(name, options.scale, settings=settings)
    twin = accelerate(subject.adaptive, DTYPES[dtype])
    tasks = {
        (route, gates): partial(forward, subject, twin, batch.clips, batch.routes_NL2, gates)
        for route, batch in enumerate(drawn(subject, 1, options.saving, "both", NUM_ROUTES))
        for gates in (False, True)
    }
    with torch.inference_mode():
        taken = interleave(tasks, Pace(options.repeats))
    without, having = (
        np.stack([taken[route, gates] for route in range(NUM_ROUTES)]) for gates in (False, True)
    )
    return len(twin.engine.gates), without, having


def forward(subject: Subject, twin: Any, clips: Any, routes: Any, gates: bool) -> None:
    """Run clips under forced routes; with gates, whose answer is not heeded."""
    subject.policy.routes, subject.policy.runs_gates = routes, gates
    recognizer_forward(twin, clips)


if __name__ == "__main__":
    main()
