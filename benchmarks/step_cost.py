"""What a VA-RED2 training step costs beside a dense one, interleaved in one run.

    python benchmarks/step_cost.py [--batch 16] [--size 56] [--repeats 15] [--out FILE]
        [--method-settings '{gate_sees: block}'] [--parts] [--threads 2]

Prints Markdown tables, in contiguous memory and with channels last, dense and VA-RED2 alike: median
milliseconds of process time, and the median and range of the ratio, pair by pair, while gates
learn, are forced full, and rest. Process time, because desk machines are shared; with one thread it
is the step's own, with more it is the time on the wall. The step is the recipe's: loss, backward,
AdamW in its groups. Memory is the most bytes of tensors alive at a time, as torch's profiler sees
allocations, above what is there before the step. `--parts` times the learning step with parts of
the method taken out by turns instead; what is left is not VA-RED2, and says only what those parts
take. The last of them is what the dense step would take if it had the compiled normalisation too,
and a few calls more.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from harness.checkout import code_revision
from harness.options import option_value
from registry._mmaction import import_mmaction
from registry.bench.machine import processor
from registry.optimiser import optimiser_settings
from registry.recognizers.build import build, example_input
from registry.tables import RECOGNIZERS
from registry.vared.copies import CopyPlan
from registry.vared.fused import normalise_and_blend
from registry.vared.recognizer import adapt
from registry.vared.settings import VaRedSettings

NUM_CLASSES, NUM_FRAMES, NUM_WARM = 6, 8, 2
PHASES = ("learning", "full", "settled")
FORMATS = {"contiguous": False, "channels last": True}

Part = tuple[str, Callable[..., Any]]
"""What stands in for a function of the method, by its path."""


def never(*_: Any) -> bool:
    """Let a gate decide by itself, in PyTorch's operations."""
    return False


def not_at_once(*_: Any) -> None:
    """Let normalisation, activation and blend run one by one, in PyTorch's operations."""


