"""BudgetHook: an MMEngine hook that treats a budget as a constraint. All of it is ours.

Three phases, by the share of training steps done: *warm-up*, gates forced full, so that the weights
learn first (pressure or gate noise from the start kills training); *learning*, gates and weights
together, with the weight of the efficiency loss steered so that the executed share follows a ramp
from 1 down to the budget; *settled*, gates at rest while the weights adapt to the routes they will
be used with. Should the share lie outside its window in the last phase, all gates are shifted
together until it does not: `calibrate`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.dist import all_reduce, broadcast
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from torch import Tensor, nn

from .calibration import DEPTH, Shares, calibrate
from .loss import AdaptiveLoss
from .policy import Policy
from .settings import NO_TEACHER, NUM_CALIBRATION_CLIPS, ControlSettings

PROPORTIONAL = 20.0
INTEGRAL = 0.05
SMOOTHING = 0.9
LOWEST, HIGHEST = -5.0, 50.0


@dataclass
class Controller:
    """A proportional-integral controller of the efficiency weight.

    Args:
        goal: Executed share to end at.
        ramp: Share of the learning phase in which the target comes down; the rest holds it.
    """

    goal: float
    ramp: float
    integral: float = 0.0
    smoothed: float | None = None

    def target(self, progress: float) -> float:
        """Return the share wanted after `progress` in [0, 1] of the learning phase."""
        return 1 - (1 - self.goal) * min(progress / self.ramp, 1.0)

    def step(self, share: float, progress: float) -> float:
        """Take the batch's executed share in; return the weight for the next step."""
        smoothed = share if self.smoothed is None else self.smoothed
        self.smoothed = SMOOTHING * smoothed + (1 - SMOOTHING) * share
        error = self.smoothed - self.target(progress)
        self.integral = _clamp(self.integral + INTEGRAL * error)
        return _clamp(self.integral + PROPORTIONAL * error)


def _clamp(weight: float) -> float:
    return min(max(weight, LOWEST), HIGHEST)


