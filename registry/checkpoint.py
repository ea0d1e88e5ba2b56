"""Save training so that it goes on, from any step, as if it had never been interrupted.

MMEngine's own checkpoints stand at the end of an epoch, without random states, and its `resume`
cannot read them under PyTorch 2.6 and later. Of MMEngine are the parts: a training loop of ours,
state dicts, and the hook points `before_save_checkpoint` and `after_load_checkpoint`, by which each
hook keeps its own state: plain data and tensors.
"""

from __future__ import annotations

import copy
import logging
import os
import random
import uuid
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ._mmaction import import_mmaction

import_mmaction()

from mmengine.model import is_model_wrapper  # noqa: E402
from mmengine.runner import EpochBasedTrainLoop  # noqa: E402

logger = logging.getLogger(__name__)

State = dict[str, Any]


class Keeper(Protocol):
    """Where and when training is saved."""

    @property
    def path(self) -> Path:
        """The file. Where it exists, training goes on from it."""

    def due(self) -> bool:
        """Say whether to save now; asked after every step."""

    def saved(self, num_steps: int) -> None:
        """Hear that so many steps are safe; what is raised here ends training."""


def kept(keeper: Keeper) -> Callable[..., KeptLoop]:
    """Return what MMEngine's `train_cfg` takes as `type`; it copies settings, but no functions."""

    def build(**settings: Any) -> KeptLoop:
        return KeptLoop(keeper, **settings)

    return build


class KeptLoop(EpochBasedTrainLoop):  # type: ignore[misc]
    """MMEngine's loop over epochs, saved between any two steps.

    The step that ends an epoch counts as done once the epoch is closed, so that a file stands
    either inside an epoch or before the next one.

    Args:
        keeper: Where and when.
        **settings: As for EpochBasedTrainLoop.
    """

    def __init__(self, keeper: Keeper, **settings: Any) -> None:
        super().__init__(**settings)
        self.keeper = keeper

    def run(self) -> nn.Module:
        """Train from where the file stands; without one, from the start."""
        goes_on = _take_up(self.runner, self.keeper.path)
        random_states = _random()
        self.runner.call_hook("before_train")
        if goes_on:
            _set_random(random_states)  # what hooks draw now was drawn before the first step too
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
        self.runner.call_hook("after_train")
        model: nn.Module = self.runner.model
        return model

    def run_epoch(self) -> None:
        """Run an epoch, or what is left of one."""
        done = self._iter % len(self.dataloader)
        if done:
            self._finish_epoch(done)
        else:
            super().run_epoch()
        self._keep()

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Run one step, and save it if it is time."""
        super().run_iter(idx, data_batch)
        if self._iter % len(self.dataloader):
            self._keep()

    def go_to(self, num_steps: int) -> None:
        """Stand where so many steps are done."""
        self._iter = num_steps
        self._epoch = num_steps // len(self.dataloader)

    def _finish_epoch(self, done: int) -> None:
        """Run the steps after `done` without reading earlier clips, or opening the epoch again.

        A loader's iterator draws from torch's random state when it is made; this draws nothing.
        """
        loader = self.dataloader
        loader.sampler.set_epoch(self._epoch)
        self.runner.model.train()
        for idx, indices in enumerate(islice(loader.batch_sampler, done, None), start=done):
            self.run_iter(idx, loader.collate_fn([loader.dataset[i] for i in indices]))
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1

    def _keep(self) -> None:
        due = self.keeper.due()
        if due or self._iter == self._max_iters:
            write_state(self.keeper.path, _state(self.runner))
            self.keeper.saved(self._iter)


def _state(runner: Any) -> State:
    """Everything that the steps to come depend on, as plain data and tensors."""
    state = {
        "seed": runner.seed,
        "max_steps": runner.max_iters,
        "num_steps": runner.iter,
        "model": _model(runner).state_dict(),
        "optimiser": runner.optim_wrapper.state_dict(),
        "schedulers": [scheduler.state_dict() for scheduler in runner.param_schedulers],
        "clips": _counts(runner),
        "random": _random(),
    }
    runner.call_hook("before_save_checkpoint", checkpoint=state)
    return state


def _restore(runner: Any, state: State) -> None:
    """Take all of `_state` up again.

    Raises:
        Exception: The state is not of this training; half of it may have been taken up.
    """
    _check(state, runner)
    _model(runner).load_state_dict(state["model"])
    runner.optim_wrapper.load_state_dict(state["optimiser"])
    _check_optimiser(runner.optim_wrapper.optimizer)
    for scheduler, saved in zip(runner.param_schedulers, state["schedulers"], strict=True):
        scheduler.load_state_dict(saved)
    for name, counts in _counts(runner).items():
        counts.copy_(state["clips"][name])
    runner.call_hook("after_load_checkpoint", checkpoint=state)
    runner.train_loop.go_to(state["num_steps"])
    _set_random(state["random"])


def _take_up(runner: Any, path: Path) -> bool:
    """Restore what the file holds; return False for a start from the beginning.

    A file that cannot be used is told and left as it is, until the next save replaces it.
    """
    if not path.exists():
        return False
    fresh = copy.deepcopy(_state(runner))
    try:
        # to the CPU first: states are copied to the device of what takes them up
        _restore(runner, torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # damage shows as almost any of them
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        logger.warning("training starts from the beginning: cannot use %s (%s)", path, reason)
        _restore(runner, fresh)
        return False
    return True


def _check(state: State, runner: Any) -> None:
    for name, expected in (("seed", runner.seed), ("max_steps", runner.max_iters)):
        if state[name] != expected:
            raise ValueError(f"`{name}` must be {expected}, but got {state[name]}")
    if not 0 <= state["num_steps"] <= runner.max_iters:
        raise ValueError(f"`num_steps` must be in training, but got {state['num_steps']}")


def _check_optimiser(optimiser: torch.optim.Optimizer) -> None:
    """Compare shapes, which torch does not do before the next step."""
    for parameter, values in optimiser.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.dim() and value.shape != parameter.shape:
                raise ValueError(
                    f"`{name}` must be of shape {tuple(parameter.shape)}, "
                    f"but got {tuple(value.shape)}"
                )


def _counts(runner: Any) -> dict[str, Tensor]:
    """Return the tensors a data set keeps: ClipDataset counts in one how often a clip was read."""
    dataset = runner.train_dataloader.dataset
    return {name: value for name, value in vars(dataset).items() if isinstance(value, Tensor)}


def _random() -> State:
    kind, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (kind, np.asarray(keys).tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _set_random(states: State) -> None:
    random.setstate(states["python"])
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, np.array(keys, np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    for device, state in zip(range(torch.cuda.device_count()), states["cuda"], strict=False):
        torch.cuda.set_rng_state(state, device)


def _model(runner: Any) -> nn.Module:
    model: nn.Module = runner.model.module if is_model_wrapper(runner.model) else runner.model
    return model


def write_state(path: Path, state: State) -> None:
    """Write so that a reader, or a crash, meets the old file or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # or a power cut could undo the rename
    finally:
        os.close(folder)