def unblended(u: torch.Tensor, norm: Any, act: Any, plan: CopyPlan, _: Any) -> torch.Tensor | None:
    """Normalise and activate in the compiled pass, and blend nothing."""
    single = CopyPlan((1,), (1,), plan.num_channels, plan.num_frames, mirrored=False)
    ones = u.new_ones(len(u) if u.dim() == 5 else len(u) // plan.num_frames, 1)
    return normalise_and_blend(u, norm, act, single, (ones, ones))


def nothing_seen(_: Any, x_NCTHW: torch.Tensor) -> torch.Tensor:
    """Stand in for what a gate sees."""
    return x_NCTHW.new_zeros(x_NCTHW.shape[:2])


def all_open(gate: Any, seen: torch.Tensor, watches: bool = False) -> tuple[torch.Tensor, ...]:
    """Stand in for a gate."""
    channel, time = (seen.new_ones(len(seen), num) for num in gate.num_branches)
    return channel, time, torch.cat([channel, time], 1)


APART: Part = ("registry.vared.dynamic.is_fused_gate", never)
NO_PASS: Part = ("registry.vared.dynamic.normalise_and_blend", not_at_once)
NO_BLEND: Part = ("registry.vared.dynamic.normalise_and_blend", unblended)
NO_GATES: tuple[Part, ...] = (
    APART,
    ("registry.vared.gate.Look.forward", nothing_seen),
    ("registry.vared.gate.Gate.forward", all_open),
)
PARTS: dict[str, tuple[Part, ...]] = {
    "learning": (),
    "gates apart": (APART,),
    "no compiled pass": (APART, NO_PASS),
    "without gates": NO_GATES,
    "without gates and blend": (*NO_GATES, NO_BLEND),
}


def main() -> None:
    """Measure all recognizers at desk scale."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("threads", 1), ("batch", 16), ("size", 56), ("repeats", 15)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path, help="append the tables to this file")
    parser.add_argument("--method-settings", default="{}", help="of VA-RED2, as in budgets.yaml")
    parser.add_argument("--parts", action="store_true", help="what parts of the method take")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    import_mmaction()
    say(
        f"\n`python {shlex.join(sys.argv)}`, {code_revision()}, {processor()}, "
        f"torch {torch.__version__}, threads: {options.threads}\n",
        options.out,
    )
    if options.parts:
        say(header("recognizer", "dense ms", *PARTS, "n"), options.out)
        for name in RECOGNIZERS:
            say(row_of_parts(name, options), options.out)
        return
    columns = ("recognizer", "memory", "dense ms", *PHASES, "n", "bytes, learning")
    say(header(*columns), options.out)
    for name in RECOGNIZERS:
        for layout in FORMATS:
            say(row(name, layout, options), options.out)


def say(text: str, out: Path | None) -> None:
    """Print, and append to the file where there is one."""
    print(text, flush=True)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("a") as file:
            file.write(f"{text}\n")


def header(*columns: str) -> str:
    """Return the first two lines of a Markdown table."""
    return f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}"


def row(name: str, layout: str, options: argparse.Namespace) -> str:
    """Time one recognizer: dense, and adaptive in each phase of its training."""
    dense, adaptive, clips = recognizers(name, options)
    if FORMATS[layout]:
        for recognizer in (dense, adaptive):
            put_channels_last(recognizer)
    steps = [Step(dense, clips), *(Step(adaptive, clips, phase) for phase in PHASES)]
    cells = cells_of(steps, options.repeats)
    memory = steps[1].peak_bytes() / steps[0].peak_bytes()
    return f"| {name} | {layout} | {cells} | {options.repeats} | {memory:.2f} |"


def row_of_parts(name: str, options: argparse.Namespace) -> str:
    """Time one recognizer: dense, and learning with parts of the method taken out."""
    dense, adaptive, clips = recognizers(name, options)
    learning = Step(adaptive, clips, "learning")
    steps: list[Callable[[], float]] = [Step(dense, clips)]
    steps += [partial(run_without, parts, learning) for parts in PARTS.values()]
    return f"| {name} | {cells_of(steps, options.repeats)} | {options.repeats} |"


def recognizers(name: str, options: argparse.Namespace) -> tuple[Any, Any, torch.Tensor]:
    """Return a dense recognizer, the same with gates, and clips for both."""
    entry = RECOGNIZERS.load(name)
    config = entry.config(scale="desk", num_classes=NUM_CLASSES, num_frames=NUM_FRAMES, dropout=0.2)
    example = example_input(entry.input_format, NUM_FRAMES, options.size)
    dense: Any = build(config, example).train()
    adaptive: Any = build(config, example).train()
    adapt(
        adaptive, option_value("method-settings", VaRedSettings, options.method_settings), example
    )
    adaptive.vared.efficiency_weight = 1.0
    return dense, adaptive, torch.randn(options.batch, *example.shape[1:])


def cells_of(steps: Sequence[Callable[[], float]], repeats: int) -> str:
    """Run steps by turns; return milliseconds of the first, and ratios of the others to it."""
    times = [[step() for step in steps] for _ in range(NUM_WARM + repeats)][NUM_WARM:]
    ratios = [spread([t[i] / t[0] for t in times]) for i in range(1, len(steps))]
    return " | ".join([f"{1e3 * statistics.median(t[0] for t in times):.0f}", *ratios])


def run_without(parts: Sequence[Part], step: Step) -> float:
    """Run a step with parts of the method replaced by next to nothing."""
    with ExitStack() as patches:
        for part in parts:
            patches.enter_context(patch(*part))
        return step()


def put_channels_last(recognizer: Any) -> None:
    """Lay filters and inputs of the backbone out with their channels last."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    modules: list[Any] = list(recognizer.modules())
    convolutions = [m for m in modules if isinstance(m, (torch.nn.Conv2d, torch.nn.Conv3d))]
    for weight in (convolution.weight for convolution in convolutions):
        weight.data = weight.data.contiguous(memory_format=formats[weight.dim()])
    recognizer.backbone.register_forward_pre_hook(
        lambda _, inputs: (inputs[0].contiguous(memory_format=formats[inputs[0].dim()]),)
    )


def spread(ratios: list[float]) -> str:
    """Median, and the range behind it."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


class Step:
    """One training step: loss, backward, AdamW.

    Args:
        recognizer: In training mode.
        clips: Normalised inputs.
        phase: What the gates do; any for a dense recognizer.
    """

    def __init__(self, recognizer: Any, clips: torch.Tensor, phase: str = "full") -> None:
        from mmaction.structures import ActionDataSample
        from mmengine.optim import build_optim_wrapper

        self.recognizer, self.clips, self.phase = recognizer, clips, phase
        self.samples = [ActionDataSample().set_gt_label(i % NUM_CLASSES) for i in range(len(clips))]
        paramwise = {"vared": {"lr_mult": 10.0, "decay_mult": 0.0}}
        has_gates = hasattr(recognizer, "vared")
        settings = optimiser_settings(1e-3, 0.01, paramwise if has_gates else {})
        self.optimiser = build_optim_wrapper(recognizer, settings)

    def __call__(self) -> float:
        """Run it; return seconds: see above."""
        clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
        if hasattr(self.recognizer, "vared"):
            self.recognizer.vared.full = self.phase == "full"
            self.recognizer.vared.frozen = self.phase == "settled"
        start = clock()
        self.optimiser.zero_grad()
        losses = self.recognizer.loss(self.clips, self.samples)
        sum(value for name, value in losses.items() if "loss" in name).backward()
        self.optimiser.step()
        return clock() - start

    def peak_bytes(self) -> int:
        """Run it; return the most bytes alive at a time, above those before the step."""
        activity = torch.profiler.ProfilerActivity.CPU
        with torch.profiler.profile(activities=[activity], profile_memory=True) as profiler:
            self()
        alive = peak = 0
        for event in sorted(memory_events(profiler), key=lambda event: event.start_ns()):
            alive += event.nbytes()
            peak = max(peak, alive)
        return peak


def memory_events(profiler: Any) -> list[Any]:
    """Return the profiler's allocations and releases."""
    events = profiler.profiler.kineto_results.events()
    return [event for event in events if event.name() == "[memory]"]


if __name__ == "__main__":
    main()
