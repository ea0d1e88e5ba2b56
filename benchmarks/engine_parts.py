"""Where the inference engine's time goes: convolutions, gates, and what is neither.

    python benchmarks/engine_parts.py [--recognizers tsn,tsm] [--saving 0.35] [--repeats 9]
        [--dtype float32] [--threads 2]

Paper scale, drawn routes with gates, batch 1, dense beside adaptive. Each part is timed
from outside, in every pass, so that passes take a little longer than without; shifts in place
count as part of their convolutions, and "rest" is what is left. Prints a Markdown table: median
milliseconds over routes and rounds.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pkgutil import resolve_name
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from harness.checkout import code_revision
from registry._mmaction import import_mmaction, quiet_logging
from registry.bench.loads import drawn
from registry.bench.machine import load, processor
from registry.bench.memory import keep_freed_memory
from registry.bench.subject import random_subject
from registry.bench.variants import DTYPES
from registry.recognizers.forward import recognizer_forward
from registry.tables import RECOGNIZERS
from registry.vared.engine import accelerate
from registry.vared.settings import VaRedSettings

NUM_ROUTES, NUM_WARM = 3, 2
ENGINE = "registry.vared.engine"
PARTS = {
    "convolutions": f"{ENGINE}.packed._Fused.__call__",
    "stems": f"{ENGINE}.planes.Planes.__call__",
    "gates": f"{ENGINE}.clip.ClipRun._decide",
    "sums": f"{ENGINE}.clip.summed",
    "pools": f"{ENGINE}.clip.maxima",
    "shifts": f"{ENGINE}.ways.shifted",
    "shifts in place": f"{ENGINE}.shift._shift",
    "clips": f"{ENGINE}.engine.channels_last",
}
TOTAL = "all"


def main() -> None:
    """Measure; print a row when it is done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recognizers", default=",".join(RECOGNIZERS))
    parser.add_argument("--saving", type=float, default=0.35)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--dtype", default=",".join(DTYPES))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    busy = load()
    keep_freed_memory()
    import_mmaction()
    quiet_logging()
    columns = ["recognizer", "type", "engine", *PARTS, "rest", TOTAL, "n"]
    print(
        f"`python {shlex.join(sys.argv)}`, {code_revision()}, {processor()}, torch "
        f"{torch.__version__}, threads: {options.threads}, load {busy:.1f} before\n\n"
        f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}",
        flush=True,
    )
    for name in options.recognizers.split(","):
        for dtype in options.dtype.split(","):
            for row in rows(name, dtype, options):
                print(row, flush=True)


def rows(name: str, dtype: str, options: argparse.Namespace) -> Iterator[str]:
    """Time the parts of one recognizer, dense and adaptive by turns."""
    subject = random_subject(name, "paper", settings=VaRedSettings(weights="hard"))
    twin = accelerate(subject.adaptive, DTYPES[dtype])
    passes: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    for batch in drawn(subject, 1, options.saving, "both", NUM_ROUTES):
        subject.policy.routes = batch.routes_NL2
        for number in range(NUM_WARM + options.repeats):
            for full in passes:
                subject.policy.full, subject.policy.runs_gates = full, not full
                with timed_parts() as taken, torch.inference_mode():
                    timed(recognizer_forward, taken, TOTAL)(twin, batch.clips)
                if number >= NUM_WARM:
                    passes[full].append(taken)
    for full, those in passes.items():
        ms = {part: [1e3 * taken[part] for taken in those] for part in (*PARTS, TOTAL)}
        rest = np.array(ms[TOTAL]) - np.sum([ms[part] for part in PARTS], 0)
        cells = [f"{np.median(ms[part]):.1f}" for part in PARTS]
        cells += [f"{np.median(rest):.1f}", f"{np.median(ms[TOTAL]):.1f}", str(len(those))]
        yield f"| {name} | {dtype} | {'dense' if full else 'adaptive'} | {' | '.join(cells)} |"


@contextmanager
def timed_parts() -> Iterator[dict[str, float]]:
    """Within the block, add up the seconds that each part takes."""
    taken: dict[str, float] = defaultdict(float)
    with ExitStack() as patches:
        for part, path in PARTS.items():
            patches.enter_context(patch(path, timed(resolve_name(path), taken, part)))
        yield taken


def timed(function: Callable[..., Any], taken: dict[str, float], part: str) -> Callable[..., Any]:
    """Return the function, with a clock around it."""

    def clocked(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        result = function(*args, **kwargs)
        taken[part] += time.perf_counter() - start
        return result

    return clocked


if __name__ == "__main__":
    main()
