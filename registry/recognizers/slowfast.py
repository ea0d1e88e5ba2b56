"""SlowFast: a slow pathway on few frames, fed by a narrow fast pathway on all of them."""

from __future__ import annotations

from typing import Any

from ..interfaces import InputFormat, Scale
from .published import (
    BASIC_BLOCK_FEATURES,
    DESK_DEPTH,
    DESK_WIDTH,
    PublishedRecognizer,
    published_model,
)

_DESK_RATE = 2
"""The slow pathway takes every second frame of 8; the published eighth would leave one."""

_DESK_CHANNEL_RATIO = 4
"""A fast pathway a quarter as wide as the slow one; the published eighth would leave 2 channels."""


class _SlowFast(PublishedRecognizer):
    """SlowFast 4x16 with ResNet-50s (paper) or narrow ResNet-18s for short clips (desk)."""

    name = "slowfast"
    published = "recognition/slowfast/slowfast_r50_8xb8-4x16x1-256e_kinetics400-rgb.py"
    input_format: InputFormat = "NCTHW"

    def config(
        self, *, scale: Scale, num_classes: int, num_frames: int, dropout: float
    ) -> dict[str, Any]:
        """Return the model config.

        Raises:
            ValueError: `num_frames` is no multiple of the slow pathway's stride in frames.
        """
        model = published_model(self.published, num_classes=num_classes, dropout=dropout)
        if scale == "desk":
            _cut_to_desk(model)
        _check_frames(num_frames, model["backbone"]["resample_rate"], scale)
        return model


def _cut_to_desk(model: dict[str, Any]) -> None:
    backbone = model["backbone"]
    backbone |= {
        "resample_rate": _DESK_RATE,
        "speed_ratio": _DESK_RATE,
        "channel_ratio": _DESK_CHANNEL_RATIO,
    }
    backbone["slow_pathway"]["depth"] = DESK_DEPTH
    backbone["fast_pathway"] |= {"depth": DESK_DEPTH, "base_channels": 64 // _DESK_CHANNEL_RATIO}
    fast_features = BASIC_BLOCK_FEATURES // _DESK_CHANNEL_RATIO
    model["cls_head"]["in_channels"] = BASIC_BLOCK_FEATURES + fast_features
    model["width"] = DESK_WIDTH


def _check_frames(num_frames: int, rate: int, scale: Scale) -> None:
    if num_frames % rate:
        raise ValueError(
            f"slowfast at {scale} scale takes a multiple of {rate} frames, but got {num_frames}"
        )


SLOWFAST = _SlowFast()
