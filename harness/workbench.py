"""What a trial works on: its clips, its recognizer's config, and the recognizer made ready."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from registry.bench.measured import question
from registry.interfaces import ClipShape, ClipSource, Method, Prepared, Recognizer, Splits
from registry.macs import count
from registry.recognizers.build import build, example_input
from registry.recognizers.forward import recognizer_forward
from registry.tables import DATASETS, METHODS, RECOGNIZERS

from .machine_times import Answer
from .trial import Trial


@dataclass(frozen=True)
class Workbench:
    """What a trial works on, opened once."""

    clip: ClipShape
    splits: Splits
    config: dict[str, Any]
    example: torch.Tensor
    dense_macs: int
    dense_params: int


def open_workbench(trial: Trial, data_root: Path | None) -> Workbench:
    """Return what a trial works on.

    Raises:
        ValueError, OSError: Its clips cannot be used.
    """
    recognizer: Recognizer = RECOGNIZERS.load(trial.recognizer.name)
    source: ClipSource = DATASETS.load(trial.dataset.name)
    recipe = trial.recipe
    clip = ClipShape(recipe.frames, recipe.size, recognizer.input_format)
    settings = source.settings_type(**trial.dataset.settings)
    splits = source.splits(settings, data_root, clip, trial.seed)
    config = recognizer.config(
        scale=trial.scale,
        num_classes=len(splits.class_names),
        num_frames=recipe.frames,
        dropout=recipe.dropout,
    )
    example = example_input(recognizer.input_format, recipe.frames, recipe.size)
    dense = build(config, example.to("meta"))
    macs = count(dense, example.to("meta"), recognizer_forward).total
    return Workbench(clip, splits, config, example, macs, num_params(dense))


def prepare(trial: Trial, bench: Workbench, times: Answer) -> Prepared:
    """Return the recognizer that a trial trains, made as its seed says.

    Args:
        trial: Which.
        bench: What it works on.
        times: Answers what layers take, where the method's settings want to know.

    Raises:
        ValueError: The budget or a setting cannot be met.
    """
    method: Method = METHODS.load(trial.method.name)
    settings = method.settings_type(**trial.method.settings)
    if method.needs_times(settings):
        asked = question(bench.config, bench.clip, settings, torch.get_num_threads())
        method = method.with_times(times(asked))
    torch.manual_seed(trial.seed)
    return method.prepare(bench.config, bench.example, trial.budget, settings)


def num_params(model: nn.Module) -> int:
    """Return how many parameters a recognizer has."""
    return sum(p.numel() for p in model.parameters())
