"""Train a prepared recognizer by MMEngine's Runner."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from ._mmaction import import_mmaction
from .checkpoint import Keeper, kept
from .interfaces import Prepared, Splits
from .optimiser import optimiser_settings

import_mmaction()

from mmengine.hooks import Hook  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

Report = Callable[[dict[str, float]], None]


class Recipe(Protocol):
    """What training needs to know; `harness.trial.Recipe` has it."""

    @property
    def epochs(self) -> int: ...  # noqa: D102
    @property
    def batch(self) -> int: ...  # noqa: D102
    @property
    def lr(self) -> float: ...  # noqa: D102
    @property
    def weight_decay(self) -> float: ...  # noqa: D102
    @property
    def warmup(self) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class Trained:
    """A trained recognizer is the one that was prepared; this is what training it took.

    Args:
        num_steps: Optimiser steps.
        history: One entry an epoch: epoch, loss, and what else the recognizer logs.
        time_s: Seconds it took, in all processes that had a part in it.
        waited_s: Of these, seconds in which the next batch was not there yet.
        earlier_s: Of these, seconds in earlier processes.
    """

    num_steps: int
    history: tuple[dict[str, float], ...]
    time_s: float
    waited_s: float
    earlier_s: float


def train(
    prepared: Prepared,
    splits: Splits,
    recipe: Recipe,
    seed: int,
    folder: Path,
    report: Report,
    keeper: Keeper | None = None,
) -> Trained:
    """Train in place.

    With a keeper, training goes on from the keeper's file where there is one, and ends as it would
    have without the interruption: on a CPU with as many threads, to the last bit.

    Args:
        prepared: Recognizer, hooks and learning-rate factors of the method.
        splits: Only `splits.train` is read.
        recipe: Epochs, batch, learning rate.
        seed: Of initialisation, shuffling and augmentation.
        folder: MMEngine's logs go here.
        report: Called after each epoch with that epoch's means.
        keeper: Where and when training is saved; None: never.
    """
    epochs = EpochMeans(report)
    steps_per_epoch = max(1, len(splits.train) // recipe.batch)  # type: ignore[arg-type]
    runner = Runner(
        model=prepared.model,
        work_dir=str(folder),
        train_dataloader=_loader(splits, recipe.batch),
        train_cfg=_loop(recipe, keeper),
        optim_wrapper=optimiser_settings(recipe.lr, recipe.weight_decay, dict(prepared.paramwise)),
        param_scheduler=_schedule(recipe, recipe.epochs * steps_per_epoch),
        custom_hooks=[*prepared.hooks, epochs.wait, epochs],
        default_hooks=_QUIET,
        randomness={"seed": seed},
        default_scope="mmaction",
        log_level="WARNING",
        experiment_name=folder.name,
    )
    # init_weights logs every parameter, whatever the level of the runner's logger
    logging.getLogger("mmengine").setLevel(logging.ERROR)
    runner.train()
    prepared.model.eval()
    return Trained(
        runner.iter,
        tuple(epochs.history),
        epochs.time_s,
        epochs.wait.total_s,
        epochs.earlier_s,
    )


_QUIET: dict[str, Any] = {"logger": None, "checkpoint": None, "timer": None}


def _loop(recipe: Recipe, keeper: Keeper | None) -> dict[str, Any]:
    kind = {"by_epoch": True} if keeper is None else {"type": kept(keeper)}
    return {**kind, "max_epochs": recipe.epochs}


def _loader(splits: Splits, batch: int) -> dict[str, Any]:
    return {
        "dataset": splits.train,
        "batch_size": batch,
        "num_workers": 0,
        "sampler": {"type": "DefaultSampler", "shuffle": True},
        "drop_last": len(splits.train) >= batch,  # type: ignore[arg-type]
        "collate_fn": {"type": "pseudo_collate"},
    }


def _schedule(recipe: Recipe, num_steps: int) -> list[dict[str, Any]]:
    warm = int(recipe.warmup * num_steps)
    cosine = {
        "type": "CosineAnnealingLR",
        "by_epoch": False,
        "begin": warm,
        "end": num_steps,
        "T_max": max(1, num_steps - warm),
    }
    if warm == 0:
        return [cosine]
    linear = {"type": "LinearLR", "by_epoch": False, "begin": 0, "end": warm, "start_factor": 0.01}
    return [linear, cosine]


class LoaderWait(Hook):  # type: ignore[misc]
    """Measures how long training waits for its batches: the first of all hooks before a step."""

    priority = "HIGHEST"

    def __init__(self) -> None:
        self.total_s = 0.0
        self._since = time.perf_counter()

    def starts(self) -> None:
        """All that belongs to the last step is done: now the next batch is wanted."""
        self._since = time.perf_counter()

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """The batch is there."""
        self.total_s += time.perf_counter() - self._since


class EpochMeans(Hook):  # type: ignore[misc]
    """Averages what the recognizer logs over each epoch, and measures the time.

    Args:
        report: Called with each epoch's means.
    """

    priority = "VERY_LOW"

    def __init__(self, report: Report) -> None:
        self.report = report
        self.history: list[dict[str, float]] = []
        self._values: dict[str, list[torch.Tensor]] = {}
        self._started = time.perf_counter()
        self.earlier_s = 0.0
        """Seconds until the checkpoint that training goes on from."""
        self.wait = LoaderWait()

    @property
    def time_s(self) -> float:
        """Seconds since the start, less those between an interruption and going on."""
        return self.earlier_s + time.perf_counter() - self._started

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Take one step's logs in, without waiting for them."""
        for name, value in outputs.items():
            self._values.setdefault(name, []).append(value.detach())
        self.wait.starts()

    def before_train_epoch(self, runner: Any) -> None:
        """What others did to open the epoch is no waiting."""
        self.wait.starts()

    def after_train_epoch(self, runner: Any) -> None:
        """Close the epoch."""
        means = {
            name: torch.stack(values).double().mean().item()
            for name, values in self._values.items()
        }
        self._values.clear()
        entry = {"epoch": float(runner.epoch + 1), **means}
        self.history.append(entry)
        self.report(entry)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Keep the history, and the steps of the epoch that is not closed yet."""
        values = {name: torch.stack(values) for name, values in self._values.items()}
        checkpoint["epoch_means"] = {
            "history": list(self.history),
            "values": values,
            "time_s": self.time_s,
            "waited_s": self.wait.total_s,
        }

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Go on averaging where the checkpoint stands."""
        state = checkpoint["epoch_means"]
        device = next(runner.model.parameters()).device
        self._started, self.earlier_s = time.perf_counter(), state["time_s"]
        self.wait.total_s = state["waited_s"]
        self.wait.starts()
        self.history = list(state["history"])
        self._values = {
            name: list(values.to(device).unbind()) for name, values in state["values"].items()
        }
