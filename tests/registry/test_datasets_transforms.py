"""Which frames are chosen, and what a clip looks like when the pipeline is done with it."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from registry._mmaction import import_mmaction
from registry.interfaces import ClipShape

import_mmaction()

from registry.datasets.dataset import ClipDataset, Item  # noqa: E402
from registry.datasets.transforms import (  # noqa: E402
    PlayBackwards,
    SampleSegments,
    ScaleBrightness,
    random_per_segment,
    symmetric_centres,
)

lengths = st.integers(1, 400)
frame_counts = st.integers(1, 64)


@given(total=lengths, wanted=frame_counts)
def test_centres_mirror_each_other(total, wanted):
    index = symmetric_centres(total, wanted)
    assert len(index) == wanted
    assert index.min() >= 0 and index.max() < total
    assert (np.diff(index) >= 0).all()
    mirrored = total - 1 - index[::-1]
    pairs = np.arange(wanted) != wanted // 2 if wanted % 2 and total % 2 == 0 else slice(None)
    np.testing.assert_array_equal(index[pairs], mirrored[pairs])


@given(total=st.integers(64, 400), wanted=frame_counts)
def test_centres_lie_in_their_segments(total, wanted):
    index = symmetric_centres(total, wanted)
    edges = np.arange(wanted + 1) * total / wanted
    assert (index >= np.floor(edges[:-1])).all()
    assert (index <= np.ceil(edges[1:])).all()


@given(total=lengths, wanted=frame_counts)
def test_random_frames_lie_in_their_segments(total, wanted):
    index = random_per_segment(total, wanted)
    edges = np.arange(wanted + 1) * total / wanted
    assert (index >= np.floor(edges[:-1])).all()
    assert (index < np.ceil(edges[1:])).all()


@given(total=lengths, wanted=st.integers(1, 32).map(lambda half: 2 * half))
def test_backwards_gives_the_same_frames_mirrored(total, wanted):
    chosen = [
        PlayBackwards()(SampleSegments(wanted, test_mode=True)({"total_frames": total, **way}))
        for way in ({"backwards": False}, {"backwards": True})
    ]
    np.testing.assert_array_equal(chosen[0]["frame_inds"], chosen[1]["frame_inds"][::-1])


def test_brightness_is_one_factor_for_the_clip_and_saturates():
    image = np.array([[[0, 100, 200]]], np.uint8)
    bright = ScaleBrightness(1.5, 1.5)({"imgs": [image, image]})["imgs"]
    np.testing.assert_array_equal(bright, [[[[0, 150, 255]]]] * 2)


def ramp(index: int) -> dict:
    """Frame t of clip i has the grey level 10 t + i everywhere but in a corner."""
    frames = np.repeat(np.arange(12, dtype=np.uint8)[:, None, None, None] * 10 + index, 64, axis=1)
    frames = np.repeat(np.repeat(frames, 64, axis=2), 3, axis=3)
    frames[:, :30, :30] = 255
    return {"array": frames}


def dataset(seed=None, input_format="NCHW", items=None) -> ClipDataset:
    items = items or [Item(f"clip{index}", index % 2) for index in range(8)]
    return ClipDataset(items, ramp, ClipShape(6, 56, input_format), ("a", "b"), seed)


@pytest.mark.parametrize("seed", [None, 3], ids=["val", "train"])
@pytest.mark.parametrize(
    ("input_format", "shape"), [("NCHW", (6, 3, 56, 56)), ("NCTHW", (1, 3, 6, 56, 56))]
)
def test_shapes(seed, input_format, shape):
    sample = dataset(seed, input_format)[1]
    assert sample["inputs"].shape == shape
    assert str(sample["inputs"].dtype) == "torch.uint8"
    assert sample["data_samples"].gt_label.tolist() == [1]
    assert sample["data_samples"].clip == "clip1"
    assert sample["data_samples"].unreadable is False


def test_formats_hold_the_same_frames():
    folded, stacked = dataset()[2]["inputs"], dataset(input_format="NCTHW")[2]["inputs"]
    np.testing.assert_array_equal(folded, stacked[0].transpose(0, 1))


def test_unreadable_clip_is_zero_and_says_so():
    sample = dataset(items=[Item("broken", 1, unreadable=True)])[0]
    assert sample["inputs"].shape == (6, 3, 56, 56)
    assert not sample["inputs"].any()
    assert sample["data_samples"].unreadable is True
    assert sample["data_samples"].gt_label.tolist() == [1]


def epochs(data: ClipDataset, workers: int) -> list[np.ndarray]:
    loader = DataLoader(data, batch_size=2, num_workers=workers, collate_fn=list)
    return [
        np.stack([sample["inputs"].numpy() for batch in loader for sample in batch])
        for _ in range(2)
    ]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_draws_are_the_same_for_any_number_of_workers_and_new_each_epoch():
    alone, helped = epochs(dataset(seed=3), 0), epochs(dataset(seed=3), 2)
    np.testing.assert_array_equal(alone, helped)
    assert (alone[0] != alone[1]).any()
    assert (alone[0] != epochs(dataset(seed=4), 0)[0]).any()


def test_drawing_leaves_numpy_and_validation_alone():
    np.random.seed(0)
    expected = np.random.random(2)
    np.random.seed(0)
    data = dataset(seed=3)
    data[0]
    np.testing.assert_array_equal(np.random.random(2), expected)
    np.testing.assert_array_equal(dataset()[0]["inputs"], dataset()[0]["inputs"])


def test_copying_the_loader_settings_does_not_copy_the_frames():
    data = dataset(seed=3)
    assert copy.deepcopy({"dataset": data})["dataset"] is data
