"""weizmann4: counts, splits by person, and clips that run backwards exactly."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from registry.datasets.decoding import iterate_frames
from registry.datasets.weizmann import WEIZMANN, WeizmannSettings, find_folder
from registry.interfaces import ClipShape

PLACES = [os.environ.get("HARNESS_DATA"), Path(__file__).parents[3] / "shared" / "data"]
ROOT = next((Path(p) for p in PLACES if p and (Path(p) / "weizmann4").is_dir()), None)
present = pytest.mark.skipif(
    ROOT is None,
    reason="weizmann4 lies neither in $HARNESS_DATA nor in ../shared/data",
)


@present
@pytest.mark.parametrize(
    ("settings", "num_train", "num_val"),
    [
        ({}, 232, 128),
        ({"task": "action"}, 96, 48),
        ({"split": 0}, 64, 296),
        ({"split": 1}, 72, 288),
        ({"task": "action", "train_subjects": (1, 2, 3)}, 48, 96),
    ],
    ids=["phase", "action", "split 0", "split 1", "three people"],
)
def test_counts(settings, num_train, num_val):
    manifest = WEIZMANN.manifest(WeizmannSettings(**settings), ROOT)
    assert (manifest.num_train, manifest.num_val) == (num_train, num_val)
    assert manifest.unreadable == ()


@present
def test_split_is_two_people_and_nobody_is_on_both_sides():
    def people(split):
        return {int(item.clip.split("/p")[1][0]) for item in split.items}

    splits = WEIZMANN.splits(WeizmannSettings(split=3), ROOT, ClipShape(8, 56, "NCHW"), 0)
    assert people(splits.train) == set(random.Random(103).sample(range(1, 10), 2))
    assert people(splits.val) == set(range(1, 10)) - people(splits.train)


@present
def test_reversed_clips_are_the_forward_frames_in_opposite_order():
    val = WEIZMANN.splits(WeizmannSettings(), ROOT, ClipShape(8, 56, "NCTHW"), 0).val
    position = {item.clip: index for index, item in enumerate(val.items)}
    backwards = [item.clip for item in val.items if item.backwards]
    assert len(backwards) == 64
    for name in backwards:
        there = val[position[name.replace("_rev", "")]]
        back = val[position[name]]
        np.testing.assert_array_equal(there["inputs"].flip(2), back["inputs"])
        assert int(there["data_samples"].gt_label) // 2 == int(back["data_samples"].gt_label) // 2
        assert int(there["data_samples"].gt_label) != int(back["data_samples"].gt_label)


@present
def test_files_reversed_by_encoding_are_near_but_not_equal():
    clip = find_folder(ROOT) / "videos" / "p7_wave2_000-014_raise.mp4"
    exact, encoded = (
        np.stack(list(iterate_frames(path, "decord"))).astype(int)
        for path in (clip, clip.with_stem(f"{clip.stem}_rev"))
    )
    assert 0 < np.abs(exact[::-1] - encoded).mean() < 8


def test_absence_says_what_is_looked_for_and_where(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(ValueError, match="no folder weizmann4") as caught:
        WEIZMANN.manifest(WeizmannSettings(), tmp_path)
    for place in (tmp_path, tmp_path / "elsewhere"):
        assert str(place / "weizmann4") in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"train_subjects": (0,)},
        {"train_subjects": ()},
        {"train_subjects": (1, 1)},
        {"train_subjects": tuple(range(1, 10))},
        {"train_subjects": (1,), "split": 0},
        {"task": "phrase"},
    ],
    ids=["nobody 0", "none", "twice", "all", "both", "misspelt"],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        WeizmannSettings(**wrong)
