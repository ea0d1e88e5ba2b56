"""Generated clips: the same everywhere, and what is moving is what the label says."""

import hashlib
import inspect
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from registry.datasets.motion import MOTION, MotionSettings
from registry.datasets.rendering import MOTIONS
from registry.datasets.scenes import MotionClip
from registry.interfaces import ClipShape

CHECKOUT = Path(__file__).parents[2]
PLAIN = MotionSettings(
    num_train=24, num_val=24, num_pairs=1, complexity=(0, 0), stillness=(0, 0), noise=0
)
SMALL = MotionSettings(num_train=48, num_val=24)


def digest(settings: MotionSettings, split: str) -> str:
    drawn = [MotionClip(settings, split, index).draw().tobytes() for index in range(4)]
    return hashlib.sha256(b"".join(drawn)).hexdigest()


def test_same_clips_in_another_process():
    code = f"""
import hashlib
from registry.datasets.motion import MotionSettings
from registry.datasets.scenes import MotionClip
{inspect.getsource(digest)}
print(digest(MotionSettings(**{SMALL.model_dump()!r}), "val"))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == digest(SMALL, "val")


def test_splits_and_seeds_differ():
    other = SMALL.model_copy(update={"seed": 1})
    assert len({digest(SMALL, "train"), digest(SMALL, "val"), digest(other, "train")}) == 3


def horizontal_path(frames: np.ndarray) -> np.ndarray:
    """Return the digit's centre of mass in x for each frame of a plain clip."""
    still = np.median(frames, axis=0)
    weight = np.abs(frames - still).sum(axis=(1, 3))
    return (weight * np.arange(frames.shape[2])).sum(axis=1) / weight.sum(axis=1)


@pytest.mark.parametrize("index", range(8))
def test_reversed_clip_shows_the_paired_motion(index):
    clip = MotionClip(PLAIN, "train", index)
    frames = clip.draw().astype(float)
    right = PLAIN.class_names[clip.label].endswith("right")
    moved = horizontal_path(frames)
    assert (moved[-1] > moved[0]) == right
    back = horizontal_path(frames[::-1])
    assert (back[-1] > back[0]) == (not right)


@pytest.mark.parametrize("pair", MOTIONS, ids="-".join)
def test_each_pair_is_one_motion_and_its_reverse(pair):
    start, end = MOTIONS[pair](0.0), MOTIONS[pair](1.0)
    assert start != end


def test_stillness_is_the_share_of_frames_without_motion():
    settings = PLAIN.model_copy(update={"stillness": (0.5, 0.5)})
    for index in range(6):
        frames = MotionClip(settings, "train", index).draw().astype(int)
        moves = np.abs(np.diff(frames, axis=0)).max(axis=(1, 2, 3)) > 0
        assert moves.sum() == settings.length // 2 - 1


def test_complexity_adds_texture_and_other_digits():
    def contrast(value):
        settings = PLAIN.model_copy(update={"complexity": (value, value)})
        return np.mean([MotionClip(settings, "train", i).draw().std() for i in range(12)])

    assert contrast(1.0) > contrast(0.0)


def test_samples_carry_what_was_drawn():
    splits = MOTION.splits(SMALL, None, ClipShape(8, 56, "NCTHW"), seed=0)
    assert (len(splits.train), len(splits.val)) == (48, 24)
    labels = Counter(int(splits.train[i]["data_samples"].gt_label) for i in range(48))
    assert labels == {label: 48 // len(splits.class_names) for label in labels}
    sample = splits.val[7]
    clip = MotionClip(SMALL, "val", 7)
    assert sample["inputs"].shape == (1, 3, 8, 56, 56)
    assert sample["data_samples"].stillness == clip.stillness
    assert sample["data_samples"].complexity == clip.complexity
    assert sample["data_samples"].clip == "val/7"
    assert sample["data_samples"].unreadable is False


def test_a_trials_seed_never_changes_the_clips():
    shape = ClipShape(8, 56, "NCHW")
    first, second = (MOTION.splits(SMALL, None, shape, seed).val[3]["inputs"] for seed in (0, 1))
    np.testing.assert_array_equal(first, second)


def test_clips_are_resized_to_what_the_recognizer_sees():
    sample = MOTION.splits(SMALL, None, ClipShape(8, 32, "NCHW"), seed=0).train[0]
    assert sample["inputs"].shape == (8, 3, 32, 32)


def test_manifest_tells_settings_apart():
    manifest = MOTION.manifest(SMALL, None)
    assert (manifest.num_train, manifest.num_val, manifest.unreadable) == (48, 24, ())
    assert manifest == MOTION.manifest(SMALL, Path("/anywhere"))
    assert manifest.digest != MOTION.manifest(SMALL.model_copy(update={"seed": 1}), None).digest


def test_defaults_have_a_thousand_validation_clips():
    assert MotionSettings().num_val >= 1000


@pytest.mark.parametrize(
    "wrong",
    [{"stillness": (0.6, 0.2)}, {"complexity": (0, 2)}, {"num_pairs": 7}, {"stilness": (0, 1)}],
    ids=["descending", "over 1", "too many", "misspelt"],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        MotionSettings(**wrong)


def test_a_clip_is_drawn_again_by_its_name():
    settings = MotionSettings(num_train=2, num_val=4, num_pairs=1, length=4, size=32)
    item = MOTION.splits(settings, None, ClipShape(4, 28, "NCHW"), 0).val[3]
    drawn = MOTION.frames_of(settings, item["data_samples"].metainfo["clip"])
    # all four frames, and of 32 pixels the 28 in the middle
    seen = item["inputs"].numpy().transpose(0, 2, 3, 1)
    assert np.array_equal(seen, drawn[:, 2:-2, 2:-2])


@pytest.mark.parametrize("name", ["val", "val/", "val/x", "test/1", "../val/1", "val/-1"])
def test_no_other_name_is_a_clip(name):
    with pytest.raises(ValueError, match="train/N or val/N"):
        MOTION.frames_of(SMALL, name)
