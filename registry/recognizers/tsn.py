"""TSN: a 2D ResNet sees the frames one by one; features are averaged over the clip."""

from __future__ import annotations

from typing import Any

from ..interfaces import InputFormat, Scale
from .published import PublishedRecognizer, cut_to_desk_2d, published_model


class _Tsn(PublishedRecognizer):
    """TSN with ResNet-50 (paper) or ResNet-18 of a quarter of the width (desk)."""

    name = "tsn"
    published = "recognition/tsn/tsn_imagenet-pretrained-r50_8xb32-1x1x8-100e_kinetics400-rgb.py"
    input_format: InputFormat = "NCHW"

    def config(
        self, *, scale: Scale, num_classes: int, num_frames: int, dropout: float
    ) -> dict[str, Any]:
        """Return the model config; any number of frames runs through the same weights."""
        model = published_model(self.published, num_classes=num_classes, dropout=dropout)
        if scale == "desk":
            cut_to_desk_2d(model)
        return model


TSN = _Tsn()
