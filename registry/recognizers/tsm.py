"""TSM: a 2D ResNet in which an eighth of the channels is shifted one frame each way."""

from __future__ import annotations

from typing import Any

from ..interfaces import InputFormat, Scale
from .published import PublishedRecognizer, cut_to_desk_2d, published_model


class _Tsm(PublishedRecognizer):
    """TSM with ResNet-50 (paper) or ResNet-18 of a quarter of the width (desk)."""

    name = "tsm"
    published = "recognition/tsm/tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_kinetics400-rgb.py"
    input_format: InputFormat = "NCHW"

    def config(
        self, *, scale: Scale, num_classes: int, num_frames: int, dropout: float
    ) -> dict[str, Any]:
        """Return the model config; the shift is built for clips of exactly `num_frames`."""
        model = published_model(self.published, num_classes=num_classes, dropout=dropout)
        for part in ("backbone", "cls_head"):
            model[part]["num_segments"] = num_frames
        if scale == "desk":
            cut_to_desk_2d(model)
        return model


TSM = _Tsm()
