"""Adaptive recognizers: MMAction2's own, with gates, and a loss that pays for what they execute."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .._mmaction import import_mmaction

import_mmaction()

from mmaction.models.recognizers import Recognizer2D, Recognizer3D  # noqa: E402
from mmaction.registry import MODELS  # noqa: E402

from ..recognizers.build import example_input  # noqa: E402
from .loss import AdaptiveLoss  # noqa: E402
from .policy import Policy  # noqa: E402
from .settings import LossSettings, VaRedSettings  # noqa: E402
from .surgery import Surgery, operate  # noqa: E402
from .times import MachineTimes  # noqa: E402


def adapt(
    recognizer: Any,
    settings: VaRedSettings,
    example: Tensor,
    loss: LossSettings | None = None,
    times: MachineTimes | None = None,
) -> Surgery:
    """Give a built MMAction2 recognizer gates and the losses that train them, in place.

    Afterwards `recognizer.vared` is its `Policy`. State dict keys of the recognizer are unchanged;
    the new ones contain `.vared.`.

    Args:
        recognizer: Recognizer2D or Recognizer3D, built, on any device.
        settings: Of the method.
        example: Input of one clip (`example_input`).
        loss: Of what is added to its loss; None: the defaults.
        times: What its layers take on this machine, where `loss` is to be of time.

    Raises:
        ValueError: No convolution can be made dynamic, or times are wanted that there are not.
    """
    surgery = operate(recognizer, settings, example)
    policy = surgery.policy
    recognizer.vared = policy
    recognizer.loss = AdaptiveLoss(recognizer, policy, loss or LossSettings(), times)
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
    """Keeps the head's last scores for the losses that need them."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def __call__(self, _: nn.Module, inputs: Any, scores: Tensor) -> None:
        """Store scores (N, classes), with their graph."""
        self.policy.scores = scores


def _segments(recognizer: Any, example: Tensor) -> int:
    """Frames that make one clip of a 2D recognizer: TSM fixes them, else the example's."""
    return int(getattr(recognizer.backbone, "num_segments", None) or example.shape[1])


def _adapt_from_config(recognizer: nn.Module, input_format: str, vared: dict[str, Any]) -> None:
    settings = dict(vared)
    num_frames, size = settings.pop("num_frames"), settings.pop("size")
    loss = {key: settings.pop(key) for key in LossSettings.model_fields if key in settings}
    example = example_input(input_format, num_frames, size)  # type: ignore[arg-type]
    adapt(recognizer, VaRedSettings(**settings), example, LossSettings(**loss))


@MODELS.register_module()
class AdaptiveRecognizer2D(Recognizer2D):  # type: ignore[misc]
    """MMAction2's Recognizer2D with VA-RED2.

    Args:
        vared: `num_frames` and `size` of a clip, and fields of `VaRedSettings` and `LossSettings`.
        **config: As for Recognizer2D.
    """

    def __init__(self, vared: dict[str, Any], **config: Any) -> None:
        super().__init__(**config)
        _adapt_from_config(self, "NCHW", vared)


@MODELS.register_module()
class AdaptiveRecognizer3D(Recognizer3D):  # type: ignore[misc]
    """MMAction2's Recognizer3D with VA-RED2.

    Args:
        vared: `num_frames` and `size` of a clip, and fields of `VaRedSettings` and `LossSettings`.
        **config: As for Recognizer3D.
    """

    def __init__(self, vared: dict[str, Any], **config: Any) -> None:
        super().__init__(**config)
        _adapt_from_config(self, "NCTHW", vared)
