"""Whether routes that save little are ever slower than the dense engine.

    python benchmarks/little_saved.py [--recognizers tsn,tsm] [--savings 0,0.02,0.05,0.1]
        [--repeats 15] [--dtype float32] [--threads 1]

Paper scale, drawn routes of channels and frames, batch 1 (clips run one by one, so that a batch
takes what its clips take), gates included. Prints a Markdown table: nominal saving, and the time of
the adaptive engine over that of the dense one in the same round: median and quartiles over rounds
and routes, and the medians of the fastest and of the slowest route.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.checkout import code_revision
from registry._mmaction import import_mmaction, quiet_logging
from registry.bench.loads import drawn
from registry.bench.machine import load, processor
from registry.bench.memory import keep_freed_memory
from registry.bench.subject import Subject, random_subject
from registry.bench.timing import Pace, Seconds, interleave
from registry.bench.variants import DTYPES
from registry.recognizers.forward import recognizer_forward
from registry.tables import RECOGNIZERS
from registry.vared.engine import accelerate
from registry.vared.settings import VaRedSettings

NUM_ROUTES = 3


def main() -> None:
    """Measure; print a recognizer's rows when it is done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recognizers", default=",".join(RECOGNIZERS))
    parser.add_argument("--savings", default="0,0.02,0.05,0.1")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--dtype", default="float32", choices=DTYPES)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    import_mmaction()
    quiet_logging()
    print(
        f"`python {shlex.join(sys.argv)}`, {code_revision()}, {processor()}, torch "
        f"{torch.__version__}, threads: {options.threads}, load {load():.1f} before\n\n"
        "| recognizer | saved | ms dense | times dense | fastest | slowest | rounds | routes |\n"
        "|---|---:|---:|---|---:|---:|---:|---:|",
        flush=True,
    )
    for name in options.recognizers.split(","):
        print("\n".join(rows(name, options)), flush=True)


def rows(name: str, options: argparse.Namespace) -> list[str]:
    """Time one recognizer, dense and at all savings, by turns."""
    subject = random_subject(name, "paper", settings=VaRedSettings(weights="hard"))
    twin = accelerate(subject.adaptive, DTYPES[options.dtype])
    clips = subject.noise(1, seed=0)
    savings = [float(saving) for saving in options.savings.split(",")]
    routes = [(saving, route) for saving in savings for route in routes_of(subject, saving)]
    tasks = [
        partial(forward, subject, twin, clips, route)
        for route in (None, *(route for _, route in routes))
    ]
    with torch.inference_mode():
        dense, *adaptive = interleave(dict(enumerate(tasks)), Pace(options.repeats)).values()
    timed = list(zip(routes, adaptive, strict=True))
    return [
        row(name, saving, dense, [times for (of, _), times in timed if of == saving])
        for saving in savings
    ]


def routes_of(subject: Subject, saving: float) -> list[Tensor]:
    """Return drawn routes (1, L, 2) of a saving; of none, the one that computes all."""
    if saving:
        loads = drawn(subject, 1, saving, "both", NUM_ROUTES)
        return [batch.routes_NL2 for batch in loads if batch.routes_NL2 is not None]
    return [torch.zeros(1, len(subject.policy.costs), 2, dtype=torch.long)]


def row(name: str, saving: float, dense_B: Seconds, adaptive_AB: list[Seconds]) -> str:
    """Say what routes (A) take, in rounds (B), of what the dense engine takes in the same."""
    times = np.stack(adaptive_AB) / dense_B
    low, middle, high = np.quantile(times, (0.25, 0.5, 0.75))
    routes = np.median(times, 1)
    return (
        f"| {name} | {saving:.0%} | {1e3 * np.median(dense_B):.1f} | {middle:.3f} ({low:.3f} to "
        f"{high:.3f}) | {routes.min():.3f} | {routes.max():.3f} | {len(dense_B)} | {len(routes)} |"
    )


def forward(subject: Subject, twin: Any, clips: Tensor, routes_NL2: Tensor | None) -> None:
    """Run clips dense, or under forced routes, with gates whose answer is not heeded."""
    policy = subject.policy
    policy.full, policy.routes, policy.runs_gates = routes_NL2 is None, routes_NL2, True
    recognizer_forward(twin, clips)


if __name__ == "__main__":
    main()
