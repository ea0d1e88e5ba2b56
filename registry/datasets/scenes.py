"""Choose everything in a motion clip from (seed, split, index), and draw it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from .rendering import Layer, digits, draw_clip, noise_bank, photographs

if TYPE_CHECKING:
    from .motion import MotionSettings

Split = Literal["train", "val"]
Shades = tuple[int, int]

_SWAY = 0.25
"""How far the other digits go on their way there and back, as a share of a whole motion."""

_FIRST_VAL_DIGIT = 1200
"""Handwritten digits before this one are for training, the others for validation."""


class MotionClip:
    """One clip: its label, and its stillness and complexity, known before it is drawn.

    Args:
        settings: What clips to draw.
        split: Training clips use other handwriting and another part of the photographs.
        index: Which clip; classes take turns.
    """

    def __init__(self, settings: MotionSettings, split: Split, index: int) -> None:
        self.label = index % len(settings.class_names)
        self._settings = settings
        self._split = split
        self._entropy = [settings.seed, int(split == "val"), index]
        random = _generator(self._entropy)
        self.stillness = random.uniform(*settings.stillness)
        self.complexity = random.uniform(*settings.complexity)

    def draw(self) -> NDArray[np.uint8]:
        """Return the frames, uint8 (length, size, size, 3) RGB."""
        random = _generator([*self._entropy, 1])
        background = self._background(random)
        shades = (0, 100) if background.mean() > 128 else (155, 255)
        layers = (*self._others(shades, random), self._mover(shades, random))
        frames = draw_clip(background, layers, self._noise(random))
        return frames[::-1] if self.label % 2 else frames

    def _background(self, random: np.random.Generator) -> NDArray[np.float32]:
        photo = photographs()[random.integers(2)]
        size, (height, width) = self._settings.size, photo.shape[:2]
        left, right = (0, width * 3 // 5) if self._split == "train" else (width * 3 // 5, width)
        x, y = random.integers(left, right - size + 1), random.integers(0, height - size + 1)
        patch = photo[y : y + size, x : x + size].astype(np.float32)
        mean = patch.mean(axis=(0, 1))
        shaded = mean + (0.2 + 0.6 * self.complexity) * (patch - mean)
        return np.ascontiguousarray(shaded.transpose(2, 0, 1), np.float32)

    def _mover(self, shades: Shades, random: np.random.Generator) -> Layer:
        length = self._settings.length
        moving = max(2, round(length * (1 - self.stillness)))
        start = random.integers(0, length - moving + 1)
        progress = np.clip((np.arange(length) - start) / (moving - 1), 0, 1)
        pair = self.label // 2 % self._settings.num_pairs
        group = self.label // (2 * self._settings.num_pairs)
        return self._layer(pair, progress, self._digit(group, random), shades, random)

    def _others(self, shades: Shades, random: np.random.Generator) -> list[Layer]:
        count = round(2 * self.complexity)
        progress = 0.5 - _SWAY * np.abs(np.linspace(-1, 1, self._settings.length))
        return [
            self._layer(int(motion), progress, self._digit(None, random), shades, random)
            for motion in random.integers(self._settings.num_pairs, size=count)
        ]

    @staticmethod
    def _layer(
        motion: int,
        progress: NDArray[np.float64],
        image: int,
        shades: Shades,
        random: np.random.Generator,
    ) -> Layer:
        return Layer(
            image=image,
            motion=motion,
            progress=tuple(progress.tolist()),
            x=random.uniform(0.35, 0.65),
            y=random.uniform(0.35, 0.65),
            side=random.uniform(0.4, 0.55),
            colour=tuple(random.uniform(*shades, 3).tolist()),
        )

    def _digit(self, group: int | None, random: np.random.Generator) -> int:
        """Return a digit of a group, or any, in the handwriting of the split."""
        numbers = digits()[1]
        written = np.arange(len(numbers))
        chosen = (written < _FIRST_VAL_DIGIT) == (self._split == "train")
        if group is not None:
            chosen &= numbers * self._settings.num_digit_groups // 10 == group
        return int(random.choice(written[chosen]))

    def _noise(self, random: np.random.Generator) -> NDArray[np.float32]:
        length, size = self._settings.length, self._settings.size
        bank, values = noise_bank(), 3 * size * size
        starts = random.integers(0, len(bank) - values, length)
        flat = np.stack([bank[start : start + values] for start in starts])
        return flat.reshape(length, 3, size, size) * np.float32(self._settings.noise)


def _generator(entropy: list[int]) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))
