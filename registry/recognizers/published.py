"""What the recognizers share: reading a published config, and cutting it to desk scale."""

from __future__ import annotations

from typing import Any

from .._mmaction import zoo_config, zoo_model
from ..interfaces import ClipShape, InputFormat, Recognizer, Scale

DESK_DEPTH = 18
DESK_FRAMES = 8
DESK_SIZE = 56
DESK_WIDTH = 0.25
"""Base width 16 where MMAction2 has 64: a clip of 8 frames at 56 x 56 costs about 0.1 GMACs."""

BASIC_BLOCK_FEATURES = 512
"""Channels that leave the last stage of an 18- or 34-layer ResNet of base width 64."""


class PublishedRecognizer(Recognizer):
    """A recognizer whose paper scale is a config file of MMAction2's model zoo."""

    published: str
    """The file, relative to the wheel's folder of configs."""


def published_model(path: str, *, num_classes: int, dropout: float) -> dict[str, Any]:
    """Return the `model` of a config file in the mmaction2 wheel, for our classes and dropout.

    Args:
        path: Relative to the wheel's folder of configs.
        num_classes: Outputs of the classifier.
        dropout: Probability of dropping a feature before the classifier.
    """
    model = zoo_model(path)
    model["cls_head"] |= {"num_classes": num_classes, "dropout_ratio": dropout}
    return model


def cut_to_desk_2d(model: dict[str, Any]) -> None:
    """Turn the published 2D model into a ResNet-18 of a quarter of the width."""
    model["width"] = DESK_WIDTH
    model["backbone"]["depth"] = DESK_DEPTH
    model["cls_head"]["in_channels"] = BASIC_BLOCK_FEATURES


def clip_of_recognizer(
    recognizer: PublishedRecognizer, scale: Scale, size: int | None, frames: int | None
) -> ClipShape:
    """Return the clip a recognizer takes at a scale, `size` and `frames` going first."""
    if scale == "desk":
        return ClipShape(frames or DESK_FRAMES, size or DESK_SIZE, recognizer.input_format)
    # the validation clip has the size and the frames of training; the test clip may have more
    return clip_of_config(zoo_config(recognizer.published), "val_pipeline", size, frames)


def clip_of_config(
    config: dict[str, Any], pipeline: str, size: int | None, frames: int | None
) -> ClipShape:
    """Read from an MMAction2 config what one view of one clip is.

    Args:
        config: As `zoo_config` loads it.
        pipeline: "val_pipeline" or "test_pipeline".
        size: Side of the square in pixels, instead of the pipeline's last crop.
        frames: Frames of a view, instead of the pipeline's: `clip_len` frames for a 3D recognizer
            (its `num_clips` are views), `num_clips` of them for a 2D one.

    Raises:
        ValueError: The pipeline does not say what is asked of it.
    """
    merged: dict[str, Any] = {"num_clips": 1}
    for transform in config.get(pipeline, ()):
        merged |= transform
    packing: InputFormat | None = merged.get("input_format")
    if packing not in ("NCHW", "NCTHW"):
        raise ValueError(f"`{pipeline}` must pack clips as NCHW or NCTHW, but got {packing}")
    if frames is None and "clip_len" in merged:
        frames = merged["clip_len"] * (merged["num_clips"] if packing == "NCHW" else 1)
    if size is None:
        size = merged.get("crop_size")
    if not isinstance(size, int) or not isinstance(frames, int):
        raise ValueError(
            f"`{pipeline}` states no square crop or no `clip_len`: give size and frames"
        )
    return ClipShape(frames, size, packing)
