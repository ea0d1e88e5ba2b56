"""What a VA-RED2 training step costs beside a dense one, interleaved in one run.

    python benchmarks/step_cost.py [--threads 1] [--batch 16] [--size 56] [--repeats 15]

Prints a Markdown table: median milliseconds of process time and the median and range of the ratio,
pair by pair. Process time, because desk machines are shared; with one thread it is the step's own.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch

from harness.environment import processor
from registry._mmaction import import_mmaction, quiet_logging
from registry.recognizers.build import build, example_input
from registry.tables import RECOGNIZERS
from registry.vared.recognizer import adapt
from registry.vared.settings import VaRedSettings

NUM_CLASSES, NUM_FRAMES, NUM_WARM = 6, 8, 2


def main() -> None:
    """Measure all recognizers at desk scale."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("threads", 1), ("batch", 16), ("size", 56), ("repeats", 15)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    import_mmaction()
    quiet_logging()
    print(f"{processor()}, torch {torch.__version__}, {options}\n")
    print("| recognizer | dense ms | gates learning | gates full | n |")
    print("|---|---|---|---|---|")
    for name in RECOGNIZERS:
        print(row(name, options))


def row(name: str, options: argparse.Namespace) -> str:
    """Time one recognizer: dense, adaptive, and adaptive with its gates forced full."""
    entry = RECOGNIZERS.load(name)
    config = entry.config(scale="desk", num_classes=NUM_CLASSES, num_frames=NUM_FRAMES, dropout=0.2)
    example = example_input(entry.input_format, NUM_FRAMES, options.size)
    dense: Any = build(config, example).train()
    adaptive: Any = build(config, example).train()
    adapt(adaptive, VaRedSettings(), example)
    adaptive.vared.efficiency_weight = 1.0
    clips = torch.randn(options.batch, *example.shape[1:])
    steps = [Step(dense, clips), Step(adaptive, clips), Step(adaptive, clips, full=True)]
    times = [[step() for step in steps] for _ in range(NUM_WARM + options.repeats)][NUM_WARM:]
    cells = [f"{1e3 * statistics.median(t[0] for t in times):.0f}"]
    cells += [spread([t[i] / t[0] for t in times]) for i in (1, 2)]
    return f"| {name} | {' | '.join(cells)} | {len(times)} |"


def spread(ratios: list[float]) -> str:
    """Median, and the range behind it."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


class Step:
    """One training step: loss, backward, AdamW.

    Args:
        recognizer: In training mode.
        clips: Normalised inputs.
        full: Force the gates full, as in the warm-up.
    """

    def __init__(self, recognizer: Any, clips: torch.Tensor, *, full: bool = False) -> None:
        from mmaction.structures import ActionDataSample

        self.recognizer, self.clips, self.full = recognizer, clips, full
        self.samples = [ActionDataSample().set_gt_label(i % NUM_CLASSES) for i in range(len(clips))]
        self.optimiser = torch.optim.AdamW(recognizer.parameters(), fused=True)

    def __call__(self) -> float:
        """Run it; return seconds of process time."""
        if hasattr(self.recognizer, "vared"):
            self.recognizer.vared.full = self.full
        start = time.process_time()
        self.optimiser.zero_grad()
        losses = self.recognizer.loss(self.clips, self.samples)
        sum(value for name, value in losses.items() if "loss" in name).backward()
        self.optimiser.step()
        return time.process_time() - start


if __name__ == "__main__":
    main()
