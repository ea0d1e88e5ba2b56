"""Adaptive recognizers: MMAction2's own, with gates, and a loss that pays for what they execute."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .._mmaction import import_mmaction

import_mmaction()

from mmaction.models.recognizers import Recognizer2D, Recognizer3D  # noqa: E402
from mmaction.registry import MODELS  # noqa: E402

from ..recognizers.build import example_input  # noqa: E402
from .policy import Policy  # noqa: E402
from .settings import VaRedSettings  # noqa: E402
from .surgery import Surgery, operate  # noqa: E402


class AdaptiveLoss:
    """Stands in for a recognizer's `loss`: adds the efficiency loss to its losses.

    Recalled: L_e = (mu * sum_l share_l * r_l / R_l)^2 with mu = 1 for a correctly classified clip,
    else 0; L = L_acc + lambda * L_e. Gates, cheap operations and the layers that no gate controls
    are part of the share (ours), so that it is the share of MACs really executed.

    Args:
        recognizer: With gates installed.
        policy: Of its gates.
        square: Square the share.
        only_correct: Apply mu.
    """

    def __init__(
        self, recognizer: Any, policy: Policy, *, square: bool, only_correct: bool
    ) -> None:
        self.dense_loss = recognizer.loss
        self.policy = policy
        self.square = square
        self.only_correct = only_correct

    def __call__(self, inputs: Tensor, data_samples: list[Any], **kwargs: Any) -> dict[str, Tensor]:
        """Return MMAction2's losses, `loss_efficiency`, and `macs_share` for the log."""
        losses: dict[str, Tensor] = self.dense_loss(inputs, data_samples, **kwargs)
        if self.policy.full:
            return losses
        share_N = self.policy.share()
        paid_N = share_N.square() if self.square else share_N
        if self.only_correct:
            paid_N = paid_N * self._correct(data_samples)
        losses["loss_efficiency"] = self.policy.efficiency_weight * paid_N.mean()
        losses["macs_share"] = share_N.detach().mean()
        return losses

    def _correct(self, data_samples: list[Any]) -> Tensor:
        """1 for each clip (N,) whose last scores put its label first; each view for itself."""
        assert self.policy.scores is not None
        predicted = self.policy.scores.argmax(1)
        labels = torch.cat([sample.gt_label for sample in data_samples]).to(predicted.device)
        views = len(predicted) // len(labels)
        return (predicted == labels.repeat_interleave(views)).float()


def adapt(
    recognizer: Any,
    settings: VaRedSettings,
    example: Tensor,
    *,
    square: bool = True,
    only_correct: bool = True,
) -> Surgery:
    """Give a built MMAction2 recognizer gates and the efficiency loss, in place.

    Afterwards `recognizer.vared` is its `Policy`. State dict keys of the recognizer are unchanged;
    the new ones contain `.vared.`.

    Args:
        recognizer: Recognizer2D or Recognizer3D, built, on any device.
        settings: Of the method.
        example: Input of one clip (`example_input`).
        square: See `AdaptiveLoss`.
        only_correct: See `AdaptiveLoss`.

    Raises:
        ValueError: No convolution can be made dynamic.
    """
    surgery = operate(recognizer, settings, example)
    policy = surgery.policy
    recognizer.vared = policy
    recognizer.loss = AdaptiveLoss(recognizer, policy, square=square, only_correct=only_correct)
    counter = ClipCounter(policy, _segments(recognizer, example))
    recognizer.backbone.register_forward_pre_hook(counter)
    if not hasattr(recognizer.backbone, "num_segments"):
        recognizer.register_forward_pre_hook(SegmentCounter(counter), with_kwargs=True)
    recognizer.cls_head.register_forward_hook(ScoreKeeper(policy))
    return surgery


class ClipCounter:
    """Notes how many clips are folded into the batch that enters the backbone."""

    def __init__(self, policy: Policy, segments: int) -> None:
        self.policy = policy
        self.segments = segments

    def __call__(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Set the policy's `num_clips` from an input (N*T, C, H, W) or (N, C, T, H, W)."""
        batch = inputs[0].shape[0]
        self.policy.num_clips = batch // self.segments if inputs[0].dim() == 4 else batch


class SegmentCounter:
    """Tells a `ClipCounter` how many frames a clip of TSN's has: tests often take more of them."""

    def __init__(self, counter: ClipCounter) -> None:
        self.counter = counter

    def __call__(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Read T off inputs (N, T, C, H, W); any other shape folds no frames."""
        inputs = args[0] if args else kwargs["inputs"]
        if inputs.dim() == 5:
            self.counter.segments = inputs.shape[1]


class ScoreKeeper:
    """Keeps the head's last scores for the correct-prediction indicator."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def __call__(self, _: nn.Module, inputs: Any, scores: Tensor) -> None:
        """Store scores (N, classes)."""
        self.policy.scores = scores.detach()


def _segments(recognizer: Any, example: Tensor) -> int:
    """Frames that make one clip of a 2D recognizer: TSM fixes them, else the example's."""
    return int(getattr(recognizer.backbone, "num_segments", None) or example.shape[1])


def _adapt_from_config(recognizer: nn.Module, input_format: str, vared: dict[str, Any]) -> None:
    settings = dict(vared)
    num_frames, size = settings.pop("num_frames"), settings.pop("size")
    loss = {key: settings.pop(key) for key in ("square", "only_correct") if key in settings}
    example = example_input(input_format, num_frames, size)  # type: ignore[arg-type]
    adapt(recognizer, VaRedSettings(**settings), example, **loss)


@MODELS.register_module()
class AdaptiveRecognizer2D(Recognizer2D):  # type: ignore[misc]
    """MMAction2's Recognizer2D with VA-RED2.

    Args:
        vared: `num_frames` and `size` of a clip, and any field of `VaRedSettings`.
        **config: As for Recognizer2D.
    """

    def __init__(self, vared: dict[str, Any], **config: Any) -> None:
        super().__init__(**config)
        _adapt_from_config(self, "NCHW", vared)


@MODELS.register_module()
class AdaptiveRecognizer3D(Recognizer3D):  # type: ignore[misc]
    """MMAction2's Recognizer3D with VA-RED2.

    Args:
        vared: `num_frames` and `size` of a clip, and any field of `VaRedSettings`.
        **config: As for Recognizer3D.
    """

    def __init__(self, vared: dict[str, Any], **config: Any) -> None:
        super().__init__(**config)
        _adapt_from_config(self, "NCTHW", vared)
