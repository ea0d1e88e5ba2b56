"""Motion from pixels, and clips without any."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from registry.stills import Frozen, motion_of, time_axis

FORMATS = {"NCHW": (6, 3, 4, 4), "NCTHW": (1, 3, 6, 4, 4)}


def clip(name: str, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, FORMATS[name], dtype=torch.uint8, generator=generator)


@given(st.integers(0, 255), st.integers(0, 255))
@pytest.mark.parametrize("name", FORMATS)
def test_one_step_of_all_pixels_counts_once_in_all_transitions(
    name: str, before: int, after: int
) -> None:
    frames = torch.full(FORMATS[name], before, dtype=torch.uint8)
    axis = time_axis(frames)
    frames.narrow(axis, 2, 4).fill_(after)
    assert motion_of(frames) == pytest.approx(abs(after - before) / (6 - 1))


@pytest.mark.parametrize("name", FORMATS)
def test_motion_is_the_same_backwards(name: str) -> None:
    frames = clip(name)
    assert motion_of(frames.flip(time_axis(frames))) == pytest.approx(motion_of(frames))


def test_both_packings_of_a_clip_move_alike() -> None:
    frames = clip("NCHW")
    assert motion_of(frames) == pytest.approx(motion_of(frames.transpose(0, 1)[None]))


def test_a_single_frame_does_not_move() -> None:
    assert motion_of(clip("NCHW")[:1]) == 0


@pytest.mark.parametrize("name", FORMATS)
def test_frozen_clips_keep_their_middle_frame_and_all_else(name: str) -> None:
    clips = [{"inputs": clip(name, seed), "data_samples": seed} for seed in range(3)]
    frozen = Frozen(clips, [2, 0])  # type: ignore[arg-type]
    assert len(frozen) == 2
    for place, index in enumerate([2, 0]):
        item, axis = frozen[place], time_axis(clips[index]["inputs"])  # type: ignore[arg-type]
        assert item["data_samples"] == index
        assert item["inputs"].shape == FORMATS[name]
        assert motion_of(item["inputs"]) == 0 < motion_of(clips[index]["inputs"])  # type: ignore[arg-type]
        for frame in range(6):
            middle = clips[index]["inputs"].select(axis, 3)  # type: ignore[union-attr]
            assert torch.equal(item["inputs"].select(axis, frame), middle)
