"""Draw a motion clip: a handwritten digit over a photograph, moving one way in time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
Image = NDArray[np.float32]

SPRITE = 32
"""Side in pixels to which the 8x8 digits are smoothed before they are drawn."""


@dataclass(frozen=True)
class Pose:
    """Where a digit stands in one frame.

    Args:
        x: Offset to the right, as a share of the side of the frame.
        y: Offset downwards, likewise.
        scale: Times its usual size.
        angle: Degrees, anticlockwise.
        opacity: 0 unseen, 1 opaque.
    """

    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0
    angle: float = 0.0
    opacity: float = 1.0


def _circle(progress: float) -> Pose:
    turn = 2 * math.pi * 0.75 * progress
    return Pose(x=0.2 * math.cos(turn), y=0.2 * math.sin(turn))


MOTIONS: dict[tuple[str, str], Callable[[float], Pose]] = {
    ("right", "left"): lambda p: Pose(x=0.5 * (p - 0.5)),
    ("down", "up"): lambda p: Pose(y=0.5 * (p - 0.5)),
    ("grow", "shrink"): lambda p: Pose(scale=0.7 + 0.7 * p),
    ("turn_left", "turn_right"): lambda p: Pose(angle=120.0 * (p - 0.5)),
    ("fade_in", "fade_out"): lambda p: Pose(opacity=0.25 + 0.75 * p),
    ("circle_right", "circle_left"): _circle,
}
"""Pairs of classes: progress 0 to 1 gives the first, 1 to 0 the second."""


@dataclass(frozen=True)
class Layer:
    """One digit of a clip.

    Args:
        image: Index into the handwritten digits.
        motion: Index into `MOTIONS`.
        progress: Progress in each frame, 0 to 1.
        x: Centre, as a share of the side of the frame.
        y: Likewise.
        side: Usual side of the digit, as a share of the side of the frame.
        colour: RGB, 0 to 255.
    """

    image: int
    motion: int
    progress: tuple[float, ...]
    x: float
    y: float
    side: float
    colour: tuple[float, float, float]


@lru_cache(maxsize=1)
def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return scikit-learn's 1797 handwritten digits, (1797, 32, 32) in 0..1, and what they are."""
    from sklearn.datasets import load_digits  # 1 s, wanted by nobody but this data set

    bunch = load_digits()
    small = np.asarray(bunch.images, np.float32) / 16
    large = [cv2.resize(image, (SPRITE, SPRITE), interpolation=cv2.INTER_CUBIC) for image in small]
    return np.clip(np.stack(large), 0, 1), np.asarray(bunch.target, np.int64)


@lru_cache(maxsize=1)
def photographs() -> tuple[Frames, ...]:
    """Return scikit-learn's two photographs, each uint8 (427, 640, 3) RGB."""
    from sklearn.datasets import load_sample_images

    return tuple(np.asarray(image, np.uint8) for image in load_sample_images().images)


def _placement(layer: Layer, pose: Pose, size: int) -> NDArray[np.float64]:
    """Return the 2x3 matrix that puts the sprite's centre at its place in the frame."""
    centre = (SPRITE - 1) / 2
    zoom = layer.side * size * pose.scale / SPRITE
    matrix = cv2.getRotationMatrix2D((centre, centre), pose.angle, zoom)
    matrix[:, 2] += np.array([layer.x + pose.x, layer.y + pose.y]) * size - centre
    return np.asarray(matrix, np.float64)


def layer_masks(layer: Layer, size: int) -> Image:
    """Return how much of each pixel the digit covers, (N, 1, size, size) in 0..1."""
    pose_at = list(MOTIONS.values())[layer.motion]
    masks = np.empty((len(layer.progress), 1, size, size), np.float32)
    for mask, progress in zip(masks, layer.progress, strict=True):
        pose = pose_at(progress)
        matrix = _placement(layer, pose, size)
        cv2.warpAffine(digits()[0][layer.image], matrix, (size, size), dst=mask[0])
        mask *= pose.opacity
    return masks


def draw_clip(background: Image, layers: tuple[Layer, ...], noise: Image) -> Frames:
    """Return the clip, uint8 (N, S, S, 3).

    Args:
        background: (3, S, S), 0 to 255.
        layers: Drawn in this order, each with N progress values.
        noise: (N, 3, S, S), added at the end.
    """
    clip = np.repeat(background[None], len(noise), axis=0)
    for layer in layers:
        colour = np.asarray(layer.colour, np.float32)[:, None, None]
        clip += layer_masks(layer, clip.shape[-1]) * (colour - clip)
    clip += noise
    return np.clip(clip, 0, 255, out=clip).astype(np.uint8).transpose(0, 2, 3, 1)


@lru_cache(maxsize=1)
def noise_bank() -> Image:
    """Return 2**20 standard normal values; drawing them anew for every clip is half the cost."""
    return np.random.Generator(np.random.PCG64(0)).standard_normal(2**20, np.float32)
