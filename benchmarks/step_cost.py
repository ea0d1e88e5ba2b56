"""What a VA-RED2 training step costs beside a dense one, interleaved in one run.

    python benchmarks/step_cost.py [--batch 16] [--size 56] [--repeats 15] [--out FILE]
        [--method-settings '{gate_sees: block}']

Prints Markdown tables, in contiguous memory and with channels last, dense and VA-RED2 alike: median
milliseconds of process time, and the median and range of the ratio, pair by pair, while gates
learn, are forced full, and rest. Process time, because desk machines are shared; with one thread it
is the step's own. The step is the recipe's: loss, backward, AdamW in its groups. Memory is the most
bytes of tensors alive at a time, as torch's profiler sees allocations, above what is there before
the step.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from harness.checkout import code_revision
from harness.environment import processor
from harness.options import option_value
from registry._mmaction import import_mmaction
from registry.optimiser import optimiser_settings
from registry.recognizers.build import build, example_input
from registry.tables import RECOGNIZERS
from registry.vared.recognizer import adapt
from registry.vared.settings import VaRedSettings

NUM_CLASSES, NUM_FRAMES, NUM_WARM = 6, 8, 2
PHASES = ("learning", "full", "settled")
FORMATS = {"contiguous": False, "channels last": True}


def main() -> None:
    """Measure all recognizers at desk scale."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("threads", 1), ("batch", 16), ("size", 56), ("repeats", 15)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path, help="append the tables to this file")
    parser.add_argument("--method-settings", default="{}", help="of VA-RED2, as in budgets.yaml")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    import_mmaction()
    say(
        f"\n`python benchmarks/step_cost.py --batch {options.batch} --size {options.size} "
        f"--repeats {options.repeats} --method-settings '{options.method_settings}'`, "
        f"{code_revision()}, {processor()}, "
        f"torch {torch.__version__}, {options.threads} thread\n\n"
        "| recognizer | memory | dense ms | learning | full | settled | n | bytes, learning |\n"
        "|---|---|---|---|---|---|---|---|",
        options.out,
    )
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


def row(name: str, layout: str, options: argparse.Namespace) -> str:
    """Time one recognizer: dense, and adaptive in each phase of its training."""
    entry = RECOGNIZERS.load(name)
    config = entry.config(scale="desk", num_classes=NUM_CLASSES, num_frames=NUM_FRAMES, dropout=0.2)
    example = example_input(entry.input_format, NUM_FRAMES, options.size)
    dense: Any = build(config, example).train()
    adaptive: Any = build(config, example).train()
    adapt(
        adaptive, option_value("method-settings", VaRedSettings, options.method_settings), example
    )
    adaptive.vared.efficiency_weight = 1.0
    if FORMATS[layout]:
        for recognizer in (dense, adaptive):
            put_channels_last(recognizer)
    clips = torch.randn(options.batch, *example.shape[1:])
    steps = [Step(dense, clips), *(Step(adaptive, clips, phase) for phase in PHASES)]
    times = [[step() for step in steps] for _ in range(NUM_WARM + options.repeats)][NUM_WARM:]
    cells = [f"{1e3 * statistics.median(t[0] for t in times):.0f}"]
    cells += [spread([t[1 + i] / t[0] for t in times]) for i in range(len(PHASES))]
    memory = steps[1].peak_bytes() / steps[0].peak_bytes()
    return f"| {name} | {layout} | {' | '.join(cells)} | {len(times)} | {memory:.2f} |"


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
        """Run it; return seconds of process time."""
        if hasattr(self.recognizer, "vared"):
            self.recognizer.vared.full = self.phase == "full"
            self.recognizer.vared.frozen = self.phase == "settled"
        start = time.process_time()
        self.optimiser.zero_grad()
        losses = self.recognizer.loss(self.clips, self.samples)
        sum(value for name, value in losses.items() if "loss" in name).backward()
        self.optimiser.step()
        return time.process_time() - start

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
