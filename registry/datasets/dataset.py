"""ClipDataset: clips through MMAction2's transforms, the same draw whatever the workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from mmaction.datasets.transforms import (
    ArrayDecode,
    CenterCrop,
    DecordDecode,
    DecordInit,
    FormatShape,
    PackActionInputs,
    RandomCrop,
    Resize,
)
from torch.utils.data import Dataset

from ..interfaces import ClipShape
from .transforms import PlayBackwards, SampleSegments, ScaleBrightness

Step = Callable[[dict[str, Any]], dict[str, Any]]

META_KEYS = ("clip", "unreadable", "backwards", "total_frames", "stillness", "complexity")


@dataclass(frozen=True)
class Item:
    """One clip of a split.

    Args:
        clip: Its name, as people know it.
        label: Index of its class.
        backwards: Played from its last frame to its first.
        unreadable: Does not decode; stands in the denominator with an all-zero clip.
        notes: Numbers that go with the sample as metainfo: `stillness`, `complexity`.
    """

    clip: str
    label: int
    backwards: bool = False
    unreadable: bool = False
    notes: Mapping[str, float] = field(default_factory=dict)


Source = Callable[[int], dict[str, Any]]
"""Item index to either `array`, uint8 (N, H, W, 3) RGB, or `filename`, a video decord reads."""


class ClipDataset(Dataset[dict[str, Any]]):
    """A split, each item as MMAction2's `PackActionInputs` makes it.

    The k-th fetch of item i draws its augmentation from (seed, i, k) alone: the same for any number
    of workers, with or without a restart between epochs.

    Args:
        items: The clips.
        source: Where their frames come from.
        shape: What the recognizer sees.
        class_names: Names by label.
        seed: Drives the augmentation; None means testing: centre crop, centre frames.
    """

    def __init__(
        self,
        items: Sequence[Item],
        source: Source,
        shape: ClipShape,
        class_names: Sequence[str],
        seed: int | None,
    ) -> None:
        self.items = tuple(items)
        self.metainfo = {"classes": tuple(class_names)}
        self._source = source
        self._shape = shape
        self._seed = seed
        self._steps = {
            kind: clip_steps(shape, kind == "filename", seed is not None)
            for kind in ("array", "filename")
        }
        # shared, so that workers started anew each epoch do not repeat the first epoch's draws
        self._fetches = torch.zeros(len(self.items), dtype=torch.int64)
        self._fetches.share_memory_()  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return dict(inputs, data_samples); see `registry.interfaces.Splits`."""
        item = self.items[index]
        results = self._begin(item, index)
        steps = self._steps["filename" if "filename" in results else "array"]
        with numpy_seeded(self._draw(index)):
            for step in steps:
                results = step(results)
        return results

    def as_tested(self) -> ClipDataset:
        """Return the same clips as testing sees them: centre frames, centre crop."""
        classes = self.metainfo["classes"]
        return ClipDataset(self.items, self._source, self._shape, classes, seed=None)

    def __deepcopy__(self, memo: dict[int, Any]) -> ClipDataset:
        # MMEngine copies the loader's settings, data set included; the frames may be gigabytes
        return self

    def _begin(self, item: Item, index: int) -> dict[str, Any]:
        frames = self._blank() if item.unreadable else self._source(index)
        if "array" in frames:
            frames["total_frames"] = len(frames["array"])
        return {
            **frames,
            **item.notes,
            "clip": item.clip,
            "label": item.label,
            "backwards": item.backwards,
            "unreadable": item.unreadable,
            "modality": "RGB",
        }

    def _blank(self) -> dict[str, Any]:
        side = short_side(self._shape.size)
        return {"array": np.zeros((1, side, side, 3), np.uint8)}

    def _draw(self, index: int) -> Sequence[int] | None:
        if self._seed is None:
            return None
        count = int(self._fetches[index])
        self._fetches[index] += 1
        return self._seed, index, count


def short_side(size: int) -> int:
    """Return the short side in pixels to which clips are resized before a crop of `size`."""
    return round(size / 0.875)


def clip_steps(shape: ClipShape, from_file: bool, training: bool) -> list[Step]:
    """Return MMAction2's pipeline for one clip, with ours where MMAction2 has none."""
    choose = [SampleSegments(shape.num_frames, shape.input_format, not training), PlayBackwards()]
    load = [DecordInit(), *choose, DecordDecode()] if from_file else [*choose, ArrayDecode()]
    resize = Resize(scale=(-1, short_side(shape.size)))
    crop = [RandomCrop(shape.size), ScaleBrightness()] if training else [CenterCrop(shape.size)]
    pack = [FormatShape(shape.input_format), PackActionInputs(meta_keys=META_KEYS)]
    return [*load, resize, *crop, *pack]


@contextmanager
def numpy_seeded(entropy: Sequence[int] | None) -> Iterator[None]:
    """Seed NumPy's global state, from which MMAction2's transforms draw, and put it back after."""
    if entropy is None:
        yield
        return
    before = np.random.get_state()
    np.random.seed(np.random.SeedSequence(entropy).generate_state(4))
    try:
        yield
    finally:
        np.random.set_state(before)
