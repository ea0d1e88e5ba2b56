"""Generated motion clips: a handwritten digit moves over a photograph, and the way is the class."""

from __future__ import annotations

import hashlib
import logging
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from .._mmaction import import_mmaction
from ..interfaces import ClipShape, GeneratedSource, Manifest, Splits
from ..settings import Settings
from .rendering import MOTIONS
from .scenes import MotionClip, Split

logger = logging.getLogger(__name__)

GENERATOR = 2
"""Raise it whenever the same settings would draw other clips: it is part of the digest."""

Share = Annotated[float, Field(ge=0, le=1)]


class MotionSettings(Settings):
    """What clips to draw.

    Args:
        num_train: Training clips.
        num_val: Validation clips.
        num_pairs: Pairs of motions; each pair is one motion and its reverse, so two classes.
        num_digit_groups: The class also says to which of so many groups the digit belongs: 1 means
            that the digit does not matter, 10 that every digit is a class of its own.
        length: Frames drawn per clip.
        size: Side of the drawn frames in pixels; resized where the recognizer's crop needs another.
        stillness: Range from which each clip's share of frames without motion is drawn; a
            moving digit takes at least one step.
        complexity: Range from which each clip's complexity is drawn: contrast of the photograph,
            and up to two other digits that move there and back.
        noise: Standard deviation of the pixel noise, in grey levels.
        seed: Of the clips; a trial's own seed never changes them.
    """

    num_train: int = Field(2400, ge=1)
    num_val: int = Field(1200, ge=1)
    num_pairs: int = Field(6, ge=1, le=len(MOTIONS))
    num_digit_groups: int = Field(1, ge=1, le=10)
    length: int = Field(12, ge=2)
    size: int = Field(64, ge=16, le=256)
    stillness: tuple[Share, Share] = (0.0, 0.5)
    complexity: tuple[Share, Share] = (0.0, 0.5)
    noise: float = Field(3.0, ge=0)
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _ranges_ascend(self) -> MotionSettings:
        for name in ("stillness", "complexity"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"`{name}` must be a range low <= high, but got {low}, {high}")
        return self

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the classes: digit groups times pairs times the two ways, ways innermost."""
        ways = [way for pair in list(MOTIONS)[: self.num_pairs] for way in pair]
        if self.num_digit_groups == 1:
            return tuple(ways)
        return tuple(f"{group}_{way}" for group in range(self.num_digit_groups) for way in ways)


@lru_cache(maxsize=2)
def _drawn(settings: MotionSettings, split: Split) -> tuple[NDArray[np.uint8], list[MotionClip]]:
    """Draw a split once per process: uint8 (clips, length, size, size, 3)."""
    count = settings.num_train if split == "train" else settings.num_val
    clips = [MotionClip(settings, split, index) for index in range(count)]
    shape = (count, settings.length, settings.size, settings.size, 3)
    frames = np.empty(shape, np.uint8)
    for index, clip in enumerate(clips):
        frames[index] = clip.draw()
    logger.info("drew %d %s clips, %.0f MB", count, split, frames.nbytes / 1e6)
    return frames, clips


def _pick(frames: NDArray[np.uint8], index: int) -> dict[str, Any]:
    return {"array": frames[index]}


class Motion(GeneratedSource):
    """Generated motion clips; no file is read, nothing is downloaded."""

    name = "motion"
    settings_type = MotionSettings

    def manifest(self, settings: MotionSettings, data_root: Path | None) -> Manifest:
        """Describe the clips: the digest is over the generator and its settings."""
        text = f"motion {GENERATOR} {settings.model_dump_json()}"
        digest = hashlib.sha256(text.encode()).hexdigest()
        num_clips = settings.num_train + settings.num_val
        frames = (settings.length,) * num_clips
        return Manifest(digest, settings.num_train, settings.num_val, num_frames=frames)

    def splits(
        self, settings: MotionSettings, data_root: Path | None, clip: ClipShape, seed: int
    ) -> Splits:
        """Draw both splits, once per process."""
        train = self._split(settings, "train", clip, seed)
        return Splits(train, self._split(settings, "val", clip, None), settings.class_names)

    def frames_of(self, settings: MotionSettings, clip: str) -> NDArray[np.uint8]:
        """Draw one clip by its name, such as val/7.

        Raises:
            ValueError: No clip is called so.
        """
        split, _, index = clip.partition("/")
        if split not in ("train", "val") or not index.isdecimal():
            raise ValueError(f"a clip is called train/N or val/N, but got {clip!r}")
        return MotionClip(settings, "train" if split == "train" else "val", int(index)).draw()

    def _split(
        self, settings: MotionSettings, split: Split, shape: ClipShape, seed: int | None
    ) -> Any:
        import_mmaction()  # 4 s, which a manifest need not wait for
        from .dataset import ClipDataset, Item

        frames, clips = _drawn(settings, split)
        items = [
            Item(
                f"{split}/{index}",
                clip.label,
                notes={"stillness": clip.stillness, "complexity": clip.complexity},
            )
            for index, clip in enumerate(clips)
        ]
        return ClipDataset(items, partial(_pick, frames), shape, settings.class_names, seed)


MOTION = Motion()