@HOOKS.register_module()
class BudgetHook(Hook):  # type: ignore[misc]
    """Steers an adaptive recognizer to a budget while it trains.

    Args:
        budget: Share of the dense MACs that the trained recognizer may execute on average, in
            (0, 1]; None with a fixed `efficiency_weight`.
        settings: Of the control; in an MMAction2 config, a dict of `ControlSettings` fields.
    """

    priority = "NORMAL"

    def __init__(
        self, budget: float | None, settings: ControlSettings | dict[str, Any] | None = None
    ) -> None:
        self.settings = (
            settings
            if isinstance(settings, ControlSettings)
            else ControlSettings(**(settings or {}))
        )
        if budget is None and self.settings.efficiency_weight is None:
            raise ValueError("BudgetHook needs a `budget` or a fixed `efficiency_weight`")
        self.budget = budget
        goal = 1.0 if budget is None else budget - self.settings.margin - DEPTH / 2
        self.controller = Controller(goal, self.settings.ramp)

    def before_train(self, runner: Any) -> None:
        """Say at once when no route is cheap enough, or when a teacher could learn nothing."""
        floor = _policy(runner).costs.floor()
        if _loss(runner).settings.distil and not self.settings.warmup:
            raise ValueError(NO_TEACHER)
        if self.budget is not None and floor > self.budget:
            runner.logger.warning(
                f"budget {self.budget:g} cannot be met: gates at their cheapest take {floor:.3f}"
            )

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Set the phase for this step."""
        policy = _policy(runner)
        done = runner.iter / runner.max_iters
        policy.full = done < self.settings.warmup
        settles = done >= self.settings.settle
        if settles and not policy.frozen:
            self._settle(runner, policy)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Steer the efficiency weight by the share this batch executed."""
        policy = _policy(runner)
        if policy.full or policy.frozen:
            return
        start, end = self.settings.warmup, self.settings.settle
        progress = (runner.iter / runner.max_iters - start) / max(end - start, 1e-9)
        fixed = self.settings.efficiency_weight
        share = outputs["macs_share"] if outputs else policy.share().mean()
        steered = self.controller.step(_mean_of_processes(share), progress)
        policy.efficiency_weight = steered if fixed is None else fixed

    def before_train_epoch(self, runner: Any) -> None:
        """While settled, keep the share in its window as the weights move on."""
        policy = _policy(runner)
        if policy.frozen:
            self._calibrate(runner)

    def after_train_epoch(self, runner: Any) -> None:
        """Leave with the share in its window, or as near as the gates can come.

        After the last epoch and not after training: checkpoints are written in between.
        """
        if runner.epoch + 1 == runner.max_epochs:
            _policy(runner).full = False
            self._calibrate(runner)

    def after_train(self, runner: Any) -> None:
        """Let the teacher go: it has no part in the trained recognizer."""
        _loss(runner).take_up_teacher(None)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Keep the controller's state beside the weights, as plain numbers, and the teacher's.

        The policy's `full` is not part of it: it is set anew before each step.
        """
        policy = _policy(runner)
        checkpoint["vared_controller"] = {
            "integral": self.controller.integral,
            "smoothed": self.controller.smoothed,
            "efficiency_weight": policy.efficiency_weight,
            "frozen": policy.frozen,
        }
        teacher = _loss(runner).teacher_state()
        if teacher is not None:
            checkpoint["vared_teacher"] = teacher

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Take the controller's state up again; a checkpoint without one is a fresh start."""
        state = checkpoint.get("vared_controller")
        if state is None:
            return
        policy = _policy(runner)
        self.controller.integral, self.controller.smoothed = state["integral"], state["smoothed"]
        policy.efficiency_weight, policy.frozen = state["efficiency_weight"], state["frozen"]
        _loss(runner).take_up_teacher(checkpoint.get("vared_teacher"))

    def _settle(self, runner: Any, policy: Policy) -> None:
        policy.frozen = True
        policy.efficiency_weight = 0.0
        self._calibrate(runner)

    def _calibrate(self, runner: Any) -> None:
        if self.budget is None:
            return
        shares = Shares(_model(runner), _sample_batches(runner))
        calibrate(shares, self.budget, self.settings.margin)
        # processes that train together differ in their batch statistics, and so in what they see
        for layer in shares.layers:
            broadcast(layer.gate.excite.bias.data, src=0)


def _sample_batches(runner: Any) -> Sequence[Any]:
    """The same training clips each time, spread over the list, in batches of the loader's size.

    As testing sees them, where the data set can show them so: augmentation shifts what gates see,
    all clips' alike, and one layer's gate is enough to miss the window.
    """
    loader = runner.train_dataloader
    return calibration_batches(loader.dataset, loader.batch_size or 1, loader.collate_fn)


def calibration_batches(
    dataset: Any, step: int, collate: Callable[[list[Any]], Any]
) -> Sequence[Any]:
    """Return the clips that gates are calibrated on, in batches of `step`."""
    dataset = dataset.as_tested() if _can_be_tested(dataset) else dataset
    size = len(dataset)
    chosen = range(0, size, max(1, size // NUM_CALIBRATION_CLIPS))
    clips = [dataset[i] for i in chosen][:NUM_CALIBRATION_CLIPS]
    return [collate(clips[i : i + step]) for i in range(0, len(clips), step)]


def _can_be_tested(dataset: Any) -> bool:
    return hasattr(dataset, "as_tested")


def _mean_of_processes(share: Tensor) -> float:
    """The share that all processes of a distributed training executed; all steer alike."""
    mean = share.detach().clone()
    all_reduce(mean, op="mean")
    return float(mean)


def _model(runner: Any) -> nn.Module:
    model: nn.Module = runner.model.module if is_model_wrapper(runner.model) else runner.model
    return model


def _loss(runner: Any) -> AdaptiveLoss:
    model: Any = _model(runner)
    loss: AdaptiveLoss = model.loss
    return loss


def _policy(runner: Any) -> Policy:
    policy = getattr(_model(runner), "vared", None)
    if not isinstance(policy, Policy):
        raise ValueError(
            "BudgetHook needs an adaptive recognizer: set the model's type to AdaptiveRecognizer2D "
            "or AdaptiveRecognizer3D"
        )
    return policy
