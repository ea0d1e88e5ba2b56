"""From a model config to a recognizer: build, narrow, run to class scores."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .._mmaction import build_recognizer
from ..interfaces import InputFormat
from .width import scale_width


def build(config: dict[str, Any], example: Tensor) -> nn.Module:
    """Build a recognizer, and scale its channels by the config's `width` if it has one.

    Args:
        config: MMEngine `model` config, left as it was. Beyond MMAction2's keys it may carry a
            top-level `width`: see `scale_width`.
        example: Input of one clip, as `example_input` makes. The recognizer is built on its
            device; "meta" costs neither memory nor time.

    Raises:
        ValueError: The width cannot be applied to this recognizer.
    """
    width = config.get("width", 1.0)
    with example.device:
        recognizer = build_recognizer({key: config[key] for key in config if key != "width"})
    scale_width(recognizer, width, example)
    return recognizer


def example_input(
    input_format: InputFormat,
    num_frames: int,
    size: int,
    *,
    num_clips: int = 1,
    device: str | torch.device = "cpu",
) -> Tensor:
    """Return zeros in the shape of a recognizer's normalised inputs.

    Args:
        input_format: How MMAction2 packs a clip.
        num_frames: Frames of a clip.
        size: Side of the square in pixels.
        num_clips: The batch.
        device: "meta" for shapes only.

    Returns:
        (N, T, 3, S, S) for "NCHW", (N, 1, 3, T, S, S) for "NCTHW".
    """
    if input_format == "NCHW":
        return torch.zeros(num_clips, num_frames, 3, size, size, device=device)
    return torch.zeros(num_clips, 1, 3, num_frames, size, size, device=device)
