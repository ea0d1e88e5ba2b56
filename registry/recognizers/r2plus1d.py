"""R(2+1)D: each 3D convolution split into one in space and one in time."""

from __future__ import annotations

from typing import Any

from ..interfaces import InputFormat, Scale
from .published import DESK_DEPTH, DESK_WIDTH, PublishedRecognizer, published_model

_DESK_TEMPORAL_STRIDES = (1, 2, 2, 1)
"""8 frames leave the last stage as 2; the published (1, 2, 2, 2) leaves 1, with no time in it."""


class _R2Plus1d(PublishedRecognizer):
    """R(2+1)D with ResNet-34 (paper) or ResNet-18 of a quarter of the width (desk)."""

    name = "r2plus1d"
    published = "recognition/r2plus1d/r2plus1d_r34_8xb8-8x8x1-180e_kinetics400-rgb.py"
    input_format: InputFormat = "NCTHW"

    def config(
        self, *, scale: Scale, num_classes: int, num_frames: int, dropout: float
    ) -> dict[str, Any]:
        """Return the model config; any number of frames runs through the same weights."""
        model = published_model(self.published, num_classes=num_classes, dropout=dropout)
        if scale == "desk":
            model["width"] = DESK_WIDTH
            desk = {"depth": DESK_DEPTH, "temporal_strides": _DESK_TEMPORAL_STRIDES}
            model["backbone"] |= desk
        return model


R2PLUS1D = _R2Plus1d()
